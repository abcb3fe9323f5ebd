"""The nearest images of a gallery: prepare it once, search it as often as wanted.

>>> gallery = prepare(embeddings)
>>> indices, distances = gallery.neighbors(queries, k=10)

Exact, in blocks of queries: float32 keys choose, float64 ones decide (`mdl_tf.metrics.gallery`).
"""

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.metrics import shortlist as shortlists
from mdl_tf.metrics.arguments import as_embeddings, check_same_width
from mdl_tf.metrics.blocks import measure_distances, run_in_threads
from mdl_tf.metrics.gallery import Gallery
from mdl_tf.metrics.shortlist import Shortlist

_BLOCK_KEYS = 2**23  # float64, kept at a time where all are wanted
_TILE_COLUMNS = 2**14


def prepare(gallery, order=None):
    """Prepares a gallery for many searches; the first query then costs no more than the next.

    Args:
        gallery: embeddings, any float or integer dtype, shape `(G, D)`. They are kept, not copied,
            if they are float32 or float64, and must not change.
        order: those that can be found, positions of `gallery`, int64, shape `(n,)`. Defaults to
            `None`: all, in their order.

    Returns:
        A `PreparedGallery`; it holds `4 * G * (D + 5)` bytes beside the embeddings.

    Raises:
        ValueError: on a wrong shape or dtype, or numbers that are not finite.
    """
    return PreparedGallery(as_embeddings(gallery, "gallery"), order)


class PreparedGallery:
    """A gallery that can be searched at once; `prepare` makes one."""

    def __init__(self, embeddings, order=None):
        self._gallery = Gallery(embeddings, np.arange(len(embeddings)) if order is None else order)

    def __len__(self):
        return len(self._gallery)

    def neighbors(self, queries, k=10):
        """The `k` nearest images of each query, nearest first; equal distances by index.

        Args:
            queries: embeddings, any float or integer dtype, shape `(Q, D)`.
            k: how many, at most G. Defaults to `10`.

        Returns:
            `(indices, distances)`: positions in the gallery (in `order`, if there is one), int64,
            shape `(Q, k)`, and Euclidean distances, float64, shape `(Q, k)`.

        Raises:
            ValueError: on a wrong shape or dtype, numbers that are not finite, or `k` out of range.
        """
        queries = as_embeddings(queries, "queries")
        check_same_width(queries, self._gallery.embeddings, "queries")
        return self._search(queries, check_integer("k", k, least=1, most=len(self)), False)

    def _search(self, queries, k, leave_one_out):
        gallery = self._gallery
        indices = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k))

        def search_block(block):
            rows = gallery.queries(queries[block])
            itself = block if leave_one_out else None
            near = _choose(gallery, rows, k, itself) if pays else None
            if near is None:
                near = _compare_all(gallery, rows, k, itself)
            far = measure_distances(
                queries, np.repeat(block, k), gallery.embeddings, gallery.order[near.ravel()]
            ).reshape(near.shape)
            nearest_first = np.argsort(far, axis=1, kind="stable")
            indices[block] = np.take_along_axis(near, nearest_first, axis=1)
            distances[block] = np.take_along_axis(far, nearest_first, axis=1)

        pays = shortlists.pays(gallery, k)
        rows = shortlists.ROWS if pays else max(1, min(shortlists.ROWS, _BLOCK_KEYS // len(self)))
        run_in_threads(search_block, np.arange(len(queries)), rows)
        return indices, distances


def nearest_neighbors(queries, gallery=None, k=10):
    """Finds the `k` nearest gallery images of each query, nearest first.

    Equal distances are ordered by index. Exact search, O(Q·G·D). To search one gallery again and
    again, `prepare` it.

    Args:
        queries: embeddings, any float or integer dtype, shape `(Q, D)`.
        gallery: embeddings, shape `(G, D)`. `None`: the queries search each other, and each leaves
            itself out (by index, so its duplicates stay).
        k: how many, at most G, or Q - 1 without a gallery.

    Returns:
        `(indices, distances)`: positions in the gallery, int64, shape `(Q, k)`, and Euclidean
        distances, float64, shape `(Q, k)`.

    Raises:
        ValueError: on a wrong shape or dtype, numbers that are not finite, or `k` out of range.
    """
    if gallery is not None:
        gallery = as_embeddings(gallery, "gallery")
        queries = as_embeddings(queries, "queries")
        check_same_width(queries, gallery, "queries")
        k = check_integer("k", k, least=1, most=len(gallery))
        return PreparedGallery(gallery)._search(queries, k, False)
    queries = as_embeddings(queries, "queries")
    # A query does not find itself.
    k = check_integer("k", k, least=1, most=len(queries) - 1)
    return PreparedGallery(queries)._search(queries, k, True)


def _choose(gallery, queries, k, itself):
    """The k nearest columns of each query by a shortlist; `None` if it grows too long."""
    shortlist = Shortlist(gallery, queries, k)
    rows = np.arange(len(queries.fine))
    for start, keys in shortlists.tiles(gallery, queries):
        if itself is not None:
            here = np.flatnonzero((itself >= start) & (itself < start + keys.shape[1]))
            keys[here, itself[here] - start] = -np.inf
        shortlist.add(keys, keys[rows, keys.argmax(axis=1)], start)
        if shortlist.is_long(0, start + keys.shape[1]):
            return None
    keys, columns = shortlist.table()
    near = _take_nearest(gallery, queries, keys, k)
    return columns[near].reshape(len(rows), k)


def _compare_all(gallery, queries, k, itself):
    """The k nearest columns of each query by the fine keys of all."""
    keys = np.empty((len(queries.fine), len(gallery)))
    for start in range(0, len(gallery), _TILE_COLUMNS):
        stop = min(start + _TILE_COLUMNS, len(gallery))
        keys[:, start:stop] = gallery.fine_tile(queries.fine, start, stop)
    if itself is not None:
        keys[np.arange(len(keys)), itself] = -np.inf
    return np.nonzero(_take_nearest(gallery, queries, keys, k))[1].reshape(len(keys), k)


def _take_nearest(gallery, queries, keys, k):
    """Which keys are the k largest of their row; of those tied for the last place, the first."""
    size = keys.shape[1]
    kth = np.partition(keys, size - k, axis=1)[:, size - k, None]
    rounding = gallery.rounding(queries.norms, kth)
    is_near = keys >= kth - rounding
    for row in np.flatnonzero(is_near.sum(axis=1) > k):
        is_nearer = keys[row] > kth[row] + rounding[row]
        tied = np.flatnonzero(is_near[row] & ~is_nearer)
        is_near[row, tied[k - is_nearer.sum() :]] = False
    return is_near
