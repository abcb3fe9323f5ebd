"""Metrics as text."""

# The K of Recall@K, those of the papers.
_KS = {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30, 40, 50)}
_OTHERS = (1, 2, 4, 8)

COLUMNS = {
    **{
        f"recall_at_{k}": f"Recall@{k}"
        for k in sorted({k for ks in (*_KS.values(), _OTHERS) for k in ks})
    },
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    "strict_discrimination": "strict",
    "nmi": "NMI",
    "f1": "F1",
}


def ks(dataset):
    """The K of Recall@K that are reported for a data set: 1, 2, 4, 8 but for those of products."""
    return _KS.get(dataset, _OTHERS)


def table(results):
    """Metrics as text: a row for each of `results`, a column for each metric that one of them has.

    Args:
        results: dict from a name to a dict of metrics.

    Returns:
        A string of several lines.
    """
    columns = {
        key: (title, max(8, len(title) + 2))
        for key, title in COLUMNS.items()
        if any(key in row for row in results.values())
    }
    first = max(len(name) for name in results) + 2
    lines = [" " * first + "".join(f"{title:>{width}}" for title, width in columns.values())]
    for name, row in results.items():
        cells = (
            f"{row[key]:>{width}.3f}" if key in row else f"{'-':>{width}}"
            for key, (_, width) in columns.items()
        )
        lines.append(f"{name.replace('_', ' '):<{first}}" + "".join(cells))
    lone = {row.get("lone_queries", 0) for row in results.values()}
    if max(lone):
        lines.append(
            f"{max(lone):,.0f} images alone in their class have nothing to find: left out."
        )
    return "\n".join(lines)
