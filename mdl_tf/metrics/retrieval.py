"""Nearest neighbours and per-query retrieval numbers, exact, in NumPy, by blocks.

`rank_queries` is the one pass behind `mdl_tf.metrics.evaluate`; `nearest_neighbors` searches;
`sample_distances` feeds histograms. Distances are Euclidean, in the unit of the embeddings.

How the pass works. For a fixed query `q` the key `q·g - |g|²/2` grows as the distance to `g`
shrinks, so one matrix product replaces distances. The gallery is sorted by class; the keys of a
query's positives come from a small product within the class. Of the negatives only the R nearest
matter, and how many come before the first positive: tile by tile they are partitioned off, sorted
without carrying indices along, and one search among them places all positives.

Rounding. Everything is float64, whatever comes in, after a point in the middle of the gallery is
subtracted from both sides: distances do not change, and embeddings huddled far from the origin
keep their digits. Two squared distances closer than the rounding error of the product, about
`D * 2e-16` of the squared norms (unit vectors, D = 128: 1e-13), are a tie. Which images are the
nearest negative and the farthest positive is decided as finely; their distances are exact.

Memory. A float64 copy of the gallery, `8 * G * (D + 1)` bytes, and for each core at most two or
three blocks of 64 MB; never (Q, G).
"""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.metrics.arguments import as_embeddings, as_set, check_same_width

# A tile of keys, (256, 1024) float64, is 2 MB: it stays in the cache while it is searched.
_BLOCK_ROWS = 256
_TILE_COLUMNS = 1024
_BLOCK_KEYS = 2**23


class QueryRanks(NamedTuple):
    """What `rank_queries` finds out about each query, in the order of the queries, shapes `(Q,)`.

    A lone query (no image of its class to find) has 0 positives, rank 0, `False`, and NaN for the
    floats: leave it out with `positives > 0`.
    """

    positives: np.ndarray  # int64, R: gallery images of the query's class, itself not counted
    first_rank: np.ndarray  # int64, rank of the nearest positive, from 1
    r_precision: np.ndarray  # float64, share of positives among the R nearest
    average_precision_at_r: np.ndarray  # float64, its mean over queries is MAP@R
    strict: np.ndarray  # bool, every positive is closer than every negative
    nearest_negative: np.ndarray  # float64, distance; inf if the gallery has no negative
    farthest_positive: np.ndarray  # float64, distance


def rank_queries(embeddings, labels, *, gallery=None, gallery_labels=None):
    """Ranks the gallery for each query and keeps a few numbers per query.

    Ties count against the query: a negative at exactly a positive's distance ranks before it. So
    the rank of the r-th nearest positive is `r + n_r`, where `n_r` negatives are at its distance
    or closer, and nothing depends on the order of the images.

    Args:
        embeddings: the queries, any float or integer dtype, shape `(Q, D)`.
        labels: class of each query, any integer dtype, shape `(Q,)`.
        gallery: what is searched, shape `(G, D)`. `None`: the queries search each other, and each
            leaves itself out (by index, so its duplicates stay).
        gallery_labels: class of each gallery image, shape `(G,)`; given with `gallery` or not
            at all.

    Returns:
        `QueryRanks`. Queries alone in their class are marked there, no error is raised for them.

    Raises:
        ValueError: on a wrong shape or dtype, lengths that differ, or NaN, infinity or numbers
            beyond 1e150 in the embeddings.

    R-precision and MAP@R as in [Musgrave et al., 2020](https://arxiv.org/abs/2003.08505).
    """
    embeddings, labels = as_set(embeddings, labels, "embeddings", "labels")
    leave_one_out = gallery is None and gallery_labels is None
    if leave_one_out:
        gallery, gallery_labels = embeddings, labels
    elif gallery is None or gallery_labels is None:
        received = "gallery_labels" if gallery is None else "gallery"
        raise ValueError(
            "`gallery` and `gallery_labels` must be given together or not at all. "
            f"Received: only `{received}`"
        )
    else:
        gallery, gallery_labels = as_set(gallery, gallery_labels, "gallery", "gallery_labels")
        check_same_width(embeddings, gallery, "embeddings")

    # Classes side by side, small ones first: a class is a range of columns, and the queries of a
    # block have about equally many positives.
    query_class, gallery_class = _number_classes(labels, gallery_labels)
    sizes = np.bincount(gallery_class, minlength=query_class.max() + 1)
    place = np.argsort(np.argsort(sizes, kind="stable"), kind="stable")
    columns = np.argsort(place[gallery_class], kind="stable")
    ends = np.cumsum(np.sort(sizes))[place]
    positives = sizes[query_class] - leave_one_out
    order = np.argsort(place[query_class], kind="stable")
    order = order[positives[order] > 0]
    self_column = np.argsort(columns) if leave_one_out else None

    space = _Space(gallery, columns)
    queries, unknown = len(labels), np.full(len(labels), np.nan)
    ranks = QueryRanks(
        positives=positives,
        first_rank=np.zeros(queries, np.int64),
        r_precision=unknown.copy(),
        average_precision_at_r=unknown.copy(),
        strict=np.zeros(queries, bool),
        nearest_negative=unknown.copy(),
        farthest_positive=unknown.copy(),
    )

    def rank_block(block):
        q, q_norm = space.queries(embeddings[block])
        r = positives[block]
        # (first row, end row, first column, end column) of each class in the block
        cuts = np.flatnonzero(np.diff(query_class[block], prepend=-1, append=-1))
        classes = [
            (a, b, int(ends[c] - sizes[c]), int(ends[c]))
            for a, b in zip(cuts[:-1], cuts[1:], strict=True)
            for c in [query_class[block[a]]]
        ]
        self_columns = self_column[block] if leave_one_out else None
        keys, farthest = _find_positive_keys(q, space, classes, self_columns, r.max())
        bounds = keys - space.rounding(q_norm, keys)
        closer, nearest = _count_closer_negatives(q, space, classes, bounds)

        nth = np.arange(1, r.max() + 1)
        hit = nth + closer <= r[:, None]
        ranks.first_rank[block] = 1 + closer[:, 0]
        ranks.r_precision[block] = hit.sum(axis=1) / r
        precisions = np.where(hit, nth / (nth + closer), 0.0)
        ranks.average_precision_at_r[block] = precisions.sum(axis=1) / r
        ranks.strict[block] = closer[np.arange(len(r)), r - 1] == 0
        # The product loses digits where embeddings nearly coincide; differences do not.
        ranks.farthest_positive[block] = _measure_distances(
            embeddings, block, gallery, columns[farthest]
        )
        ranks.nearest_negative[block] = np.where(
            nearest >= 0, _measure_distances(embeddings, block, gallery, columns[nearest]), np.inf
        )

    tiles = -(-len(gallery) // _TILE_COLUMNS)
    _run_in_threads(rank_block, order, tiles * min(int(positives.max()), _TILE_COLUMNS))
    return ranks


def nearest_neighbors(queries, gallery=None, k=10):
    """Finds the `k` nearest gallery images of each query, nearest first.

    Equal distances are ordered by index. Exact search, O(Q·G·D).

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
    queries = as_embeddings(queries, "queries")
    leave_one_out = gallery is None
    gallery = queries if leave_one_out else as_embeddings(gallery, "gallery")
    check_same_width(queries, gallery, "queries")
    size = len(gallery)
    # A query does not find itself.
    k = check_integer("k", k, least=1, most=size - leave_one_out)
    space = _Space(gallery, np.arange(size))
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k))

    def search_block(block):
        q, q_norm = space.queries(queries[block])
        keys = q @ space.gallery.T
        if leave_one_out:
            keys[np.arange(len(block)), block] = -np.inf
        kth = np.partition(keys, size - k, axis=1)[:, size - k, None]
        rounding = space.rounding(q_norm, kth)
        is_near = keys >= kth - rounding
        # More than k where the k-th place is tied: of the tied ones keep the first in order.
        for row in np.flatnonzero(is_near.sum(axis=1) > k):
            is_nearer = keys[row] > kth[row] + rounding[row]
            tied = np.flatnonzero(is_near[row] & ~is_nearer)
            is_near[row, tied[k - is_nearer.sum() :]] = False
        near = np.nonzero(is_near)[1].reshape(len(block), k)
        far = _measure_distances(queries, np.repeat(block, k), gallery, near.ravel())
        far = far.reshape(near.shape)
        nearest_first = np.argsort(far, axis=1, kind="stable")
        indices[block] = np.take_along_axis(near, nearest_first, axis=1)
        distances[block] = np.take_along_axis(far, nearest_first, axis=1)

    _run_in_threads(search_block, np.arange(len(queries)), size)
    return indices, distances


def sample_distances(embeddings, labels, n_pairs=100_000, seed=0):
    """Distances of pairs of the same class and of pairs of different classes, for histograms.

    Args:
        embeddings: any float or integer dtype, shape `(N, D)`.
        labels: class of each image, any integer dtype, shape `(N,)`.
        n_pairs: how many pairs of each kind, at most. Defaults to `100_000`.
        seed: of the sample. Defaults to `0`.

    Returns:
        `(positive, negative)`: Euclidean distances, float64, one dimension each. All pairs of a
        kind if there are at most `n_pairs`, else a uniform sample of `n_pairs` different pairs;
        empty if there are none.

    Raises:
        ValueError: on a wrong shape or dtype, numbers that are not finite, `n_pairs` below 1, or
            `seed` below 0.
    """
    embeddings, labels = as_set(embeddings, labels, "embeddings", "labels")
    n_pairs = check_integer("n_pairs", n_pairs, least=1)
    seed = check_integer("seed", seed, least=0)
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(sizes)[codes[order]]
    position = np.arange(len(order))
    rng = np.random.default_rng(seed)

    def sample(first, end):
        # Image i pairs with first[i]..end[i] - 1, all behind it: number the pairs, draw numbers.
        pairs = np.cumsum(end - first)
        total = int(pairs[-1])
        if total > n_pairs:
            number = rng.choice(total, n_pairs, replace=False, shuffle=False)
        else:
            number = np.arange(total)
        i = np.searchsorted(pairs, number, side="right")
        j = end[i] - (pairs[i] - number)
        return _measure_distances(embeddings, order[i], embeddings, order[j])

    return sample(position + 1, ends), sample(ends, np.full(len(order), len(order)))


def _number_classes(labels, gallery_labels):
    """Class numbers 0..C-1 of both, equal where the labels are equal."""
    if np.result_type(labels, gallery_labels).kind == "f":
        # int64 beside uint64 would meet as float64, where large ids merge.
        labels, gallery_labels = labels.astype(object), gallery_labels.astype(object)
    _, codes = np.unique(np.concatenate([labels, gallery_labels]), return_inverse=True)
    return codes[: len(labels)], codes[len(labels) :]


class _Space:
    """The gallery as rows `[g, -|g|²/2]`, centred: its product with `[q, 1]` is the key."""

    def __init__(self, gallery, order):
        # A median is not dragged away by outliers, and any point does, so a sample is enough.
        sample = gallery[:: len(gallery) // 1024 + 1].astype(np.float64)
        self.centre = np.median(sample, axis=0)
        self.gallery = np.empty((len(gallery), gallery.shape[1] + 1))
        g = self.gallery[:, :-1]
        np.subtract(gallery[order], self.centre, out=g)
        squares = np.einsum("nd,nd->n", g, g)
        self.gallery[:, -1] = -squares / 2
        self.largest_norm = np.sqrt(squares.max())

    def queries(self, queries):
        """Returns rows `[q, 1]`, (n, D + 1), and norms, (n, 1)."""
        rows = np.ones((len(queries), self.gallery.shape[1]))
        q = rows[:, :-1]
        np.subtract(queries, self.centre, out=q)
        return rows, np.sqrt(np.einsum("nd,nd->n", q, q))[:, None]

    def rounding(self, q_norm, keys):
        """How far two keys of equally distant images can differ, (n, 1), (n, R) -> (n, R)."""
        distance = np.sqrt(np.maximum(q_norm**2 - 2 * keys, 0))
        # Nobody within that distance is longer; a far outlier does not blur the others.
        norm = np.minimum(self.largest_norm, q_norm + np.where(keys < np.inf, distance, 0))
        terms = self.gallery.shape[1] + 8
        return terms * np.finfo(np.float64).eps * (q_norm * norm + norm**2 / 2)


def _find_positive_keys(q, space, classes, self_columns, most):
    """Keys of the positives, nearest first, (n, R) padded with inf; column of the farthest."""
    keys = np.full((len(q), most), np.inf)
    farthest = np.empty(len(q), np.int64)
    for a, b, first, end in classes:
        within = q[a:b] @ space.gallery[first:end].T
        count = end - first
        if self_columns is not None:
            # Itself, sorted to the end.
            within[np.arange(b - a), self_columns[a:b] - first] = np.inf
            count -= 1
        farthest[a:b] = first + within.argmin(axis=1)
        within.sort(axis=1)
        keys[a:b, :count] = within[:, :count][:, ::-1]
    return keys, farthest


def _count_closer_negatives(q, space, classes, bounds):
    """Counts negatives with keys >= bounds, (n, R); finds the column of the nearest, or -1.

    Counts stop at the largest R of the block, beyond which they enter neither R-precision nor
    MAP@R; only the first column, the rank of the first positive, is always full.
    """
    rows, most = np.arange(len(q)), bounds.shape[1]
    nearest, best = np.full(len(q), -1), np.full(len(q), -np.inf)
    before_first = np.zeros(len(q), np.int64)
    highest = []
    buffer = np.empty(len(q) * _TILE_COLUMNS)
    for start in range(0, len(space.gallery), _TILE_COLUMNS):
        tile = space.gallery[start : start + _TILE_COLUMNS]
        keys = np.matmul(q, tile.T, out=buffer[: len(q) * len(tile)].reshape(len(q), len(tile)))
        if classes[0][2] < start + len(tile) and start < classes[-1][3]:
            for a, b, first, end in classes:
                keys[a:b, max(first - start, 0) : max(end - start, 0)] = -np.inf
        column = keys.argmax(axis=1)
        top = keys[rows, column]
        nearest, best = np.where(top > best, start + column, nearest), np.maximum(top, best)
        # Bytes, as summing them takes half the time of counting booleans.
        before_first += (keys >= bounds[:, :1]).view(np.uint8).sum(axis=1, dtype=np.int64)
        highest.append(_take_largest(keys, most).copy())
    highest = np.sort(_take_largest(np.concatenate(highest, axis=1), most), axis=1)
    closer = np.empty(bounds.shape, np.int64)
    for row in range(len(q)):
        # Needles in rising order save a third of the time.
        closer[row] = highest.shape[1] - np.searchsorted(highest[row], bounds[row, ::-1])[::-1]
    closer[:, 0] = before_first
    return closer, nearest


def _take_largest(keys, count):
    """The `count` largest of each row, or all, in no order; reorders `keys`."""
    if count < keys.shape[1]:
        keys.partition(keys.shape[1] - count, axis=1)
    return keys[:, -count:]


def _measure_distances(a, i, b, j):
    """Euclidean distances of `a[i]` and `b[j]` by differences in float64, (n,)."""
    result = np.empty(len(i))
    step = max(1, 2**20 // a.shape[1])
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        difference = a[i[part]].astype(np.float64) - b[j[part]]
        result[part] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return result


def _run_in_threads(work, queries, keys_each):
    """Runs `work(block)` for blocks of queries, `keys_each` kept for a query, on all cores."""
    rows = int(np.clip(_BLOCK_KEYS // max(1, keys_each), 1, _BLOCK_ROWS))
    blocks = [queries[start : start + rows] for start in range(0, len(queries), rows)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # NumPy lets go of the interpreter lock, so every core works on its own block, and the product
    # must not start threads of its own: they wait for each other by spinning, ten times slower on
    # a busy machine. threadpoolctl comes with scikit-learn; without it, one block at a time.
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        limit, cores = contextlib.nullcontext(), 1
    else:
        limit = threadpool_limits(limits=1, user_api="blas")
    with limit, ThreadPoolExecutor(cores) as pool:
        for _ in pool.map(work, blocks):
            pass
