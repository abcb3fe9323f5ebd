"""Retrieval and clustering metrics of a whole set of embeddings, exact, in NumPy."""

from mdl_tf.metrics.retrieval import nearest_neighbors, sample_distances
from mdl_tf.metrics.scores import (
    cluster,
    evaluate,
    map_at_r,
    nmi,
    pairwise_f1,
    r_precision,
    recall_at_k,
    strict_discrimination,
)

__all__ = [
    "cluster",
    "evaluate",
    "map_at_r",
    "nearest_neighbors",
    "nmi",
    "pairwise_f1",
    "r_precision",
    "recall_at_k",
    "sample_distances",
    "strict_discrimination",
]
