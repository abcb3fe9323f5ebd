"""The SoftTriple loss: a softmax over classes of several centres each."""

import keras
from keras import ops

from mdl_tf.checks import check_integer, check_number
from mdl_tf.losses.class_base import RATE_FACTOR, ClassLoss, cross_entropy, own_class
from mdl_tf.losses.distances import cosine_similarity, unit
from mdl_tf.losses.guard import guard
from mdl_tf.losses.space import Range


def _check(scale, gamma, margin, tau):
    check_number("scale", scale, above=0)
    check_number("gamma", gamma, above=0)
    check_number("margin", margin, least=0)
    check_number("tau", tau, least=0)


@guard(_check, weights="(C, K, D)", alone=True)
def soft_triple_loss(labels, embeddings, centers, *, scale=20.0, gamma=0.1, margin=0.01, tau=0.2):
    """SoftTriple loss of each image of a batch.

    With c the cosines to the K centres w of each of C classes, y the image's own class:

        S_iz = sum_k q_k c_izk,  q = softmax over k of c_izk / gamma
        l_i = -log(exp(scale (S_iy - margin))
                   / (exp(scale (S_iy - margin)) + sum_{z != y} exp(scale S_iz)))
              + tau sum_z sum_{k < l} |w_zk - w_zl| / (C K (K - 1))

    Args:
        labels: class indices, integers 0 to C - 1, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        centers: K vectors for each class, of any length, shape `(C, K, D)`; their directions enter.
        scale: lambda, above 0. Defaults to `20.0`.
        gamma: how soft the choice among the centres of a class is, above 0. Defaults to `0.1`.
        margin: taken off the similarity to the own class, at least 0. Defaults to `0.01`.
        tau: weight of the regulariser that lets the centres of a class grow together, at least 0.
            Defaults to `0.2`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. Every
        image counts, and each carries the whole regulariser. Where two centres coincide the
        gradient of their distance, which does not exist, is 0. Memory grows with B C K.

    Raises:
        ValueError: for labels that are not class indices (inside a graph an assertion, under XLA a
            loss of NaN), wrong or unknown ranks, lengths that differ, and settings other than the
            above.

    Source: Qian, Shang, Sun, Hu, Li, Jin, "SoftTriple Loss: Deep Metric Learning Without Triplet
    Sampling", ICCV 2019. Paper settings: the defaults, 10 centres a class (2 for Stanford Online
    Products), centres at 100 times the learning rate of the network.
    """
    classes, per_class, dim = centers.shape
    cosines = cosine_similarity(embeddings, ops.reshape(centers, (classes * per_class, dim)))
    cosines = ops.reshape(cosines, (-1, classes, per_class))  # (B, C K) -> (B, C, K)
    similarities = cosines[:, :, 0]  # (B, C)
    if per_class > 1:
        similarities = ops.sum(ops.softmax(cosines / gamma, axis=2) * cosines, axis=2)
    own = own_class(labels, classes)
    losses = cross_entropy(scale * ops.where(own, similarities - margin, similarities), labels)
    if per_class == 1:
        return losses
    return losses + tau * _spread_of_centers(centers) / (classes * per_class * (per_class - 1))


def _spread_of_centers(centers):
    """Sum of the distances between the centres of a class, over pairs and classes."""
    centers = unit(centers)
    squared = 2 - 2 * ops.matmul(centers, ops.transpose(centers, (0, 2, 1)))  # (C, K, K)
    index = ops.arange(centers.shape[1])
    # The gradient of the root is infinite at 0, and an infinity stays one through a later mask.
    rounding = 1e-14 if "64" in str(centers.dtype) else 1e-6
    counts = ops.logical_and(index[:, None] < index[None, :], squared > rounding)
    return ops.sum(ops.where(counts, ops.sqrt(ops.where(counts, squared, 1.0)), 0.0))


@keras.saving.register_keras_serializable(package="mdl_tf")
class SoftTripleLoss(ClassLoss):
    """SoftTriple loss, for `MetricModel(embedder, SoftTripleLoss(num_classes))`.

    See `soft_triple_loss` for the formula, what is averaged, and the source.
    Use `NormalizedSoftmaxLoss` instead when one vector for each class is enough.

    Args:
        num_classes: C; labels are 0 to C - 1.
        centers_per_class: K, at least 1. Defaults to `10`.
        scale: lambda, above 0. Defaults to `20.0`.
        gamma: how soft the choice among the centres of a class is. Defaults to `0.1`.
        margin: taken off the similarity to the own class. Defaults to `0.01`.
        tau: weight of the regulariser. Defaults to `0.2`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = SoftTripleLoss(num_classes=2, centers_per_class=1)
    >>> loss.attach({"centers": np.eye(2)[:, None]})  # as `MetricModel` does
    >>> round(float(loss(labels, embeddings)), 3)
    1.054
    """

    function = staticmethod(soft_triple_loss)
    proxies = "centers"
    search_space = {
        "scale": Range(8, 40, log=True),
        "gamma": Range(0.03, 0.5, log=True),
        "margin": Range(0.001, 0.1, log=True),
        "centers": RATE_FACTOR,
    }

    def __init__(
        self,
        num_classes,
        *,
        centers_per_class=10,
        scale=20.0,
        gamma=0.1,
        margin=0.01,
        tau=0.2,
        **options,
    ):
        check_integer("centers_per_class", centers_per_class, least=1)
        settings = {
            "scale": scale,
            "gamma": gamma,
            "margin": margin,
            "tau": tau,
            "centers_per_class": centers_per_class,
        }
        super().__init__(num_classes, settings, **options)

    def weight_specs(self, embedding_dim):
        ((_, initializer),) = super().weight_specs(embedding_dim).values()
        shape = (self.num_classes, self.centers_per_class, embedding_dim)
        return {self.proxies: (shape, initializer)}
