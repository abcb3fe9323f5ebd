"""Vectors in groups: k-means, HDBSCAN, average linkage; and what hangs together below a distance.

scikit-learn is loaded inside. Average linkage up to a distance is exact for many vectors: two
groups are joined only if some pair of them is at most that far apart, so each component of the
graph of such pairs is grouped alone.
"""

import threading

import numpy as np

from mdl_tf.metrics.blocks import measure_distances, run_in_threads

METHODS = ("kmeans", "hdbscan", "agglomerative")
# Each needs time, the second memory as well, by the square of the vectors.
LARGEST = {"hdbscan": 10_000, "agglomerative": 15_000}
_MANY = 2**24  # vectors times groups, from where k-means sees a part of the vectors at a time
_ROWS = 256  # of a block of distances
_ROUNDING = 2.0**-18  # of a squared distance in float32, as a part of the squared norms


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
            "with all: give `k` (k-means takes any number), or a filter. "
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
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(vectors)
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    components, lock, done = np.arange(count), threading.Lock(), 0
    refused = []

    def join(rows):
        nonlocal components, done
        if refused:
            return
        first, second = _near_pairs(vectors, squares, rows, threshold)
        with lock:
            if len(first):
                pairs = (components[first], components[second])
                graph = coo_matrix((np.ones(len(first), bool), pairs), (count, count))
                _, joined = connected_components(graph, directed=False)
                components = joined[components]
                if largest is not None and np.bincount(components).max() > largest:
                    refused.append(rows)
            done += len(rows)
            if progress:
                progress(done, count)

    # Longest blocks first, as each is compared with what is behind it.
    run_in_threads(join, np.arange(count), _ROWS)
    if refused:
        raise TooMany(
            f"`threshold` must be smaller for so many images, or give `k`: within {threshold:.4f} "
            f"more than {largest:,} of them hang together, which are compared all with all. "
            f"Received: threshold={threshold:.4f} for {count:,} images"
        )
    return np.unique(components, return_inverse=True)[1]


def _near_pairs(vectors, squares, rows, threshold):
    """Pairs of one of some rows and one behind it, at most the threshold apart."""
    start = int(rows[0])
    keys = vectors[rows] @ vectors[start:].T
    # |a|² + |b|² - 2ab, with the sums of float32 as far off as this.
    bound = (squares[rows][:, None] + squares[start:]) - threshold**2
    slack = _ROUNDING * (squares[rows].max() + squares[start:].max() + threshold**2)
    first, second = np.nonzero(2 * keys >= bound - slack)
    behind = second > first
    first, second = first[behind], second[behind]
    doubtful = np.abs(2 * keys[first, second] - bound[first, second]) <= slack
    near = ~doubtful
    near[doubtful] = (
        measure_distances(vectors, rows[first[doubtful]], vectors, start + second[doubtful])
        <= threshold
    )
    return rows[first[near]], start + second[near]
