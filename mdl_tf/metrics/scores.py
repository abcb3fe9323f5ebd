"""Retrieval and clustering metrics of a whole set of embeddings, in NumPy.

`evaluate` returns all of them from one pass (`retrieval.rank_queries`); the functions beside it
return one number each. A metric of a set is not the mean of the metrics of its batches,
so these are plain functions and a callback, not `keras.metrics.Metric`.

Who is left out: lone queries, which have no image of their class to find, from everything that
averages over queries; queries without a negative count (nothing can rank before their positives)
but have no gap. Ties count against the query: a collapsed network, with all embeddings equal,
scores 0 in recall at K below the number of negatives, in R-precision and in MAP@R as long as each
query has at least as many negatives as positives.
"""

import math

import numpy as np

from mdl_tf.metrics.retrieval import as_embeddings, as_labels, rank_queries


def evaluate(
    embeddings,
    labels,
    *,
    gallery=None,
    gallery_labels=None,
    ks=(1, 2, 4, 8),
    margin=0.0,
    clustering=False,
    seed=0,
):
    """Measures retrieval, and clustering on request, in one pass.

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
        seed: of k-means.

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
        - with `clustering`: `nmi`, `f1` (`pairwise_f1`), `kmeans_inertia` (sum of squared
          distances to the cluster centres). Lone queries take part.

    Raises:
        ValueError: on a wrong shape or dtype, numbers that are not finite, `ks` that are no
            positive integers, a negative `margin`, or if all queries are lone.
    """
    ks = check_settings(ks, margin)
    ranks = _counted(embeddings, labels, gallery, gallery_labels)
    report = {f"recall_at_{k}": _share(ranks.first_rank <= k) for k in ks}
    report["r_precision"] = _mean(ranks.r_precision)
    report["map_at_r"] = _mean(ranks.average_precision_at_r)
    report["strict_discrimination"] = _share(ranks.strict)
    gaps = ranks.nearest_negative - ranks.farthest_positive
    # By rank, not by distance, where it can be: ties are decided exactly there.
    violated = (gaps < margin) | ~ranks.strict if margin else ~ranks.strict
    report["violated_anchors"] = _share(violated)
    gaps = gaps[np.isfinite(ranks.nearest_negative)]
    if len(gaps):
        for percent in (5, 50, 95):
            report[f"gap_p{percent:02d}"] = float(np.percentile(gaps, percent))
    report["queries"] = len(ranks.positives)
    report["lone_queries"] = len(labels) - len(ranks.positives)
    if clustering:
        labels = np.asarray(labels)
        clusters, inertia = cluster(embeddings, len(np.unique(labels)), seed=seed)
        report["nmi"] = nmi(labels, clusters)
        report["f1"] = pairwise_f1(labels, clusters)
        report["kmeans_inertia"] = inertia
    return report


def check_settings(ks, margin):
    """The `ks` of `evaluate` as a list of Python integers.

    Raises:
        ValueError: for `ks` that are no positive integers, or a margin below 0.
    """
    if not margin >= 0:
        raise ValueError(f"`margin` must be at least 0. Received: {margin!r}")
    return _as_ks(ks)


def recall_at_k(embeddings, labels, *, k=1, gallery=None, gallery_labels=None):
    """Share of queries with at least one image of their class among the `k` nearest.

    Arguments, errors and who is left out: as `evaluate`. `k` is a positive integer, and may exceed
    the gallery. Recall@K of [Song et al., 2016](https://arxiv.org/abs/1511.06452).
    """
    if not _is_positive_integer(k):
        raise ValueError(f"`k` must be a positive integer. Received: {k!r}")
    return _share(_counted(embeddings, labels, gallery, gallery_labels).first_rank <= k)


def r_precision(embeddings, labels, *, gallery=None, gallery_labels=None):
    """Mean over queries of the share of their class among the R nearest, R the size of the class.

    R does not count the query itself. Arguments, errors and who is left out: as `evaluate`.
    [Musgrave et al., 2020](https://arxiv.org/abs/2003.08505).
    """
    return _mean(_counted(embeddings, labels, gallery, gallery_labels).r_precision)


def map_at_r(embeddings, labels, *, gallery=None, gallery_labels=None):
    """Mean over queries of (1/R) · sum of precision@i over the ranks i = 1..R held by positives.

    Like R-precision, but early ranks weigh more. Arguments, errors and who is left out: as
    `evaluate`. [Musgrave et al., 2020](https://arxiv.org/abs/2003.08505).
    """
    return _mean(_counted(embeddings, labels, gallery, gallery_labels).average_precision_at_r)


def strict_discrimination(embeddings, labels, *, gallery=None, gallery_labels=None):
    """Share of queries whose positives are all closer than every negative.

    Exactly the queries with R-precision 1, and what the margin-based discriminate loss asks for.
    A query without a negative is strictly discriminated. Arguments, errors and who is left out:
    as `evaluate`.
    """
    return _share(_counted(embeddings, labels, gallery, gallery_labels).strict)


def cluster(embeddings, n_clusters, *, seed=0):
    """Clusters embeddings by k-means: scikit-learn, one start by k-means++, up to 300 rounds.

    Args:
        embeddings: any float or integer dtype, shape `(N, D)`.
        n_clusters: usually the number of classes; at most N.
        seed: of the start.

    Returns:
        `(clusters, inertia)`: number of the cluster of each image, shape `(N,)`, and the sum of
        squared distances to the cluster centres, a Python float.

    Raises:
        ValueError: on a wrong shape, numbers that are not finite, or `n_clusters` out of range.
    """
    embeddings = as_embeddings(embeddings, "embeddings")
    if not _is_positive_integer(n_clusters) or n_clusters > len(embeddings):
        raise ValueError(
            f"`n_clusters` must be an integer from 1 to {len(embeddings)}, the number of "
            f"embeddings. Received: {n_clusters!r}"
        )
    from sklearn.cluster import KMeans

    kmeans = KMeans(n_clusters=int(n_clusters), n_init=1, max_iter=300, random_state=seed)
    clusters = kmeans.fit_predict(embeddings)
    return clusters, float(kmeans.inertia_)


def nmi(labels, clusters):
    """Normalised mutual information of classes and clusters, in [0, 1].

    Mutual information divided by the arithmetic mean of the two entropies; 1 if both put
    everything into one group. [Manning et al., 2008, ch. 16](https://nlp.stanford.edu/IR-book/).

    Args:
        labels: class of each image, any integer dtype, shape `(N,)`.
        clusters: cluster of each image, any integer dtype, shape `(N,)`.

    Raises:
        ValueError: if they are no integers, empty, or not equally many.
    """
    joint, of_label, of_cluster, label_sizes, cluster_sizes = _contingency(labels, clusters)
    total = label_sizes.sum()

    def entropy(sizes):
        return -(sizes / total * np.log(sizes / total)).sum()

    entropies = entropy(label_sizes) + entropy(cluster_sizes)
    if entropies == 0:
        return 1.0
    # The product of two sizes can pass 2^63 only beyond 3e9 images.
    expected = label_sizes[of_label] * cluster_sizes[of_cluster] / total
    information = (joint / total * np.log(joint / expected)).sum()
    return float(np.clip(2 * information / entropies, 0, 1))


def pairwise_f1(labels, clusters):
    """F1 over pairs of images: a pair in one cluster is right if it is of one class.

    `2 TP / (2 TP + FP + FN)` from the contingency table, without looking at the N² pairs; 1 if no
    two images share a class or a cluster. [Manning et al., 2008, ch. 16](
    https://nlp.stanford.edu/IR-book/). Arguments and errors: as `nmi`.
    """
    joint, _, _, label_sizes, cluster_sizes = _contingency(labels, clusters)

    def pairs(sizes):
        return int((sizes * (sizes - 1) // 2).sum())

    either = pairs(label_sizes) + pairs(cluster_sizes)
    return 2 * pairs(joint) / either if either else 1.0


def _contingency(labels, clusters):
    """Sizes of the cells that are not empty, their class and cluster, sizes of both."""
    labels = as_labels(labels, "labels")
    clusters = as_labels(clusters, "clusters", len(labels), "labels")
    if len(labels) == 0:
        raise ValueError("`labels` must not be empty. Received shape: (0,)")
    _, of_label, label_sizes = np.unique(labels, return_inverse=True, return_counts=True)
    _, of_cluster, cluster_sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    cells, joint = np.unique(of_label * len(cluster_sizes) + of_cluster, return_counts=True)
    return joint, *np.divmod(cells, len(cluster_sizes)), label_sizes, cluster_sizes


def _counted(embeddings, labels, gallery, gallery_labels):
    """`rank_queries` without the lone queries."""
    ranks = rank_queries(embeddings, labels, gallery=gallery, gallery_labels=gallery_labels)
    counts = ranks.positives > 0
    if not counts.any():
        where = "among the other `labels`" if gallery is None else "in `gallery_labels`"
        raise ValueError(
            f"`labels` must hold a query whose class occurs {where}, else there is nothing to "
            f"find. Received: {len(counts)} queries, all alone in their class"
        )
    return type(ranks)(*(numbers[counts] for numbers in ranks))


def _is_positive_integer(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0


def _as_ks(ks):
    if not np.iterable(ks) or isinstance(ks, str) or not all(map(_is_positive_integer, ks)):
        raise ValueError(f"`ks` must be positive integers, such as (1, 2, 4, 8). Received: {ks!r}")
    return [int(k) for k in ks]


def _share(hits):
    return int(np.count_nonzero(hits)) / len(hits)


def _mean(numbers):
    # fsum rounds once, so the order of the images does not show even in the last digit.
    return math.fsum(numbers) / len(numbers)
