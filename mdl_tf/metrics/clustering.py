"""K-means of embeddings, and how well its clusters fit the classes: NMI and F1, by scikit-learn.

It is imported inside: whoever asks for no clustering does not wait for it.
"""

from mdl_tf.checks import check_integer
from mdl_tf.metrics.arguments import as_embeddings, as_labels


def cluster(embeddings, n_clusters, *, seed=0):
    """Clusters embeddings by k-means: scikit-learn, one start by k-means++, up to 300 rounds.

    Args:
        embeddings: any float or integer dtype, shape `(N, D)`.
        n_clusters: usually the number of classes; at most N.
        seed: of the start. Defaults to `0`.

    Returns:
        `(clusters, inertia)`: number of the cluster of each image, shape `(N,)`, and the sum of
        squared distances to the cluster centres, a Python float.

    Raises:
        ValueError: on a wrong shape, numbers that are not finite, or `n_clusters` or `seed` out of
            range.
    """
    embeddings = as_embeddings(embeddings, "embeddings")
    n_clusters = check_integer("n_clusters", n_clusters, least=1, most=len(embeddings))
    seed = check_integer("seed", seed, least=0, below=2**32)
    from sklearn.cluster import KMeans

    kmeans = KMeans(n_clusters=n_clusters, n_init=1, max_iter=300, random_state=seed)
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
    labels, clusters = _check_groupings(labels, clusters)
    from sklearn.metrics import normalized_mutual_info_score

    information = normalized_mutual_info_score(labels, clusters, average_method="arithmetic")
    # Rounding may leave the last bit above 1.
    return min(1.0, float(information))


def pairwise_f1(labels, clusters):
    """F1 over pairs of images: a pair in one cluster is right if it is of one class.

    `2 TP / (2 TP + FP + FN)` without looking at the N² pairs; 1 if no two images share a class or
    a cluster. [Manning et al., 2008, ch. 16](https://nlp.stanford.edu/IR-book/). Arguments and
    errors: as `nmi`.
    """
    labels, clusters = _check_groupings(labels, clusters)
    from sklearn.metrics.cluster import pair_confusion_matrix

    # Every pair is counted twice, in Python integers, so the quotient is rounded once.
    (_, false_positives), (false_negatives, hits) = pair_confusion_matrix(labels, clusters).tolist()
    counted = 2 * hits + false_positives + false_negatives
    return 2 * hits / counted if counted else 1.0


def _check_groupings(labels, clusters):
    labels = as_labels(labels, "labels")
    clusters = as_labels(clusters, "clusters", len(labels), "labels")
    if len(labels) == 0:
        raise ValueError("`labels` must not be empty. Received shape: (0,)")
    return labels, clusters
