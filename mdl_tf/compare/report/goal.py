"""When each loss is as good as the best of triplet: the goal of a comparison."""

from typing import NamedTuple

import numpy as np

from mdl_tf.compare.report.statistics import (
    loss_of,
    seconds_per_step,
    successful_runs,
    watched_values,
)

_LOSS = "triplet"


class TimeToGoal(NamedTuple):
    """When a loss was as good as the goal."""

    steps: float | None  # median over the seeds that reached it; `None` without any
    seconds: float | None
    count: int  # seeds that reached it
    seeds: int  # in which both losses have a run

    @property
    def share(self):
        """Share of the seeds that reached it."""
        return self.count / self.seeds


def find_goal(results):
    """The label of the first triplet loss, or `None`."""
    return next((label for label in results.labels if loss_of(label) == _LOSS), None)


def find_epoch(values, target):
    """When a curve first reaches a value, between epochs along a straight line.

    Args:
        values: dict from epoch to value.
        target: the value.

    Returns:
        Epochs, not whole ones; `None` if it never does. The first epoch is not interpolated, since
        nobody knows the value before it.
    """
    before = None
    for epoch, value in sorted(values.items()):
        if value >= target:
            if before is None:
                return float(epoch)
            start, low = before
            return start + (epoch - start) * (target - low) / (value - low)
        before = epoch, value
    return None


def measure_time_to_goal(results, label, goal):
    """The steps after which an entry is as good as another one ever was, seed by seed.

    Args:
        results: a `Results`.
        label: of the entry.
        goal: label of the one whose best value is the goal.

    Returns:
        A `TimeToGoal`, or `None` without a seed in common.
    """
    targets = {}
    for trial in successful_runs(results, goal):
        values = watched_values(trial).values()
        if values:
            targets[trial["number"]] = max(values)
    epochs = [
        find_epoch(watched_values(trial), targets[trial["number"]])
        for trial in successful_runs(results, label)
        if trial["number"] in targets
    ]
    if not epochs:
        return None
    reached = [epoch for epoch in epochs if epoch is not None]
    if not reached:
        return TimeToGoal(None, None, 0, len(epochs))
    steps = float(np.median(reached)) * results.config["steps_per_epoch"]
    pace = seconds_per_step(results, label)
    return TimeToGoal(steps, None if pace is None else steps * pace, len(reached), len(epochs))
