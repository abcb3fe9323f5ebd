"""What each metric computes: functions from what was measured of a set to one number.

The rows of `table.METRICS` name them. None of them sees embeddings: ranking, clustering and drawing
pairs is done once for all.
"""

import math
from typing import NamedTuple

import numpy as np

from mdl_tf.metrics import clustering
from mdl_tf.metrics.retrieval import QueryRanks


class Queries(NamedTuple):
    """Source `"queries"`: the queries that have an image of their class to find, Q of them."""

    ranks: QueryRanks  # of these queries alone, (Q,) each
    lone: int  # how many more were there, alone in their class
    margin: float  # of `violated_anchors`, in the unit of the distances


class Clusters(NamedTuple):
    """Source `"clusters"`: k-means of all images, lone queries among them."""

    labels: np.ndarray  # class of each image, (N,)
    clusters: np.ndarray  # cluster of each image, (N,)
    inertia: float  # sum of squared distances to the cluster centres


class Distances(NamedTuple):
    """Source `"distances"`: a sample of pairs, as `retrieval.sample_distances` draws it."""

    positive: np.ndarray  # of pairs of one class
    negative: np.ndarray  # of pairs of two classes; may be empty


def recall_at_k(queries, k):
    """Share of queries with a positive among the `k` nearest."""
    return _share(queries.ranks.first_rank <= k)


def r_precision(queries):
    """Mean share of positives among the R nearest."""
    return _mean(queries.ranks.r_precision)


def map_at_r(queries):
    """Mean of the average precisions at R."""
    return _mean(queries.ranks.average_precision_at_r)


def strict_discrimination(queries):
    """Share of queries whose positives are all closer than every negative."""
    return _share(queries.ranks.strict)


def violated_anchors(queries):
    """Share of queries whose gap is below the margin, or which are not strictly discriminated."""
    # By rank, not by distance, where it can be: ties are decided exactly there.
    violated = ~queries.ranks.strict
    if queries.margin:
        violated |= _gaps(queries.ranks) < queries.margin
    return _share(violated)


def gap_p05(queries):
    """Quantile of the gaps at 5 %, or `None` if no query has a negative."""
    return _gap_quantile(queries.ranks, 5)


def gap_p50(queries):
    """Median of the gaps, or `None` if no query has a negative."""
    return _gap_quantile(queries.ranks, 50)


def gap_p95(queries):
    """Quantile of the gaps at 95 %, or `None` if no query has a negative."""
    return _gap_quantile(queries.ranks, 95)


def count_queries(queries):
    """How many queries count."""
    return len(queries.ranks.positives)


def count_lone_queries(queries):
    """How many queries do not count."""
    return queries.lone


def mean_positive_distance(distances):
    """Mean over the sampled pairs of one class."""
    return float(distances.positive.mean())


def mean_negative_distance(distances):
    """Mean over the sampled pairs of two classes, 0 without any."""
    return float(distances.negative.mean()) if len(distances.negative) else 0.0


def eer(roc):
    """Equal error rate of pairs: as many positive ones refused as negative ones accepted."""
    return roc.eer


def roc_auc(roc):
    """Area under the ROC curve of pairs."""
    return roc.auc


def tar_at_far_1e_2(roc):
    """True accept rate at a false accept rate of 1e-2, or `None` with too few pairs."""
    return roc.tar_at(1e-2)


def tar_at_far_1e_3(roc):
    """True accept rate at a false accept rate of 1e-3, or `None` with too few pairs."""
    return roc.tar_at(1e-3)


def tar_at_far_1e_4(roc):
    """True accept rate at a false accept rate of 1e-4, or `None` with too few pairs."""
    return roc.tar_at(1e-4)


def count_positive_pairs(roc):
    """Pairs of one class that were drawn."""
    return roc.positive_pairs


def count_negative_pairs(roc):
    """Pairs of two classes that were drawn."""
    return roc.negative_pairs


def nmi(clusters):
    """Normalised mutual information of classes and clusters."""
    return clustering.nmi(clusters.labels, clusters.clusters)


def f1(clusters):
    """F1 over pairs of images."""
    return clustering.pairwise_f1(clusters.labels, clusters.clusters)


def kmeans_inertia(clusters):
    """Sum of squared distances to the cluster centres."""
    return clusters.inertia


def _gaps(ranks):
    """Distance of the nearest negative minus that of the farthest positive; inf without one."""
    return ranks.nearest_negative - ranks.farthest_positive


def _gap_quantile(ranks, percent):
    gaps = _gaps(ranks)[np.isfinite(ranks.nearest_negative)]
    return float(np.percentile(gaps, percent)) if len(gaps) else None


def _share(hits):
    return int(np.count_nonzero(hits)) / len(hits)


def _mean(numbers):
    # fsum rounds once, so the order of the images does not show even in the last digit.
    return math.fsum(numbers) / len(numbers)
