"""Queries with their nearest neighbours as one picture, put together from thumbnails."""

import functools
import math
import textwrap
from pathlib import Path

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.metrics import nearest_neighbors
from mdl_tf.pictures import plots, thumbnails
from mdl_tf.words import clean

SIDE, FRAME, GAP = 64, 4, 4  # pixels of an image, of the frame around it, and between frames
_CELL = SIDE + 2 * FRAME
_PITCH = _CELL + GAP
_HEAD = 24  # pixels above the first row
_KEPT = 4096  # thumbnails in memory, 12 kB each


def draw_queries(labels, count, seed=0, queries=None):
    """Queries that have something to find, of distinct classes as long as there are any.

    Args:
        labels: class of each image, shape `(N,)`.
        count: how many, at most.
        seed: of the draw. Defaults to `0`.
        queries: mask `(N,)` of the images that search the others, or `None` if each searches all.
            Defaults to `None`.

    Returns:
        Indices, int64, in the order of the draw; none if no image has another one of its class.
    """
    labels = np.asarray(labels)
    if queries is None:
        _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        able = np.flatnonzero(sizes[codes] > 1)
    else:
        able = np.flatnonzero(queries & np.isin(labels, labels[~queries]))
    drawn = np.random.default_rng(seed).permutation(able)
    firsts = np.sort(np.unique(labels[drawn], return_index=True)[1])
    return np.concatenate([drawn[firsts], np.delete(drawn, firsts)])[:count]


class NeighborMosaic:
    """A row for each of some queries: the query, and its nearest neighbours, nearest first.

    Neighbours of the query's class have a blue frame, others an orange one and a cross. Thumbnails
    are loaded when they are first shown and kept.

    Args:
        image_set: an `ImageSet` of images. If it has `queries`, they search the rest of it; else
            every image searches all others.
        queries: rows, at most. Defaults to `8`.
        neighbors: columns, at most. Defaults to `8`.
        seed: of the draw of the queries. Defaults to `0`.

    Attributes:
        queries: indices of the queries, shape `(Q,)`.
        description: what the picture shows, with the classes of all rows, in Markdown.

    Raises:
        ValueError: if `queries` or `neighbors` is no integer from 1 on.
    """

    def __init__(self, image_set, queries=8, neighbors=8, seed=0):
        queries = check_integer("queries", queries, least=1)
        neighbors = check_integer("neighbors", neighbors, least=1)
        mask = image_set.queries
        mask = None if mask is None or mask.all() else mask
        self._labels = image_set.labels
        self._gallery = np.arange(len(image_set)) if mask is None else np.flatnonzero(~mask)
        self._k = min(neighbors, len(self._gallery) - (mask is None))
        self.queries = draw_queries(image_set.labels, queries, seed, mask)
        names = [image_set.class_names[c] for c in image_set.labels[self.queries]]
        self.description = _description(names)
        self._tile = functools.lru_cache(_KEPT)(lambda i: thumbnails.tile(image_set, i, SIDE))
        self._names = names

    def find(self, embeddings):
        """The nearest neighbours of the queries.

        Args:
            embeddings: of the whole set, shape `(N, D)`.

        Returns:
            Indices, int64, shape `(Q, k)`, nearest first.
        """
        gallery = self._gallery
        # One more than shown: a query that is in the gallery finds itself.
        k = min(self._k + 1, len(gallery))
        nearest, _ = nearest_neighbors(embeddings[self.queries], embeddings[gallery], k)
        nearest = gallery[nearest]
        return np.stack(
            [row[row != query][: self._k] for query, row in zip(self.queries, nearest, strict=True)]
        )

    def draw(self, embeddings):
        """The picture.

        Args:
            embeddings: of the whole set, shape `(N, D)`.

        Returns:
            uint8 RGB, shape `(h, w, 3)`.
        """
        picture = self._ground.copy()
        for row, nearest in enumerate(self.find(embeddings)):
            for column, i in enumerate(nearest.tolist(), start=1):
                hit = self._labels[i] == self._labels[self.queries[row]]
                cell = _hit(self._tile(i)) if hit else _miss(self._tile(i))
                y, x = self.place(row, column)
                picture[y : y + _CELL, x : x + _CELL] = cell
        return picture

    def place(self, row, column):
        """Where a cell begins: y and x in pixels; column 0 is the query's."""
        x = self._left + column * _PITCH + (2 * GAP if column else 0)
        return _HEAD + row * _PITCH, x

    @functools.cached_property
    def _left(self):
        """Pixels for the classes of the queries, left of them: as wide as they need."""
        from PIL import Image, ImageDraw

        pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
        boxes = [pen.multiline_textbbox((0, 0), *_written(name)) for name in self._names]
        return 12 + math.ceil(max(box[2] for box in boxes))

    @functools.cached_property
    def _ground(self):
        """What stays the same from picture to picture: headings, queries and their classes."""
        from PIL import Image, ImageDraw

        height, width = self.place(len(self.queries), self._k + 1)
        x = self.place(0, 1)[1]
        image = Image.new("RGB", (max(width, x + 310), height), "white")
        pen, write = ImageDraw.Draw(image), {"fill": plots.LINE, "font": _font(11)}
        pen.text((self._left, 5), "query", **write)
        pen.text((x, 5), "nearest first:", **write)
        for left, key, text in (
            (x + 90, _hit(_blank(12)), "same class"),
            (x + 190, _miss(_blank(12)), "another class"),
        ):
            image.paste(Image.fromarray(key), (left, 2))
            pen.text((left + 25, 5), text, **write)
        for row, name in enumerate(self._names):
            y, x = self.place(row, 0)
            text, font = _written(name)
            pen.multiline_text((4, y + _CELL / 2), text, plots.LINE, font, anchor="lm")
            frame = _framed(self._tile(self.queries[row].item()), plots.LINE, 1)
            image.paste(Image.fromarray(frame), (x, y))
        return np.asarray(image)


def _blank(side):
    return np.full((side, side, 3), 255, np.uint8)


def _framed(tile, colour, width=FRAME):
    """A tile with a frame of some pixels, white up to `FRAME`."""
    from PIL import ImageColor

    side = len(tile) + 2 * FRAME
    cell = np.full((side, side, 3), 255, np.uint8)
    outer, inner = slice(FRAME - width, side - FRAME + width), slice(FRAME, side - FRAME)
    cell[outer, outer] = ImageColor.getrgb(colour)
    cell[inner, inner] = tile
    return cell


def _hit(tile):
    return _framed(tile, plots.POSITIVE)


def _miss(tile):
    """Framed, with a cross in the upper right corner: seen without colours, too."""
    from PIL import Image, ImageDraw

    cell = Image.fromarray(_framed(tile, plots.NEGATIVE))
    right, width = cell.width - 1, 15
    pen = ImageDraw.Draw(cell)
    pen.rectangle((right - width, 0, right, width), fill=plots.NEGATIVE)
    near, far = right - width + 4, right - 4
    pen.line((near, 4, far, width - 4), fill="white", width=2)
    pen.line((near, width - 4, far, 4), fill="white", width=2)
    return np.asarray(cell)


@functools.lru_cache
def _font(size):
    """The font that matplotlib brings along: letters of many scripts, on every machine."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _written(name):
    """A name in at most four short lines, and its font: one sign alone is shown larger."""
    lines = textwrap.wrap(clean(name), 16, max_lines=4, placeholder="...") or [repr(name)]
    return "\n".join(lines), _font(18 if len(name) < 4 else 11)


def _description(names):
    rows = "\n".join(f"{row}. `{name!r}`" for row, name in enumerate(names, start=1))
    return (
        "Each row: a query, and its nearest neighbours, nearest first. Framed in blue: of the "
        "query's class; in orange and crossed out: of another class. The queries' classes:\n\n"
        f"{rows}\n"
    )
