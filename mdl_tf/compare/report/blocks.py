"""What a report is made of, whatever it is written as: `page` and `markdown` know how.

All texts are plain: the writers escape them. A paragraph is a `str`.
"""

from typing import NamedTuple

from matplotlib.figure import Figure

from mdl_tf.compare.report.words import count

_MANY = 6  # pictures in sight; more are folded


class Table(NamedTuple):
    """Rows of texts; the first column names them."""

    head: tuple
    rows: tuple  # of tuples
    text_columns: tuple = ()  # indices; set to the left like the first one, numbers to the right
    separate: int = 0  # how many rows at the end are below a line
    strong: tuple = ()  # indices of rows in bold


class Picture(NamedTuple):
    """A file in the folder `pictures/`."""

    name: str
    alt: str  # what it shows, for those who do not see it
    figure: Figure | None = None  # to be drawn; `None` if the file is there already


class Gallery(NamedTuple):
    """Pictures side by side, as many as there is room for."""

    pictures: tuple
    wide: bool = False  # whether each has the whole width


class Folded(NamedTuple):
    """What most readers do not need: a title that opens."""

    title: str
    blocks: tuple
    is_open: bool = False  # at first


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
        return [picture for section in self.sections for picture in _list_pictures(section.blocks)]


def _list_pictures(blocks):
    for block in blocks:
        if isinstance(block, Gallery):
            yield from block.pictures
        elif isinstance(block, Folded):
            yield from _list_pictures(block.blocks)


def fold_many(title, gallery):
    """A gallery as it is, or folded if it has many pictures.

    Args:
        title: what folded pictures are called.
        gallery: a `Gallery`.
    """
    if len(gallery.pictures) <= _MANY:
        return gallery
    return Folded(f"{title}: {count(len(gallery.pictures), 'figure')}", (gallery,))
