"""A report as one HTML file that needs nothing else: no network, no script, no other file."""

import base64
import re
from html import escape
from pathlib import PurePath

from mdl_tf.compare.report.blocks import Folded, Gallery, Table
from mdl_tf.compare.report.page_style import STYLE
from mdl_tf.compare.report.words import clean

_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


def to_html(document, read):
    """A document as HTML.

    Args:
        document: a `Document`.
        read: a function from a picture's name to its bytes, or `None` if there is no such file.

    Returns:
        A string.
    """
    title = _escape(document.title)
    lead = "\n".join(f"<p>{_escape(text)}</p>" for text in document.lead)
    contents = "\n".join(
        f'<li><a href="#{_anchor(section.title)}">{_escape(section.title)}</a></li>'
        for section in document.sections
    )
    sections = "\n".join(
        f'<section id="{_anchor(section.title)}">\n'
        f'<h2><a href="#{_anchor(section.title)}">{_escape(section.title)}</a></h2>\n'
        f"{_write_blocks(section.blocks, read, section.title)}\n</section>"
        for section in document.sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<div class="lead">
{lead}
</div>
<nav aria-label="Contents"><ol>
{contents}
</ol></nav>
</header>
<main>
{sections}
</main>
</body>
</html>
"""


def _escape(text):
    return escape(clean(text))


def _anchor(title):
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _write_blocks(blocks, read, title):
    return "\n".join(_write_block(block, read, title) for block in blocks)


def _write_block(block, read, title):
    if isinstance(block, Table):
        return _write_table(block, title)
    if isinstance(block, Gallery):
        name = "gallery wide" if block.wide else "gallery"
        pictures = "\n".join(_write_picture(picture, read) for picture in block.pictures)
        return f'<div class="{name}">\n{pictures}\n</div>'
    if isinstance(block, Folded):
        tag = "<details open>" if block.is_open else "<details>"
        inner = _write_blocks(block.blocks, read, block.title)
        return f"{tag}<summary>{_escape_breakable(block.title)}</summary>\n{inner}\n</details>"
    return f"<p>{_escape(block)}</p>"


def _write_picture(picture, read):
    content = read(picture.name)
    if content is None:
        return f'<p class="gone">The file pictures/{_escape(picture.name)} is missing.</p>'
    kind = _TYPES.get(PurePath(picture.name).suffix.lower(), "image/png")
    data = base64.b64encode(content).decode()
    return f'<img alt="{_escape(picture.alt)}" src="data:{kind};base64,{data}">'


def _write_table(table, title):
    head = "".join(
        f'<th scope="col"{_column_class(table, i)}>{_escape(text)}</th>'
        for i, text in enumerate(table.head)
    )
    rows = "\n".join(_write_row(table, i, cells) for i, cells in enumerate(table.rows))
    # With a label and a stop for the tab key, the box can be scrolled without a mouse.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_escape(title)}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _write_row(table, i, cells):
    name, *values = map(_escape_breakable, cells)
    values = "".join(
        f"<td{_column_class(table, j)}>{value}</td>" for j, value in enumerate(values, 1)
    )
    return f'<tr{_row_class(table, i)}><th scope="row">{name}</th>{values}</tr>'


def _row_class(table, row):
    first_separate = len(table.rows) - table.separate
    names = {
        "strong": row in table.strong,
        "apart": row >= first_separate,
        "first": row == first_separate,
    }
    names = " ".join(name for name, applies in names.items() if applies)
    return f' class="{names}"' if names else ""


def _column_class(table, column):
    return ' class="words"' if column == 0 or column in table.text_columns else ""


def _escape_breakable(text):
    """Long names of losses may end a line where their words do, endless ones somewhere."""
    return re.sub(r"([_:=]|[^\W_]{16})", r"\1<wbr>", _escape(text))
