"""Recall of an approximate search, measured on the vectors that are searched."""

import numpy as np

from mdl_tf.metrics import prepare

K = 10
_ROWS = 2**16  # compared at a time
_PRODUCTS = 2e8  # queries times vectors, a few seconds of exact search
WANTED = 0.99


def exact_neighbors(vectors, places, queries, k):
    """Exact search without a prepared gallery, in blocks of little memory.

    Args:
        vectors: by place, `(P, D)` float32.
        places: those that can be found, rising, int64, shape `(n,)`.
        queries: `(q, D)` float32.
        k: how many, at most n.

    Returns:
        `(places, distances)`, nearest first, equal ones by place, each `(q, k)`.
    """
    near = np.empty((len(queries), 0), np.int64)
    far = np.empty((len(queries), 0))
    for start in range(0, len(places), _ROWS):
        part = places[start : start + _ROWS]
        indices, distances = prepare(vectors[part]).neighbors(queries, min(k, len(part)))
        near = np.concatenate([near, part[indices]], axis=1)
        far = np.concatenate([far, distances], axis=1)
        # Earlier places stand before later ones, so a stable sort keeps ties by place.
        order = np.argsort(far, axis=1, kind="stable")[:, :k]
        near, far = np.take_along_axis(near, order, axis=1), np.take_along_axis(far, order, axis=1)
    return near, far


def sample(count):
    """Which of `count` vectors to search for, evenly spread, so many that it takes seconds."""
    queries = int(np.clip(_PRODUCTS // max(1, count), 100, 500))
    return np.unique(np.linspace(0, count - 1, min(queries, count)).astype(np.int64))


def tune(search, queries, itself, exact, steps):
    """The first settings that reach the recall that is wanted, else the last.

    Args:
        search: a function of (settings, queries, k) that gives for each query a list of
            `(place, distance)`.
        queries: `(q, D)` float32, each in the index.
        itself: their places, which do not count.
        exact: distances of their true neighbors without themselves, nearest first, `(q, K)`.
        steps: settings to try, dicts, the cheapest first.

    Returns:
        `(settings, recall)`: the share of the true neighbors that is found, or others as near.
    """
    for settings in steps:
        shares = []
        for place, pairs, distances in zip(
            itself, search(settings, queries, exact.shape[1] + 1), exact, strict=True
        ):
            # Distances of servers are rounded.
            bound = distances[-1] * (1 + 1e-6)
            right = sum(p != place and d <= bound for p, d in pairs)
            shares.append(min(right, len(distances)) / len(distances))
        recall = float(np.mean(shares))
        if recall >= WANTED:
            break
    return settings, recall


def without_itself(places, distances, itself):
    """Distances of neighbors without each query itself, `(q, k + 1) -> (q, k)`."""
    is_other = places != np.asarray(itself)[:, None]
    # More than k equal to it: it is not among them, and the last one goes.
    is_other[is_other.all(axis=1), -1] = False
    return distances[is_other].reshape(len(distances), -1)
