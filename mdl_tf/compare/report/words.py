"""Numbers, lists and texts from outside, as a report writes them."""

import json

from mdl_tf.words import clean, count, listing
from mdl_tf.words import shorten as short

__all__ = [
    "NONE",
    "clean",
    "count",
    "listing",
    "mean",
    "number",
    "settings",
    "short",
    "signed",
    "value",
]

NONE = "–"  # where there is no number


def number(value, form=".3f"):
    """A number, or a dash for `None`."""
    return NONE if value is None else format(value, form)


def mean(interval):
    """`0.512 ± 0.013`; without an interval `0.512`; a dash for `None`."""
    return _with_half(interval, ".3f")


def signed(interval):
    """The same of a difference: `+0.012 ± 0.004`."""
    return _with_half(interval, "+.3f")


def _with_half(interval, form):
    if interval is None:
        return NONE
    # A minus as wide as the plus; and none before 0.000.
    text = format(round(interval.mean, 3) + 0.0, form).replace("-", "\u2212")
    return text if interval.half is None else f"{text} ± {interval.half:.3f}"


def settings(values):
    """A dict as `learning_rate=0.001, margin=0.2`."""
    return ", ".join(f"{key}={value(v)}" for key, v in values.items()) or NONE


def value(setting):
    """A setting as one would type it."""
    return setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)
