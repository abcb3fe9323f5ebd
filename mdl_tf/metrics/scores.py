"""Retrieval and clustering metrics of a whole set of embeddings, in NumPy.

`evaluate` returns all of them from one pass (`retrieval.rank_queries`), in the order of
`table.METRICS`; the functions beside it return one number each. A metric of a set is not the mean
of the metrics of its batches, so these are plain functions and a callback, not
`keras.metrics.Metric`.

Who is left out: lone queries, which have no image of their class to find, from everything that
averages over queries; queries without a negative count (nothing can rank before their positives)
but have no gap. Ties count against the query: a collapsed network, with all embeddings equal,
scores 0 in recall at K below the number of negatives, in R-precision and in MAP@R as long as each
query has at least as many negatives as positives.
"""

import numpy as np

from mdl_tf.checks import check_integer, check_number
from mdl_tf.metrics import formulas, table
from mdl_tf.metrics.clustering import cluster
from mdl_tf.metrics.formulas import Clusters, Queries
from mdl_tf.metrics.retrieval import QueryRanks, rank_queries, sample_distances
from mdl_tf.metrics.verification import PAIRS, Roc


def evaluate(
    embeddings,
    labels,
    *,
    gallery=None,
    gallery_labels=None,
    ks=(1, 2, 4, 8),
    margin=0.0,
    clustering=False,
    verification=False,
    seed=0,
):
    """Measures retrieval in one pass, and clustering and verification on request.

    Args:
        embeddings: the queries, any float or integer dtype, shape `(Q, D)`.
        labels: class of each query, any integer dtype, shape `(Q,)`.
        gallery: what is searched, shape `(G, D)`. `None`: the queries search each other, and each
            leaves itself out.
        gallery_labels: class of each gallery image, shape `(G,)`; given with `gallery` or not
            at all.
        ks: the K of Recall@K, positive integers; may exceed the gallery.
        margin: of `violated_anchors`, in the unit of the distances, at least 0.
        clustering: whether to run k-means, with as many clusters as `labels` has classes, on
            `embeddings` (not on the gallery). Off by default: it takes seconds for 100 classes and
            far longer than all the rest for 10,000. Needs scikit-learn.
        verification: whether to measure how well a threshold on the distance tells pairs of one
            class from pairs of two, on at most a million pairs of each kind of `embeddings` (not
            of the gallery). Off by default: it takes a second.
        seed: of k-means and of the pairs.

    Returns:
        A dict of Python numbers, in this order; shares and scores lie in [0, 1]:

        - `recall_at_{k}` for each of `ks`, `r_precision`, `map_at_r`, `strict_discrimination`:
          as the functions of these names.
        - `violated_anchors`: share of queries whose nearest negative is not farther than the
          farthest positive by at least `margin`; with margin 0 all that are not strictly
          discriminated.
        - `gap_p05`, `gap_p50`, `gap_p95`: quantiles over queries of the distance of the nearest
          negative minus that of the farthest positive, in the unit of the embeddings; positive
          where the query is strictly discriminated. Queries without a negative have none; if no
          query has a negative, these keys are missing.
        - `queries`, `lone_queries`: how many count, and how many do not as nobody in the gallery
          is of their class.
        - with `verification`: `eer`, `roc_auc`, `tar_at_far_1e_2`, `tar_at_far_1e_3`,
          `tar_at_far_1e_4` (as `verification.Roc`; missing where the pairs are too few to tell),
          `positive_pairs`, `negative_pairs`. Missing if there is no pair of a kind.
        - with `clustering`: `nmi`, `f1` (`pairwise_f1`), `kmeans_inertia` (sum of squared
          distances to the cluster centres). Lone queries take part.

    Raises:
        ValueError: on a wrong shape or dtype, numbers that are not finite, `ks` that are no
            positive integers, a negative `margin`, or if all queries are lone.
    """
    ks = check_settings(ks, margin)
    sources = {"queries": _rank(embeddings, labels, gallery, gallery_labels, margin)}
    if clustering:
        labels = np.asarray(labels)
        clusters = cluster(embeddings, len(np.unique(labels)), seed=seed)
        sources["clusters"] = Clusters(labels, *clusters)
    if verification:
        distances = sample_distances(embeddings, labels, PAIRS, seed)
        if all(map(len, distances)):
            sources["pairs"] = Roc(*distances)
    return compute(sources, ks)


def compute(sources, ks=()):
    """The metrics of what was measured.

    Args:
        sources: a dict from `table.SOURCES`, some of them, to what the functions of metrics take:
            `Queries`, `Clusters` and `Distances` of `formulas`, `Roc` of `verification`.
        ks: the K of Recall@K. Defaults to none.

    Returns:
        A dict from key to number, in the order of `table.METRICS`, without the metrics of other
        sources and without those that are not defined.
    """
    measured = [m for m in table.rows(ks) if m.source in sources]
    values = {metric.key: metric.compute(sources[metric.source]) for metric in measured}
    return {key: value for key, value in values.items() if value is not None}


def check_settings(ks, margin):
    """Checks settings of `evaluate`.

    Args:
        ks: the K of Recall@K.
        margin: of `violated_anchors`.

    Returns:
        `ks` as a list of Python integers.

    Raises:
        ValueError: for `ks` that are no positive integers, or a margin below 0.
    """
    check_number("margin", margin, least=0)
    try:
        # A string has letters, which are no integers.
        return [check_integer("ks", k, least=1) for k in ks]
    except (TypeError, ValueError):
        raise ValueError(
            f"`ks` must be positive integers, such as (1, 2, 4, 8). Received: ks={ks!r}"
        ) from None


def recall_at_k(embeddings, labels, *, k=1, gallery=None, gallery_labels=None):
    """Share of queries with at least one image of their class among the `k` nearest.

    Arguments, errors and who is left out: as `evaluate`. `k` is a positive integer, and may exceed
    the gallery. Recall@K of [Song et al., 2016](https://arxiv.org/abs/1511.06452).
    """
    k = check_integer("k", k, least=1)
    return formulas.recall_at_k(_rank(embeddings, labels, gallery, gallery_labels), k)


def r_precision(embeddings, labels, *, gallery=None, gallery_labels=None):
    """Mean over queries of the share of their class among the R nearest, R the size of the class.

    R does not count the query itself. Arguments, errors and who is left out: as `evaluate`.
    [Musgrave et al., 2020](https://arxiv.org/abs/2003.08505).
    """
    return formulas.r_precision(_rank(embeddings, labels, gallery, gallery_labels))


def map_at_r(embeddings, labels, *, gallery=None, gallery_labels=None):
    """Mean over queries of (1/R) · sum of precision@i over the ranks i = 1..R held by positives.

    Like R-precision, but early ranks weigh more. Arguments, errors and who is left out: as
    `evaluate`. [Musgrave et al., 2020](https://arxiv.org/abs/2003.08505).
    """
    return formulas.map_at_r(_rank(embeddings, labels, gallery, gallery_labels))


def strict_discrimination(embeddings, labels, *, gallery=None, gallery_labels=None):
    """Share of queries whose positives are all closer than every negative.

    Exactly the queries with R-precision 1, and what the margin-based discriminate loss asks for.
    A query without a negative is strictly discriminated. Arguments, errors and who is left out:
    as `evaluate`.
    """
    return formulas.strict_discrimination(_rank(embeddings, labels, gallery, gallery_labels))


def _rank(embeddings, labels, gallery, gallery_labels, margin=0.0):
    """The ranks of the queries that have something to find."""
    ranks = rank_queries(embeddings, labels, gallery=gallery, gallery_labels=gallery_labels)
    counts = ranks.positives > 0
    if not counts.any():
        where = "among the other `labels`" if gallery is None else "in `gallery_labels`"
        raise ValueError(
            f"`labels` must hold a query whose class occurs {where}, else there is nothing to "
            f"find. Received: {len(counts)} queries, all alone in their class"
        )
    lone = int(np.count_nonzero(~counts))
    return Queries(QueryRanks(*(numbers[counts] for numbers in ranks)), lone, margin)
