"""Numbers, lists and texts from outside, as a report writes them."""

import json
import unicodedata

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


def listing(words):
    """`a, b and c`."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def count(amount, noun):
    """`1 loss`, `2 losses`."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{amount:,} {noun if amount == 1 else plural}"


def settings(values):
    """A dict as `learning_rate=0.001, margin=0.2`."""
    return ", ".join(f"{key}={value(v)}" for key, v in values.items()) or NONE


def value(setting):
    """A setting as one would type it."""
    return setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)


def clean(text):
    """A text from outside on one line, without what no file of text may contain."""
    # Codes of a terminal's colours, halves of characters that file names may have.
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in " ".join(text.split())
    )


def short(text, most):
    """A text without its middle if it is longer than `most` letters."""
    if len(text) <= most:
        return text
    head = (most - 3) // 2
    return f"{text[:head]}...{text[head + 3 - most :]}"
