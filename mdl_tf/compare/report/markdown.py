"""A report as Markdown, with its pictures beside it."""

import re
from urllib.parse import quote

from mdl_tf.compare.report.blocks import Folded, Gallery, Table
from mdl_tf.compare.report.words import clean

# All that GitHub's Markdown reads as something else inside a line; `_` in a word is a `_`.
_SPECIAL = re.compile(r"[\\`*\[\]<>|$~&]|(?<!\w)_|_(?!\w)")


def markdown(document):
    """A document as Markdown.

    Args:
        document: a `Document`.

    Returns:
        A string.
    """
    parts = [f"# {_text(document.title)}", *map(_text, document.lead)]
    for section in document.sections:
        parts += [f"## {_text(section.title)}", *_blocks(section.blocks)]
    return "\n\n".join(parts) + "\n"


def _text(text):
    return _SPECIAL.sub(r"\\\g<0>", clean(text))


def _blocks(blocks):
    for block in blocks:
        if isinstance(block, Table):
            yield _table(block)
        elif isinstance(block, Gallery):
            yield "\n".join(
                f"![{_text(picture.alt)}](pictures/{quote(clean(picture.name))})"
                for picture in block.pictures
            )
        elif isinstance(block, Folded):
            yield f"### {_text(block.title)}"
            yield from _blocks(block.blocks)
        else:
            yield _text(block)


def _table(table):
    rule = (":--" if i == 0 or i in table.words else "--:" for i in range(len(table.head)))
    rows = [
        [f"**{_text(c)}**" if c and i in table.strong else _text(c) for c in row]
        for i, row in enumerate(table.rows)
    ]
    lines = ([*map(_text, table.head)], list(rule), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
