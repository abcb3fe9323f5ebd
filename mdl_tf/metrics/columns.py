"""Results as a table of text, and the K of Recall@K that it has."""

import math

from mdl_tf.metrics.table import find_columns
from mdl_tf.words import listing

# Those of the papers.
_KS_OF_PRODUCTS = {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30, 40, 50)}
_KS = (1, 2, 4, 8)
_KINDS = ("positive", "negative")


def ks(dataset):
    """The K of Recall@K that are reported for a data set: 1, 2, 4, 8 but for those of products."""
    return _KS_OF_PRODUCTS.get(dataset, _KS)


def table(results):
    """Results as text: a row for each of them, a column for each metric that one of them has.

    Args:
        results: dict from a name to a dict of metrics.

    Returns:
        A string of several lines.
    """
    metrics = find_columns(key for row in results.values() for key in row)
    widths = [max(8, len(metric.title) + 2) for metric in metrics]
    first = max(map(len, results)) + 2
    titles = (f"{m.title:>{width}}" for m, width in zip(metrics, widths, strict=True))
    lines = [" " * first + "".join(titles)]
    for name, row in results.items():
        texts = (f"{row[m.key]:.3f}" if m.key in row else "-" for m in metrics)
        cells = (f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
        lines.append(f"{name.replace('_', ' '):<{first}}" + "".join(cells))
    lone = max(row.get("lone_queries", 0) for row in results.values())
    if lone:
        lines.append(f"{lone:,.0f} images alone in their class have nothing to find: left out.")
    lines += _describe_pairs(results.values())
    return "\n".join(lines)


def _describe_pairs(rows):
    """How many pairs stand behind the true accept rates, a line or none."""
    rows = [row for row in rows if "negative_pairs" in row]
    if not rows:
        return
    positive, negative = (max(row[f"{kind}_pairs"] for row in rows) for kind in _KINDS)
    behind = (f"{math.floor(negative * 10.0**-n * (1 + 1e-12)):,}" for n in (2, 3, 4))
    yield (
        f"EER and TAR are of {positive:,.0f} pairs of one class and {negative:,.0f} of two: "
        f"{listing(behind)} of them behind TAR@1e-2, 1e-3 and 1e-4."
    )
