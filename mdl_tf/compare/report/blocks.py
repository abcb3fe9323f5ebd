"""What a report is made of, whatever it is written as: `page` and `markdown` know how.

All texts are plain: the writers escape them. A paragraph is a `str`.
"""

from typing import NamedTuple

from matplotlib.figure import Figure


class Table(NamedTuple):
    """Rows of texts; the first column names them."""

    head: tuple
    rows: tuple  # of tuples
    words: tuple = ()  # columns of words, which begin at the left like the first one
    apart: int = 0  # so many rows at the end are set apart
    strong: tuple = ()  # rows that are pointed out


class Picture(NamedTuple):
    """A file in the folder `pictures/`."""

    name: str
    alt: str  # what it shows, for those who do not see it
    figure: Figure | None = None  # to be drawn; `None` if the file is there already


class Gallery(NamedTuple):
    """Pictures side by side, as many as there is room for."""

    pictures: tuple
    wide: bool = False  # each needs the whole width


class Folded(NamedTuple):
    """What most readers do not need."""

    title: str
    blocks: tuple
    opened: bool = False  # at first


class Section(NamedTuple):
    """A heading and what stands below it."""

    title: str
    blocks: tuple


class Document(NamedTuple):
    """A report."""

    title: str
    lead: tuple  # paragraphs
    sections: tuple

    @property
    def pictures(self):
        """All of them, a list."""
        return list(_pictures(block for section in self.sections for block in section.blocks))


def _pictures(blocks):
    for block in blocks:
        if isinstance(block, Gallery):
            yield from block.pictures
        elif isinstance(block, Folded):
            yield from _pictures(block.blocks)
