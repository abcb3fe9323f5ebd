"""Per-query retrieval numbers, exact, in NumPy, by blocks.

`rank_queries` is the one pass behind `mdl_tf.metrics.evaluate`; `sample_distances` feeds
histograms. `neighbors` searches by the same means. Distances are Euclidean, in the
unit of the embeddings.

How the pass works. The keys of a query's positives come from a small product within the class, in
float64. Of the negatives only the R nearest matter, and how many come before the first positive.
Float32 keys of all of them settle nearly everything; the few that lie too near to a bound, or may
be among the R nearest, are decided in float64 (`gallery`, which says why none is missed). Where
classes are large, or so many images are tied that most would have to be decided, all keys are
float64 at once: tile by tile the R nearest are partitioned off, sorted without carrying indices
along, and one search among them places all positives. Both ways give the same numbers. How near
images must be for a tie, and what is kept in memory: see `gallery`. For each core there are at most
two or three blocks of 64 MB more; never (Q, G).
"""

from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.metrics import shortlist as shortlists
from mdl_tf.metrics.arguments import as_set, check_same_width
from mdl_tf.metrics.blocks import measure_distances, run_in_threads
from mdl_tf.metrics.gallery import Gallery
from mdl_tf.metrics.shortlist import Shortlist

# A tile of fine keys, (256, 1024) float64, is 2 MB: it stays in the cache while it is searched.
_BLOCK_ROWS = 256
_TILE_COLUMNS = 1024
_BLOCK_KEYS = 2**23
# Positives of a query that are compared with its shortlist, each with each.
_FEW = 128


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

    space = Gallery(gallery, columns)
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
        q = space.queries(embeddings[block])
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
        bounds = keys - space.rounding(q.norms, keys)
        counts = None
        if is_few[block[0]]:
            counts = _choose_closer_negatives(q, space, classes, bounds, r)
        if counts is None:
            counts = _count_closer_negatives(q, space, classes, bounds)
        closer, nearest = counts

        nth = np.arange(1, r.max() + 1)
        hit = nth + closer <= r[:, None]
        ranks.first_rank[block] = 1 + closer[:, 0]
        ranks.r_precision[block] = hit.sum(axis=1) / r
        precisions = np.where(hit, nth / (nth + closer), 0.0)
        ranks.average_precision_at_r[block] = precisions.sum(axis=1) / r
        ranks.strict[block] = closer[np.arange(len(r)), r - 1] == 0
        # The product loses digits where embeddings nearly coincide; differences do not.
        ranks.farthest_positive[block] = measure_distances(
            embeddings, block, gallery, columns[farthest]
        )
        ranks.nearest_negative[block] = np.where(
            nearest >= 0, measure_distances(embeddings, block, gallery, columns[nearest]), np.inf
        )

    is_few = (positives <= _FEW) & shortlists.pays(space, positives)
    run_in_threads(rank_block, order[is_few[order]], shortlists.ROWS)
    kept = -(-len(gallery) // _TILE_COLUMNS) * min(int(positives.max()), _TILE_COLUMNS)
    rows = int(np.clip(_BLOCK_KEYS // max(1, kept), 1, _BLOCK_ROWS))
    run_in_threads(rank_block, order[~is_few[order]], rows)
    return ranks


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
        return measure_distances(embeddings, order[i], embeddings, order[j])

    return sample(position + 1, ends), sample(ends, np.full(len(order), len(order)))


def _number_classes(labels, gallery_labels):
    """Class numbers 0..C-1 of both, equal where the labels are equal."""
    if np.result_type(labels, gallery_labels).kind == "f":
        # int64 beside uint64 would meet as float64, where large ids merge.
        labels, gallery_labels = labels.astype(object), gallery_labels.astype(object)
    _, codes = np.unique(np.concatenate([labels, gallery_labels]), return_inverse=True)
    return codes[: len(labels)], codes[len(labels) :]


def _find_positive_keys(queries, gallery, classes, self_columns, most):
    """Keys of the positives, nearest first, (n, R) padded with inf; column of the farthest."""
    keys = np.full((len(queries.fine), most), np.inf)
    farthest = np.empty(len(keys), np.int64)
    for a, b, first, end in classes:
        within = gallery.fine_tile(queries.fine[a:b], first, end)
        count = end - first
        if self_columns is not None:
            # Itself, sorted to the end.
            within[np.arange(b - a), self_columns[a:b] - first] = np.inf
            count -= 1
        farthest[a:b] = first + within.argmin(axis=1)
        within.sort(axis=1)
        keys[a:b, :count] = within[:, :count][:, ::-1]
    return keys, farthest


def _choose_closer_negatives(queries, gallery, classes, bounds, positives):
    """What `_count_closer_negatives` gives, by coarse keys; `None` if too many are undecided."""
    rows = np.arange(len(bounds))
    low, high = gallery.coarse_bounds(queries, bounds[:, :1])
    before_first = np.zeros(len(bounds), np.int64)
    shortlist = Shortlist(gallery, queries, bounds.shape[1])
    unsure, undecided = [], 0
    for start, keys in shortlists.tiles(gallery, queries):
        _leave_out(keys, classes, start)
        column = keys.argmax(axis=1)
        highest = keys[rows, column]
        some = np.flatnonzero(highest >= low[:, 0])
        if len(some):
            part, least, most = keys, low, high
            if len(some) < len(rows):
                part, least, most = keys[some], low[some], high[some]
            certain = _count_each_row(part >= most)
            before_first[some] += certain
            at = np.flatnonzero(_count_each_row(part >= least) > certain)
            if len(at):
                row, column = np.nonzero((part[at] >= least[at]) & (part[at] < most[at]))
                unsure.append((some[at[row]], start + column))
                undecided += len(row)
        # With R negatives before the first positive, nothing but the nearest one matters.
        shortlist.wanted[before_first >= positives] = 1
        shortlist.add(keys, highest, start)
        if shortlist.is_long(undecided, start + keys.shape[1]):
            return None
    for row, column in unsure:
        is_closer = gallery.fine_pairs(queries, row, column) >= bounds[row, 0]
        before_first += np.bincount(row[is_closer], minlength=len(rows))

    highest, columns = shortlist.table()
    nearest = columns[rows, highest.argmax(axis=1)]
    closer = np.stack([(highest >= bound[:, None]).sum(axis=1) for bound in bounds.T], axis=1)
    return np.maximum(closer, before_first[:, None]), nearest


def _count_closer_negatives(queries, gallery, classes, bounds):
    """Counts negatives with keys >= bounds, (n, R); finds the column of the nearest, or -1.

    Counts stop at the largest R of the block, beyond which they enter neither R-precision nor
    MAP@R; only the first column, the rank of the first positive, is always full.
    """
    rows, most = np.arange(len(bounds)), bounds.shape[1]
    nearest, best = np.full(len(rows), -1), np.full(len(rows), -np.inf)
    before_first = np.zeros(len(rows), np.int64)
    highest = []
    for start in range(0, len(gallery), _TILE_COLUMNS):
        keys = gallery.fine_tile(queries.fine, start, start + _TILE_COLUMNS)
        _leave_out(keys, classes, start)
        column = keys.argmax(axis=1)
        top = keys[rows, column]
        nearest, best = np.where(top > best, start + column, nearest), np.maximum(top, best)
        before_first += _count_each_row(keys >= bounds[:, :1])
        highest.append(_take_largest(keys, most).copy())
        if sum(part.size for part in highest) > _BLOCK_KEYS:
            highest = [_take_largest(np.concatenate(highest, axis=1), most).copy()]
    highest = np.sort(_take_largest(np.concatenate(highest, axis=1), most), axis=1)
    closer = np.empty(bounds.shape, np.int64)
    for row in rows:
        # Needles in rising order save a third of the time.
        closer[row] = highest.shape[1] - np.searchsorted(highest[row], bounds[row, ::-1])[::-1]
    closer[:, 0] = before_first
    return closer, nearest


def _leave_out(keys, classes, start):
    """Sets the keys of each query's own class to minus infinity, in the tile from `start` on."""
    if classes[0][2] < start + keys.shape[1] and start < classes[-1][3]:
        for a, b, first, end in classes:
            keys[a:b, max(first - start, 0) : max(end - start, 0)] = -np.inf


def _count_each_row(mask):
    """How many are true in each row, `(n, m) -> (n,)`."""
    if mask.shape[1] % 8 or mask.shape[1] > 8 * 255:
        return mask.view(np.uint8).sum(axis=1, dtype=np.int64)
    # Eight counters of a byte side by side take a fifth of the time.
    lanes = mask.view(np.uint64).sum(axis=1)
    return lanes[:, None].view(np.uint8).sum(axis=1, dtype=np.int64)


def _take_largest(keys, count):
    """The `count` largest of each row, or all, in no order; reorders `keys`."""
    if count < keys.shape[1]:
        keys.partition(keys.shape[1] - count, axis=1)
    return keys[:, -count:]
