"""What there is without training, and which losses are not ahead of it."""

from mdl_tf.compare.report.statistics import MAIN, by_seed, interval, successful_runs
from mdl_tf.metrics import table

# A sign and not a colour, which some do not see: on the test, and on validation.
BELOW, BELOW_ON_VALIDATION = "▼", "▽"
_STARTS = {
    "whitened": "whitened features",
    "pca": "principal axes of features",
    "kept": "model of another run",
}


def name_start(results):
    """What the losses begin with, in words.

    Args:
        results: a `Results`.
    """
    config = results.config
    kind = _STARTS.get(config.get("head"))
    if kind is None:
        has_features = config["backbone"] == "none" or config.get("weights") or config.get("frozen")
        kind = "random layer on features" if has_features else "random network"
    return f"start: {kind}, not trained"


def baselines(results):
    """What was measured on the test without any training.

    Args:
        results: a `Results`.

    Returns:
        A dict from a name, raw pixels, features and the start, to a dict from a metric to an
        `Interval`, of the metrics that tables show.
    """
    features = "features of unit length"
    raw = "raw pixels" if results.data.get("kind", "images") == "images" else features
    measured = {
        raw: [results.raw] if results.raw else [],
        **({features: [results.features]} if results.features else {}),
        name_start(results): list(results.untrained.values()),
    }
    return {name: _mean_rows(rows) for name, rows in measured.items() if rows}


def _mean_rows(rows):
    """Dicts of metrics as one of intervals."""
    metrics = table.find_columns(key for row in rows for key in row)
    return {m.key: interval([row[m.key] for row in rows if m.key in row]) for m in metrics}


def gain(results, label):
    """How far an entry is above the start on the test, by the main metric, seed by seed.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        An `Interval`, or `None` without a seed of which both are known.
    """
    trained = by_seed(results, label, MAIN)
    starts = {seed: row[MAIN] for seed, row in results.untrained.items() if MAIN in row}
    return interval([value - starts[seed] for seed, value in trained.items() if seed in starts])


def is_below(results, label):
    """Whether an entry is not above the start on the test, in the mean over its seeds."""
    found = gain(results, label)
    return found is not None and found.mean <= 0


def is_above_on_validation(trial, monitor):
    """Whether the best epoch of a trial is above its start on validation; `None` if unknown.

    Args:
        trial: one of `Results`.
        monitor: the metric that has chosen the epoch.
    """
    start = (trial.get("start") or {}).get(f"val_{monitor}")
    if start is None or trial["value"] is None:
        return None
    return trial["value"] > start


def is_never_above(results, label):
    """Whether an entry is above its start on validation in none of its final runs."""
    monitor = results.config["monitor"]
    above = [is_above_on_validation(one, monitor) for one in successful_runs(results, label)]
    return bool(above) and not any(one is None or one for one in above)
