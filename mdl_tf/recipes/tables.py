"""Published figures as text: columns, wrapped lines, and which figures are from memory."""

import textwrap

_WIDTH = 100
_FROM_MEMORY = "*"
_DESCRIBED = {"method", "backbone", "embedding_dim", "kind", "source", "verified"}


def columns(lines):
    """Lines of cells as text, in columns; those with numbers to the right.

    Args:
        lines: tuples of texts, all of one length.

    Returns:
        A string of several lines.
    """
    columns_of_text = []
    for cells in zip(*lines, strict=True):
        width, right = max(map(len, cells)), any(map(_is_number, cells))
        columns_of_text.append(
            [cell.rjust(width) if right else cell.ljust(width) for cell in cells]
        )
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns_of_text, strict=True))


def wrapped(text, first="", rest="    "):
    """A text in lines of at most 100 letters.

    Args:
        text: what is written.
        first: what the first line begins with. Defaults to `""`.
        rest: what the others begin with. Defaults to four spaces.

    Returns:
        A string of several lines.
    """
    # A path or a flag stays in one piece.
    whole = {"break_on_hyphens": False, "break_long_words": False}
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=rest, **whole)


def published(rows, own=()):
    """Published figures as a table, their sources numbered below.

    Args:
        rows: dicts as in `Recipe.published`, at least one.
        own: dicts of `method`, `backbone`, `embedding_dim`, perhaps `kind`, and metrics: results of
            one's own. Those of a size and kind that a published row has are put above them.
            Defaults to none.

    Returns:
        A string of several lines.
    """
    sources = list(dict.fromkeys(row["source"] for row in rows))
    metrics = {key: None for row in rows for key in row if key not in _DESCRIBED}
    # In the order of their rows, but recalls first, by K.
    metrics = sorted(metrics, key=lambda key: int(key[10:]) if key.startswith("recall") else 10**6)
    lines = [("METHOD", "NETWORK", "DIMENSIONS", *map(_title, metrics), "SOURCE")]
    kinds = {_kind(row) for row in rows}
    for row in (*(row for row in own if _kind(row) in kinds), *rows):
        figures = [_figure(row, metric) for metric in metrics]
        number = f"[{sources.index(row['source']) + 1}]" if "source" in row else ""
        lines.append((row["method"], row["backbone"], _size(row), *figures, number))
    text = [columns(lines)]
    if any(_FROM_MEMORY in cell for line in lines for cell in line):
        text.append(
            f"{_FROM_MEMORY} from memory; the others were read in their source or checked in one"
        )
    text += [wrapped(source, f"[{i}] ") for i, source in enumerate(sources, 1)]
    return "\n".join(text)


def _is_number(text):
    return text.replace(".", "", 1).rstrip(_FROM_MEMORY).isdigit()


def _title(metric):
    return metric.replace("recall_at_", "R@").replace("_at_", "@").replace("_", "-").upper()


def _kind(row):
    """What must be equal for a comparison; without a word it is one network alone."""
    return row["embedding_dim"], row.get("kind") == "concatenated"


def _size(row):
    return f"{row['embedding_dim']} {row.get('kind', '')}".rstrip()


def _figure(row, metric):
    if metric not in row:
        return "-"
    verified = row.get("verified", True)
    read = verified[metric] if isinstance(verified, dict) else verified
    return f"{row[metric]:.4f}{'' if read else _FROM_MEMORY}"
