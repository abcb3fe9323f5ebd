"""Exact search in the vectors of an index that count."""

from mdl_tf.metrics import prepare


class ExactGallery:
    """Vectors prepared for exact search.

    Args:
        vectors: by place, `(P, D)` float32.
        places: those that count, rising, `(n,)` int64, at least one.
    """

    def __init__(self, vectors, places):
        self._prepared = prepare(vectors, places)

    def neighbors(self, queries, k):
        """The k nearest of each query, nearest first; equal distances by place.

        Args:
            queries: `(Q, D)` float32.
            k: at most n.

        Returns:
            `(indices, distances)`: positions in `places`, int64, and Euclidean distances, float64,
            `(Q, k)` each.
        """
        return self._prepared.neighbors(queries, k)
