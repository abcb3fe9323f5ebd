"""A report as one HTML file that needs nothing else: no network, no script, no other file."""

import base64
import re
from html import escape
from pathlib import PurePath

from mdl_tf.compare.report.blocks import Folded, Gallery, Table
from mdl_tf.compare.report.page_style import STYLE
from mdl_tf.compare.report.words import clean

_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


def page(document, read):
    """A document as HTML.

    Args:
        document: a `Document`.
        read: a function from a picture's name to its bytes, or `None` if there is no such file.

    Returns:
        A string.
    """
    title = _text(document.title)
    lead = "\n".join(f"<p>{_text(text)}</p>" for text in document.lead)
    contents = "\n".join(
        f'<li><a href="#{_anchor(section.title)}">{_text(section.title)}</a></li>'
        for section in document.sections
    )
    sections = "\n".join(
        f'<section id="{_anchor(section.title)}">\n'
        f'<h2><a href="#{_anchor(section.title)}">{_text(section.title)}</a></h2>\n'
        f"{_blocks(section.blocks, read, section.title)}\n</section>"
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


def _text(text):
    return escape(clean(text))


def _anchor(title):
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _blocks(blocks, read, title):
    return "\n".join(_block(block, read, title) for block in blocks)


def _block(block, read, title):
    if isinstance(block, Table):
        return _table(block, title)
    if isinstance(block, Gallery):
        wide = " wide" if block.wide else ""
        figures = "\n".join(_picture(picture, read) for picture in block.pictures)
        return f'<div class="gallery{wide}">\n{figures}\n</div>'
    if isinstance(block, Folded):
        inner = _blocks(block.blocks, read, block.title)
        opened = " open" * block.opened
        return f"<details{opened}><summary>{_breakable(block.title)}</summary>\n{inner}\n</details>"
    return f"<p>{_text(block)}</p>"


def _picture(picture, read):
    content = read(picture.name)
    if content is None:
        return f'<p class="gone">The file pictures/{_text(picture.name)} is missing.</p>'
    kind = _TYPES.get(PurePath(picture.name).suffix.lower(), "image/png")
    data = base64.b64encode(content).decode()
    return f'<img alt="{_text(picture.alt)}" src="data:{kind};base64,{data}">'


def _table(table, title):
    head = "".join(
        f'<th scope="col"{_words(table, i)}>{_text(text)}</th>' for i, text in enumerate(table.head)
    )
    rows = "\n".join(_row(table, i, cells) for i, cells in enumerate(table.rows))
    # With a label and a stop for the tab key, the box can be scrolled without a mouse.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(title)}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _row(table, i, cells):
    kinds = ["strong"] * (i in table.strong)
    kinds += ["apart"] * (table.apart > 0 and i >= len(table.rows) - table.apart)
    kinds += ["first"] * (table.apart > 0 and i == len(table.rows) - table.apart)
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    first, *rest = cells
    others = "".join(f"<td{_words(table, j)}>{_breakable(c)}</td>" for j, c in enumerate(rest, 1))
    return f'<tr{kind}><th scope="row">{_breakable(first)}</th>{others}</tr>'


def _words(table, column):
    return ' class="words"' if column == 0 or column in table.words else ""


def _breakable(text):
    """Long names of losses may end a line where their words do, endless ones somewhere."""
    return re.sub(r"([_:=]|[^\W_]{16})", r"\1<wbr>", _text(text))
