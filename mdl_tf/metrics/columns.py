"""Results as a table of text, and the K of Recall@K that it has."""

from mdl_tf.metrics.table import find_columns

# Those of the papers.
_KS_OF_PRODUCTS = {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30, 40, 50)}
_KS = (1, 2, 4, 8)


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
    return "\n".join(lines)
