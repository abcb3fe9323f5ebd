"""A report as Markdown, with its pictures beside it."""

import re
from urllib.parse import quote

from mdl_tf.compare.report.blocks import Folded, Gallery, Table
from mdl_tf.compare.report.words import clean

# What has a meaning inside a line of GitHub's Markdown; `_` within a word has none.
_SPECIAL = re.compile(r"[\\`*\[\]<>|$~&]|(?<!\w)_|_(?!\w)")


def to_markdown(document):
    """A document as Markdown.

    Args:
        document: a `Document`.

    Returns:
        A string.
    """
    parts = [f"# {_escape(document.title)}", *map(_escape, document.lead)]
    for section in document.sections:
        parts += [f"## {_escape(section.title)}", *_write_blocks(section.blocks)]
    return "\n\n".join(parts) + "\n"


def _escape(text):
    return _SPECIAL.sub(r"\\\g<0>", clean(text))


def _write_blocks(blocks):
    for block in blocks:
        if isinstance(block, Table):
            yield _write_table(block)
        elif isinstance(block, Gallery):
            yield "\n".join(
                f"![{_escape(picture.alt)}](pictures/{quote(clean(picture.name))})"
                for picture in block.pictures
            )
        elif isinstance(block, Folded):
            yield f"### {_escape(block.title)}"
            yield from _write_blocks(block.blocks)
        else:
            yield _escape(block)


def _write_table(table):
    sides = [":--" if _is_text(table, i) else "--:" for i in range(len(table.head))]
    rows = [[_escape(cell) for cell in row] for row in table.rows]
    for i in table.strong:
        rows[i] = [f"**{cell}**" if cell else cell for cell in rows[i]]
    lines = [map(_escape, table.head), sides, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _is_text(table, column):
    return column == 0 or column in table.text_columns
