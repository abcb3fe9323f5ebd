"""Proxy losses: images against one learned vector for each class instead of against each other."""

import keras
from keras import ops

from mdl_tf.checks import check_choice, check_number
from mdl_tf.losses.class_base import RATE_FACTOR, ClassLoss, cross_entropy, own_class
from mdl_tf.losses.distances import cosine_similarity
from mdl_tf.losses.guard import guard
from mdl_tf.losses.rows import log_sum_exp
from mdl_tf.losses.space import Range


def _check_nca(scale, target_in_denominator):
    check_number("scale", scale, above=0)
    check_choice("target_in_denominator", target_in_denominator, (True, False))


@guard(_check_nca, weights="(C, D)", alone=True)
def proxy_nca_loss(labels, embeddings, proxies, *, scale=9.0, target_in_denominator=False):
    """Proxy-NCA loss of each image of a batch.

    With d the squared Euclidean distances of unit vectors, 2 - 2 cos, to the proxies, y the image's
    own class:

        l_i = -log(exp(-scale d_iy) / sum_{z != y} exp(-scale d_iz))

    and with `target_in_denominator` the sum over all z.

    Args:
        labels: class indices, integers 0 to C - 1, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: they are normalised here.
        proxies: a vector for each class, of any length, shape `(C, D)`.
        scale: above 0; embeddings and proxies of length L have the scale L^2. Defaults to `9.0`.
        target_in_denominator: whether the own class is in the sum, as in a softmax; then the loss
            is above 0. Defaults to `False`, as in the paper, where it may be negative.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. Every
        image counts. Memory grows with B C.

    Raises:
        ValueError: for labels that are not class indices (inside a graph an assertion, under XLA a
            loss of NaN), wrong or unknown ranks, lengths that differ, and settings other than the
            above.

    Source: Movshovitz-Attias, Toshev, Leung, Ioffe, Singh, "No Fuss Distance Metric Learning using
    Proxies", ICCV 2017. Paper settings: the defaults (length 3 is that of the common
    re-implementation, the paper does not say it), batches of 32. Known: with `scale=1.0` the
    exponentials of unit vectors are so flat that it hardly trains; without the target in the
    denominator an image is pushed from the other proxies for ever.
    """
    cosines = cosine_similarity(embeddings, proxies)  # (B, D), (C, D) -> (B, C)
    logits = scale * (2 * cosines - 2)  # (B, C)
    if target_in_denominator:
        return cross_entropy(logits, labels)
    targets = own_class(labels, cosines.shape[1])
    to_own = ops.sum(ops.where(targets, logits, 0.0), axis=1)
    return log_sum_exp(logits, ops.logical_not(targets)) - to_own


def _check_anchor(margin, alpha):
    check_number("margin", margin, least=0)
    check_number("alpha", alpha, above=0)


@guard(_check_anchor, weights="(C, D)")
def proxy_anchor_loss(labels, embeddings, proxies, *, margin=0.1, alpha=32.0):
    """Proxy-Anchor loss, shared out to the images of a batch.

    With c the cosines, Z the proxies of all C classes, Z+ those with images in the batch:

        u_z = log(1 + sum_{i of class z} exp(-alpha (c_iz - margin)))
        v_z = log(1 + sum_{i of others} exp(alpha (c_iz + margin)))
        loss = mean of u over Z+  +  mean of v over Z

    Args:
        labels: class indices, integers 0 to C - 1, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        proxies: a vector for each class, of any length, shape `(C, D)`.
        margin: in cosine, at least 0. Defaults to `0.1`.
        alpha: sharpness, above 0. Defaults to `32.0`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. The
        loss is no sum over images: u_z is shared evenly by the images of class z, v_z by the
        others. Every image counts. Memory grows with B C.

    Raises:
        ValueError: for labels that are not class indices (inside a graph an assertion, under XLA a
            loss of NaN), wrong or unknown ranks, lengths that differ, and settings other than the
            above.

    Source: Kim, Kim, Cho, Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020. Paper
    settings: the defaults; AdamW at 1e-4 with the proxies at 100 times that
    (`mdl_tf.optimizers.AdamW(1e-4, learning_rate_factors={"proxies": 100})`), batches of 180.
    """
    cosines = cosine_similarity(embeddings, proxies)  # (B, D), (C, D) -> (B, C)
    dtype = cosines.dtype
    targets = own_class(labels, cosines.shape[1])
    others = ops.logical_not(targets)
    by_class = ops.transpose(cosines)  # (C, B)
    pull = ops.softplus(log_sum_exp(-alpha * (by_class - margin), ops.transpose(targets)))
    push = ops.softplus(log_sum_exp(alpha * (by_class + margin), ops.transpose(others)))
    own_images = ops.sum(ops.cast(targets, dtype), axis=0)  # (C,)
    other_images = ops.sum(ops.cast(others, dtype), axis=0)
    size = ops.cast(ops.shape(cosines)[0], dtype)
    present = ops.maximum(ops.sum(ops.cast(own_images > 0, dtype)), 1)
    pull = pull / (ops.maximum(own_images, 1) * present)  # what each of its images gets
    push = push / (ops.maximum(other_images, 1) * targets.shape[1])
    shares = ops.where(targets, pull[None, :], push[None, :])  # (B, C)
    return size * ops.sum(shares, axis=1)


@keras.saving.register_keras_serializable(package="mdl_tf")
class ProxyNCALoss(ClassLoss):
    """Proxy-NCA loss, for `MetricModel(embedder, ProxyNCALoss(num_classes))`.

    See `proxy_nca_loss` for the formula, what is averaged, and the source.
    Use `ProxyAnchorLoss` instead to weigh the hard images of a class most.

    Args:
        num_classes: C; labels are 0 to C - 1.
        scale: above 0. Defaults to `9.0`.
        target_in_denominator: whether the own class is in the sum. Defaults to `False`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = ProxyNCALoss(num_classes=2)
    >>> loss.attach({"proxies": np.eye(2)})  # as `MetricModel` does
    >>> round(float(loss(labels, embeddings)), 3)
    -14.4
    """

    function = staticmethod(proxy_nca_loss)
    search_space = {"scale": Range(2, 40, log=True), "proxies": RATE_FACTOR}

    def __init__(self, num_classes, *, scale=9.0, target_in_denominator=False, **options):
        settings = {"scale": scale, "target_in_denominator": target_in_denominator}
        super().__init__(num_classes, settings, **options)


@keras.saving.register_keras_serializable(package="mdl_tf")
class ProxyAnchorLoss(ClassLoss):
    """Proxy-Anchor loss, for `MetricModel(embedder, ProxyAnchorLoss(num_classes))`.

    See `proxy_anchor_loss` for the formula, what is averaged, and the source.
    Use `MarginDiscriminateLoss` instead when there are too many classes for a proxy each.

    Args:
        num_classes: C; labels are 0 to C - 1.
        margin: in cosine, at least 0. Defaults to `0.1`.
        alpha: sharpness, above 0. Defaults to `32.0`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = ProxyAnchorLoss(num_classes=2)
    >>> loss.attach({"proxies": np.eye(2)})  # as `MetricModel` does
    >>> round(float(loss(labels, embeddings)), 3)
    16.02
    """

    function = staticmethod(proxy_anchor_loss)
    search_space = {
        "margin": Range(0, 0.3),
        "alpha": Range(8, 64, log=True),
        "proxies": RATE_FACTOR,
    }

    def __init__(self, num_classes, *, margin=0.1, alpha=32.0, **options):
        super().__init__(num_classes, {"margin": margin, "alpha": alpha}, **options)
