"""What the numbers of a comparison say: means over seeds, differences by seed, convergence."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from mdl_tf.metrics.columns import COLUMNS

MAIN = "map_at_r"  # by which losses are ranked
WATCHED = "val_recall_at_1"  # of which the curves are
OWN, GOAL = "margin_discriminate", "triplet"  # the library's own loss; whose best is the goal
BETTER, WORSE, NOISE = "better", "worse", "inside the noise"
EQUAL, UNKNOWN = "exactly equal", "cannot be told"


class Interval(NamedTuple):
    """A mean over seeds, and how far the true one may be from it with a confidence of 95 %."""

    mean: float
    half: float | None  # half the width of the interval; `None` for a single value
    count: int

    @property
    def verdict(self):
        """What it says of a difference: one of the five words above."""
        if self.half is None:
            return UNKNOWN
        if self.mean == self.half == 0:
            return EQUAL
        if abs(self.mean) <= self.half:
            return NOISE
        return BETTER if self.mean > 0 else WORSE


class Curve(NamedTuple):
    """How a loss converges: over the epochs that all of its seeds have, `(E,)` each."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray  # of the seeds
    high: np.ndarray
    seconds_per_step: float | None

    @property
    def seconds(self):
        """Seconds of training at each of the steps, or `None`."""
        return None if self.seconds_per_step is None else self.steps * self.seconds_per_step


class Reached(NamedTuple):
    """When a loss was as good as the goal."""

    steps: float | None  # median over the seeds in which it was; `None` without any
    seconds: float | None
    count: int  # seeds in which it was
    seeds: int  # in which both have a run


def interval(values):
    """The mean of some values with its interval, by Student's t.

    Args:
        values: one for each seed.

    Returns:
        An `Interval`, or `None` without values.
    """
    values = np.fromiter(values, np.float64)
    count = len(values)
    if not count:
        return None
    # Equal decimals differ in their last bits, and would be neither equal nor different.
    spread = np.round(values.std(ddof=1), 12) if count > 1 else None
    half = None if count < 2 else float(stats.t.ppf(0.975, count - 1) * spread / np.sqrt(count))
    return Interval(float(np.round(values.mean(), 12)), half, count)


def runs(results, label):
    """The final runs of an entry that did not fail."""
    return [trial for trial in results.final(label) if trial["failed"] is None]


def by_seed(results, label, metric):
    """A metric on the test, dict from seed to value."""
    return {
        trial["number"]: trial["metrics"][metric]
        for trial in runs(results, label)
        if metric in trial["metrics"]
    }


def baselines(results):
    """What was measured on the test without any training.

    Args:
        results: a `Results`.

    Returns:
        A dict from a name, raw pixels (or features) and the untrained network, to a dict from a
        metric to an `Interval`, or to `None`.
    """
    raw = "raw pixels" if results.data.get("kind", "images") == "images" else "features"
    untrained = list(results.untrained.values())
    rows = {raw: [results.raw] if results.raw else [], "untrained network": untrained}
    return {
        name: {k: interval([row[k] for row in found if k in row]) for k in COLUMNS}
        for name, found in rows.items()
        if found
    }


def difference(results, label, reference, metric):
    """How much better an entry is than another one, seed by seed.

    Seeds in common have the same first weights and the same batches, so what a seed does to both
    does not count as noise.

    Args:
        results: a `Results`.
        label: of the entry.
        reference: label of the other one.
        metric: such as `"map_at_r"`.

    Returns:
        An `Interval` of the differences, or `None` without a seed in common.
    """
    one, other = by_seed(results, label, metric), by_seed(results, reference, metric)
    return interval([one[seed] - other[seed] for seed in one if seed in other])


def ranking(results):
    """The entries that have been measured on the test, best mean first.

    Args:
        results: a `Results`.

    Returns:
        A list of labels.
    """
    found = {label: interval(by_seed(results, label, MAIN).values()) for label in results.labels}
    return sorted((s for s in found if found[s]), key=lambda label: -found[label].mean)


def reference(results):
    """The label of the library's own loss, else that of the first entry."""
    own = [label for label in results.labels if _loss(label) == OWN]
    return OWN if OWN in own else (own or results.labels)[0]


def goal(results):
    """The label of the first triplet loss, or `None`."""
    return next((label for label in results.labels if _loss(label) == GOAL), None)


def _loss(label):
    return label.split(":")[0]


def seconds_per_step(results, label):
    """Median over the final runs of an entry: on a shared machine a mean is that of the others."""
    found = [trial["seconds_per_step"] for trial in runs(results, label)]
    found = [seconds for seconds in found if seconds is not None]
    return float(np.median(found)) if found else None


def _values(trial):
    """Dict from epoch to the watched metric."""
    return {r["epoch"]: r[WATCHED] for r in trial["history"] if r.get(WATCHED) is not None}


def curve(results, label):
    """The mean curve of an entry over its seeds.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        A `Curve`, or `None` without one.
    """
    found = [_values(trial) for trial in runs(results, label)]
    # A mean over fewer and fewer seeds would jump where one ends.
    epochs = sorted(set.intersection(*map(set, found))) if found else []
    if not epochs:
        return None
    values = np.array([[run[epoch] for epoch in epochs] for run in found])  # (seeds, E)
    return Curve(
        np.array(epochs, np.float64) * results.config["steps_per_epoch"],
        values.mean(axis=0),
        values.min(axis=0),
        values.max(axis=0),
        seconds_per_step(results, label),
    )


def first_epoch(values, target):
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


def reached(results, label, other):
    """The steps after which an entry is as good as another one ever was, seed by seed.

    Args:
        results: a `Results`.
        label: of the entry.
        other: label of the one whose best value is the goal.

    Returns:
        A `Reached`, or `None` without a seed in common.
    """
    targets = {t["number"]: max(_values(t).values(), default=None) for t in runs(results, other)}
    found = [
        first_epoch(_values(trial), targets[trial["number"]])
        for trial in runs(results, label)
        if targets.get(trial["number"]) is not None
    ]
    epochs = [epoch for epoch in found if epoch is not None]
    if not epochs:
        return Reached(None, None, 0, len(found)) if found else None
    steps = float(np.median(epochs)) * results.config["steps_per_epoch"]
    pace = seconds_per_step(results, label)
    return Reached(steps, None if pace is None else steps * pace, len(epochs), len(found))
