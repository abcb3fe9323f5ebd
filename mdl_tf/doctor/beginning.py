"""Whether training has made of its start something better: on validation, and on the test."""

import math

from mdl_tf.doctor.finding import Finding, worst
from mdl_tf.metrics import table

_MAIN = "map_at_r"


def check_start(history, start, monitor, images, advice, available):
    """Whether an epoch is better than the start on the validation classes.

    Args:
        history: dicts, one per epoch.
        start: what the validation classes had before the first epoch, a dict like those; `None` of
            old runs and without validation.
        monitor: the metric that has chosen the best epoch.
        images: how many validation images there are.
        advice: an `Advice`.
        available: number of training classes.

    Returns:
        A `Finding`, or `None` if nothing is known of the start.
    """
    key = f"val_{monitor}"
    if not start or not images or not history or any(key not in row for row in (start, *history)):
        return None
    best, before = max(history, key=lambda row: row[key]), start[key]
    value, epoch = best[key], best["epoch"]
    noise = 2 * math.sqrt(before * (1 - before) / images)
    title = table.title(monitor)
    if value > before:
        level = "ok"
        said = (
            f"{title} of the validation classes is {value:.3f} in the best epoch ({epoch:.0f}), "
            f"{before:.3f} before the first step."
        )
    else:
        level = "wrong" if before - value > noise else "look"
        said = (
            f"No epoch was better than the start: {title} of the validation classes is "
            f"{before:.3f} before the first step, and {value:.3f} in the best epoch ({epoch:.0f}). "
            "`model.keras` is the start."
        )
    return Finding(
        "start",
        level,
        said,
        "look if no epoch is better than the start, wrong if the best is worse by two standard "
        f"errors with {images:,} images ({noise:.3f}).",
        tuple(advice.better_than_the_start(available)),
        {"start": before, "best": value, "best_epoch": int(epoch)},
    )


def check_features(metrics, advice, available):
    """Whether the trained network is better on the test than what there was without training.

    Args:
        metrics: `metrics.json` of the run, a dict.
        advice: an `Advice`.
        available: number of training classes.

    Returns:
        A `Finding`, or `None` if it has not been measured.
    """
    names = {"features": "features of unit length", "untrained": "start, before the first step"}
    values = {name: metrics.get(name, {}).get(_MAIN) for name in ("trained", *names)}
    values = {name: value for name, value in values.items() if value is not None}
    if "trained" not in values or len(values) < 2:
        return None
    trained = values["trained"]
    below = [name for name in names if values.get(name, -math.inf) > trained]
    level = worst("ok", *({"features": "wrong", "untrained": "look"}[name] for name in below))
    known = " and ".join(
        f"{values[name]:.3f} of the {words}" for name, words in names.items() if name in values
    )
    said = f"{table.title(_MAIN)} on the test classes is {trained:.3f} after training, {known}"
    if below:
        said += f": training has made it worse than the {names[below[0]].split(',')[0]}"
    todo = list(advice.better_than_the_start(available))
    if values.get("features", -math.inf) > values.get("untrained", math.inf):
        todo = [*advice.other_head(), *todo]
    return Finding(
        "features",
        level,
        said + ".",
        "wrong below the features as they are, look below the start. Told by metrics.json: choose "
        "nothing by it, the test classes are for the end.",
        tuple(todo),
        values,
    )
