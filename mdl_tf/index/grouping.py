"""Vectors in groups: k-means, HDBSCAN, average linkage; and what hangs together below a distance.

scikit-learn is loaded inside. Average linkage up to a distance is exact for many vectors: two
groups are joined only if some pair of them is at most that far apart, so each component of the
graph of such pairs is grouped alone.
"""

import threading

import numpy as np

from mdl_tf.metrics.blocks import measure_distances, run_in_threads

# Each needs time, the second memory as well, by the square of the vectors.
LARGEST = {"hdbscan": 10_000, "agglomerative": 15_000}
_MANY = 2**24  # vectors times groups, from where k-means sees a part of the vectors at a time
_ROWS, _COLUMNS = 256, 8192  # of a block of distances


class TooMany(ValueError):
    """Vectors that a method cannot group in sensible time and memory."""


def group_by_k_means(vectors, k, seed=0):
    """k groups by k-means.

    Args:
        vectors: `(n, D)` float32, n at least k.
        k: how many.
        seed: of the start. Defaults to `0`.

    Returns:
        The group of each, integers `(n,)`.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    options = {"n_clusters": k, "n_init": 1, "random_state": seed}
    if len(vectors) * k > _MANY:
        return MiniBatchKMeans(batch_size=4096, **options).fit_predict(vectors)
    return KMeans(**options).fit_predict(vectors)


def group_by_density(vectors, smallest):
    """Groups by HDBSCAN, which finds how many there are.

    Args:
        vectors: `(n, D)` float32.
        smallest: images of a group at least, from 2 on.

    Returns:
        The group of each, -1 for none, integers `(n,)`.

    Raises:
        TooMany: for more than 10,000.
    """
    _refuse_many("hdbscan", len(vectors))
    if len(vectors) < max(2, smallest):
        return np.full(len(vectors), -1)
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=smallest, copy=False, n_jobs=-1).fit_predict(vectors)


def group_by_linkage(vectors, k=None, threshold=None, progress=None):
    """Groups by average linkage: k, or as many as are farther apart than a threshold.

    Args:
        vectors: `(n, D)` float32, n at least k.
        k: how many. Defaults to `None`, by the threshold.
        threshold: groups whose pairs are this far apart in the mean, or less, are joined.
        progress: a function of (vectors done, vectors). Defaults to `None`.

    Returns:
        The group of each, integers `(n,)`.

    Raises:
        TooMany: for more than 15,000 of which each is near another one.
    """
    if k is not None:
        _refuse_many("agglomerative", len(vectors))
        return _link(vectors, n_clusters=k)
    components = find_components(vectors, threshold, LARGEST["agglomerative"], progress)
    groups = np.empty(len(vectors), np.int64)
    order = np.argsort(components, kind="stable")
    starts = np.flatnonzero(np.diff(components[order], prepend=-1))
    count = 0
    for members in np.split(order, starts[1:]):
        groups[members] = count
        if len(members) > 2:
            groups[members] += _link(
                vectors[members], n_clusters=None, distance_threshold=np.nextafter(threshold, 9e9)
            )
        count = int(groups[members].max()) + 1
    return groups


def _link(vectors, **options):
    if len(vectors) == 1:
        return np.zeros(1, np.int64)
    from sklearn.cluster import AgglomerativeClustering

    return AgglomerativeClustering(linkage="average", **options).fit_predict(
        vectors.astype(np.float64)
    )


def _refuse_many(method, count):
    if count > LARGEST[method]:
        raise TooMany(
            f"`method` {method!r} takes at most {LARGEST[method]:,} images, as it compares all "
            "with all: give `k` (k-means takes any number), a `threshold`, or a filter. "
            f"Received: {count:,} images"
        )


def find_components(vectors, threshold, largest=None, progress=None):
    """What hangs together by pairs at most a distance apart, exactly, in blocks on all cores.

    Args:
        vectors: `(n, D)` float32.
        threshold: the distance.
        largest: vectors of a component, at most. Defaults to `None`: any number.
        progress: a function of (vectors done, vectors). Defaults to `None`.

    Returns:
        The component of each, integers from 0, `(n,)`.

    Raises:
        TooMany: as soon as a component is larger.
    """
    pairs, union = _NearPairs(vectors, threshold), _Union(len(vectors), largest)
    lock, done = threading.Lock(), 0

    def join(rows):
        nonlocal done
        for start in range(int(rows[0]), len(vectors), _COLUMNS):
            if union.is_refused:
                return
            first, second = pairs.find(rows, start, start + _COLUMNS)
            with lock:
                union.join(first, second)
        with lock:
            done += len(rows)
            if progress:
                progress(done, len(vectors))

    run_in_threads(join, np.arange(len(vectors)), _ROWS)
    if union.is_refused:
        raise TooMany(
            f"`threshold` must be smaller for so many images, or give `k`: within {threshold:.4f} "
            f"more than {largest:,} of them hang together, which are compared all with all. "
            f"Received: threshold={threshold:.4f} for {len(vectors):,} images"
        )
    return np.unique(union.components, return_inverse=True)[1]


class _Union:
    """Components that grow together."""

    def __init__(self, count, largest):
        self.components, self._largest, self.is_refused = np.arange(count), largest, False

    def join(self, first, second):
        """Join the components of pairs."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        first, second = self.components[first], self.components[second]
        apart = first != second
        if not apart.any():
            return
        count = len(self.components)
        edges = (np.ones(int(apart.sum()), bool), (first[apart], second[apart]))
        _, joined = connected_components(coo_matrix(edges, (count, count)), directed=False)
        self.components = joined[self.components]
        if self._largest is not None and np.bincount(self.components).max() > self._largest:
            self.is_refused = True


class _NearPairs:
    """Pairs at most a distance apart: a float32 product chooses, float64 decides near the edge.

    With vectors moved to their centre, `|a - b| <= t` is `ab - |b|²/2 >= (|a|² - t²)/2`: the left
    side is a product with one more column.
    """

    def __init__(self, vectors, threshold):
        self._vectors, self._threshold = vectors, threshold
        count, width = vectors.shape
        centre = vectors.mean(axis=0, dtype=np.float64)
        self._columns = np.empty((count, width + 1), np.float32)
        self._columns[:, :-1] = vectors - centre
        squares = np.einsum(
            "nd,nd->n", self._columns[:, :-1], self._columns[:, :-1], dtype=np.float64
        )
        self._columns[:, -1] = -squares / 2
        self._least = (squares - threshold**2) / 2
        # Sums of D + 1 rounded terms (Higham, 2002, section 3.1), and the rounding of both sides.
        self._slack = (width + 16) * 2.0**-22 * (squares.max() + threshold**2)

    def find(self, rows, start, stop):
        """Pairs of one of some rows and a later one of a range, two arrays of indices."""
        queries = self._columns[rows]
        queries[:, -1] = 1
        keys = queries @ self._columns[start:stop].T
        least = self._least[rows]
        first, second = np.nonzero(keys >= (least - self._slack)[:, None].astype(np.float32))
        keys, least = keys[first, second], least[first]
        first, second = rows[first], start + second
        near = (second > first) & (keys >= least + self._slack)
        doubtful = np.flatnonzero((second > first) & ~near)
        distances = measure_distances(
            self._vectors, first[doubtful], self._vectors, second[doubtful]
        )
        near[doubtful] = distances <= self._threshold
        return first[near], second[near]
