"""What the numbers of a comparison say: means over seeds, differences by seed, curves."""

from typing import NamedTuple

import numpy as np
from scipy import stats

MAIN = "map_at_r"  # the metric by which losses are ranked
WATCHED = "recall_at_1"  # the metric of the curves, on validation
OWN_LOSS = "margin_discriminate"  # the reference, if it is among the losses
BETTER, WORSE, NOISE = "better", "worse", "inside the noise"
EQUAL, UNKNOWN = "exactly equal", "unknown"


class Interval(NamedTuple):
    """A mean over seeds, and how far the true one may be from it with a confidence of 95 %."""

    mean: float
    half: float | None  # half the width of the interval; `None` for a single value
    count: int

    @property
    def verdict(self):
        """What it says of a difference: one of the five verdicts above."""
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
    mean: np.ndarray  # over the seeds
    low: np.ndarray  # of the worst seed
    high: np.ndarray  # of the best seed
    start: float | None  # mean before the first epoch; `None` if a seed does not tell
    seconds_per_step: float | None

    @property
    def seconds(self):
        """Seconds of training at each of the steps, or `None`."""
        return None if self.seconds_per_step is None else self.steps * self.seconds_per_step


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


def successful_runs(results, label):
    """The final runs of an entry that did not fail, by seed."""
    return [trial for trial in results.final(label) if trial["failed"] is None]


def by_seed(results, label, metric):
    """A metric on the test, dict from seed to value."""
    return {
        trial["number"]: trial["metrics"][metric]
        for trial in successful_runs(results, label)
        if metric in trial["metrics"]
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
    means = {label: interval(by_seed(results, label, MAIN).values()) for label in results.labels}
    measured = [label for label, mean in means.items() if mean]
    return sorted(measured, key=lambda label: -means[label].mean)


def find_reference(results):
    """The label of the library's own loss, else that of the first entry."""
    labels = [label for label in results.labels if loss_of(label) == OWN_LOSS]
    if OWN_LOSS in labels:
        return OWN_LOSS
    return (labels or results.labels)[0]


def loss_of(label):
    """The loss of an entry: of `triplet:mining=hard` it is `triplet`."""
    return label.split(":")[0]


def seconds_per_step(results, label):
    """Median over the final runs of an entry, or `None`.

    A mean would measure what else a shared machine was doing.
    """
    seconds = [trial["seconds_per_step"] for trial in successful_runs(results, label)]
    seconds = [value for value in seconds if value is not None]
    return float(np.median(seconds)) if seconds else None


def watched_values(trial):
    """The watched metric of a trial, dict from epoch to value."""
    key = f"val_{WATCHED}"
    return {row["epoch"]: row[key] for row in trial["history"] if row.get(key) is not None}


def curve(results, label):
    """The mean curve of an entry over its seeds.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        A `Curve`, or `None` without one.
    """
    runs = successful_runs(results, label)
    of_seeds = [watched_values(trial) for trial in runs]
    # A mean over fewer and fewer seeds would jump where one ends.
    epochs = sorted(set.intersection(*map(set, of_seeds))) if of_seeds else []
    if not epochs:
        return None
    values = np.array([[run[epoch] for epoch in epochs] for run in of_seeds])  # (seeds, E)
    starts = [(one.get("start") or {}).get(f"val_{WATCHED}") for one in runs]
    return Curve(
        np.array(epochs, np.float64) * results.config["steps_per_epoch"],
        values.mean(axis=0),
        values.min(axis=0),
        values.max(axis=0),
        None if None in starts else float(np.mean(starts)),
        seconds_per_step(results, label),
    )
