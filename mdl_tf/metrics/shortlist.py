"""The few images of a gallery that may be nearest to a query, chosen by coarse keys."""

import numpy as np

from mdl_tf.metrics.gallery import WIDEST

# A tile of coarse keys stays in the cache while it is searched.
ROWS = 256
_TILE = 2**17
_NARROWEST = 512
# Places of a table of fine keys.
_TABLE = 2**22
# Deciding one pair costs as much as so many keys of a product.
PAIR = 32


class Shortlist:
    """Gathers, tile by tile, the columns that may be among each query's nearest.

    Args:
        gallery: a `Gallery`.
        queries: its `Queries`, n of them.
        count: at most so many nearest are asked for, of any query.
    """

    def __init__(self, gallery, queries, count):
        n = len(queries.fine)
        self.wanted = np.full(n, count)  # how many of each query; may be lowered on the way
        self._gallery, self._queries = gallery, queries
        self._best = np.full((n, count), -np.inf, np.float32)  # coarse keys, ascending
        # A column that is left out has minus infinity, which is lower.
        self.floor = np.full(n, np.finfo(np.float32).min)
        none = np.empty(0, np.int64)
        self._found = [(none, none, np.empty(0, np.float32))]
        self._counts = np.zeros(n, np.int64)

    def add(self, keys, highest, start):
        """Takes what may be wanted of a tile.

        Args:
            keys: coarse keys of all queries, `(n, m)`; minus infinity where left out.
            highest: the largest of each row, `(n,)`.
            start: the first column.
        """
        rows = np.flatnonzero(highest >= self.floor)
        if not len(rows):
            return
        keys = keys[rows]
        count = self._best.shape[1]
        top = keys if count >= keys.shape[1] else np.partition(keys, -count, axis=1)[:, -count:]
        best = np.sort(np.concatenate([self._best[rows], top], axis=1), axis=1)[:, -count:]
        self._best[rows] = best
        last = best[np.arange(len(rows)), -self.wanted[rows]][:, None]
        queries = self._queries
        queries = queries._replace(norms=queries.norms[rows], unit=queries.unit[rows])
        # The last one's coarse key is off, and so are those of the images that it is compared with.
        error = self._gallery.coarse_error(queries, last / queries.unit)
        floor = np.nextafter((last - 2 * error)[:, 0].astype(np.float32), -np.inf)
        self.floor[rows] = np.maximum(self.floor[rows], floor)
        row, column = np.nonzero(keys >= self.floor[rows, None])
        self._found.append((rows[row], start + column, keys[row, column]))
        self._counts[rows] += np.bincount(row, minlength=len(rows))

    def is_long(self, undecided, seen):
        """Whether to compare all in float64 would take no longer.

        Args:
            undecided: pairs that must be decided beside those of the list.
            seen: columns of the gallery so far.
        """
        # The first tile fills the list.
        pairs = self._counts.sum() + undecided - 4 * self._best.size
        # One query in the middle of all others would make all rows of the table long.
        is_wide = self._counts.max() * len(self._counts) > _TABLE
        return is_wide or pairs * PAIR > seen * len(self._counts)

    def table(self):
        """Fine keys of what may be nearest, each row by column.

        Returns:
            `(keys, columns)`, both `(n, m)`, float64 and int64, m of the longest row; the others
            are filled up with minus infinity and -1.
        """
        rows, columns, coarse = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        left = coarse >= self.floor[rows]
        order = np.argsort(rows[left], kind="stable")
        rows, columns = rows[left][order], columns[left][order]
        counts = np.bincount(rows, minlength=len(self.floor))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        keys = np.full((len(counts), max(1, counts.max())), -np.inf)
        names = np.full(keys.shape, -1)
        keys[rows, place] = self._gallery.fine_pairs(self._queries, rows, columns)
        names[rows, place] = columns
        return keys, names


def tiles(gallery, queries):
    """Coarse keys of some queries with the whole gallery, a tile at a time.

    Args:
        gallery: a `Gallery`.
        queries: its `Queries`, n of them.

    Yields:
        `(start, keys)`: the first column, and float32 keys, `(n, m)`, which the next tile
        overwrites.
    """
    n = len(queries.coarse)
    width = min(len(gallery), max(_NARROWEST, _TILE // n))
    buffer = np.empty(n * width, np.float32)
    for start in range(0, len(gallery), width):
        tile = gallery.coarse[start : start + width]
        out = buffer[: n * len(tile)].reshape(n, len(tile))
        yield start, np.matmul(queries.coarse, tile.T, out=out)


def pays(gallery, count):
    """Whether a shortlist of `count` a query takes less than comparing all in float64."""
    fits = gallery.embeddings.shape[1] <= WIDEST
    return fits & (count * PAIR <= len(gallery))
