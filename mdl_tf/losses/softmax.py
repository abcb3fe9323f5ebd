"""Softmax losses on cosines: classify the training classes, each by one vector on the sphere."""

import math

import keras
from keras import ops

from mdl_tf.checks import check_number
from mdl_tf.losses.class_base import RATE_FACTOR, ClassLoss, cross_entropy, own_class
from mdl_tf.losses.distances import cosine_similarity
from mdl_tf.losses.guard import guard
from mdl_tf.losses.space import Range


def _check_normalized(temperature):
    check_number("temperature", temperature, above=0)


@guard(_check_normalized, weights="(C, D)", alone=True)
def normalized_softmax_loss(labels, embeddings, proxies, *, temperature=0.05):
    """Normalised softmax loss of each image of a batch.

    With c the cosines to the proxies, y the image's own class, T the temperature:

        l_i = -log(exp(c_iy / T) / sum_z exp(c_iz / T))

    Args:
        labels: class indices, integers 0 to C - 1, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        proxies: a vector for each class, of any length, shape `(C, D)`.
        temperature: T, above 0. Defaults to `0.05`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. Every
        image counts. Memory grows with B C.

    Raises:
        ValueError: for labels that are not class indices (inside a graph an assertion, under XLA a
            loss of NaN), wrong or unknown ranks, lengths that differ, and settings other than the
            above.

    Source: Zhai, Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019.
    Paper settings: the defaults, with layer normalisation before the embedding and balanced
    batches.
    """
    cosines = cosine_similarity(embeddings, proxies)  # (B, D), (C, D) -> (B, C)
    return cross_entropy(cosines / temperature, labels)


def _check_cos_face(margin, scale):
    check_number("margin", margin, least=0)
    check_number("scale", scale, above=0)


@guard(_check_cos_face, weights="(C, D)", alone=True)
def cos_face_loss(labels, embeddings, proxies, *, margin=0.35, scale=64.0):
    """CosFace loss (large margin cosine loss) of each image of a batch.

    With c the cosines to the proxies, y the image's own class:

        l_i = -log(exp(scale (c_iy - margin))
                   / (exp(scale (c_iy - margin)) + sum_{z != y} exp(scale c_iz)))

    Args:
        labels: class indices, integers 0 to C - 1, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        proxies: a vector for each class, of any length, shape `(C, D)`.
        margin: taken off the cosine to the own class, at least 0. Defaults to `0.35`.
        scale: above 0. Defaults to `64.0`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. Every
        image counts. Memory grows with B C.

    Raises:
        ValueError: for labels that are not class indices (inside a graph an assertion, under XLA a
            loss of NaN), wrong or unknown ranks, lengths that differ, and settings other than the
            above.

    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018.
    Paper settings: the defaults, for faces.
    """
    cosines = cosine_similarity(embeddings, proxies)  # (B, D), (C, D) -> (B, C)
    own = own_class(labels, cosines.shape[1])
    logits = scale * ops.where(own, cosines - margin, cosines)
    return cross_entropy(logits, labels)


def _check_arc_face(margin, scale):
    check_number("margin", margin, least=0, below=3.141, unit="radians")
    check_number("scale", scale, above=0)


@guard(_check_arc_face, weights="(C, D)", alone=True)
def arc_face_loss(labels, embeddings, proxies, *, margin=0.5, scale=64.0):
    """ArcFace loss (additive angular margin) of each image of a batch.

    With theta the angles to the proxies, y the image's own class:

        t_i = cos(theta_iy + margin)                      if theta_iy + margin <= pi
              cos(theta_iy) - margin sin(margin)          else
        l_i = -log(exp(scale t_i) / (exp(scale t_i) + sum_{z != y} exp(scale cos(theta_iz))))

    Args:
        labels: class indices, integers 0 to C - 1, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        proxies: a vector for each class, of any length, shape `(C, D)`.
        margin: added to the angle to the own class, in radians, at least 0 and below 3.141.
            Defaults to `0.5`.
        scale: above 0. Defaults to `64.0`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. Every
        image counts. Memory grows with B C. At an angle of 0, where the sine has no derivative, its
        gradient is taken as 0.

    Raises:
        ValueError: for labels that are not class indices (inside a graph an assertion, under XLA a
            loss of NaN), wrong or unknown ranks, lengths that differ, and settings other than the
            above.

    Source: Deng, Guo, Xue, Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face
    Recognition", CVPR 2019; the continuation beyond pi is that of the authors' code. Paper
    settings: the defaults, for faces.
    """
    cosines = cosine_similarity(embeddings, proxies)  # (B, D), (C, D) -> (B, C)
    targets = own_class(labels, cosines.shape[1])
    own = ops.sum(ops.where(targets, cosines, 0.0), axis=1)  # (B, C) -> (B,)
    squared_sine = 1 - own * own
    # The gradient of the root is infinite at 0, and an infinity stays one through a later mask.
    # Below the rounding of the cosine there is no angle left to tell.
    resolvable = squared_sine > (1e-14 if "64" in str(cosines.dtype) else 1e-7)
    sine = ops.where(resolvable, ops.sqrt(ops.where(resolvable, squared_sine, 1.0)), 0.0)
    moved = own * math.cos(margin) - sine * math.sin(margin)
    moved = ops.where(own >= -math.cos(margin), moved, own - margin * math.sin(margin))
    logits = scale * ops.where(targets, moved[:, None], cosines)
    return cross_entropy(logits, labels)


@keras.saving.register_keras_serializable(package="mdl_tf")
class NormalizedSoftmaxLoss(ClassLoss):
    """Normalised softmax loss, for `MetricModel(embedder, NormalizedSoftmaxLoss(num_classes))`.

    See `normalized_softmax_loss` for the formula, what is averaged, and the source.
    Use `SupConLoss` instead when there are too many classes for a vector each.

    Args:
        num_classes: C; labels are 0 to C - 1.
        temperature: T, above 0. Defaults to `0.05`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = NormalizedSoftmaxLoss(num_classes=2)
    >>> loss.attach({"proxies": np.eye(2)})  # as `MetricModel` does
    >>> round(float(loss(labels, embeddings)), 3)
    1.005
    """

    function = staticmethod(normalized_softmax_loss)
    search_space = {"temperature": Range(0.02, 0.3, log=True), "proxies": RATE_FACTOR}

    def __init__(self, num_classes, *, temperature=0.05, **options):
        super().__init__(num_classes, {"temperature": temperature}, **options)


@keras.saving.register_keras_serializable(package="mdl_tf")
class CosFaceLoss(ClassLoss):
    """CosFace loss, for `MetricModel(embedder, CosFaceLoss(num_classes))`.

    See `cos_face_loss` for the formula, what is averaged, and the source.
    Use `ArcFaceLoss` instead for a margin in angle.

    Args:
        num_classes: C; labels are 0 to C - 1.
        margin: taken off the cosine to the own class. Defaults to `0.35`.
        scale: above 0. Defaults to `64.0`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = CosFaceLoss(num_classes=2)
    >>> loss.attach({"proxies": np.eye(2)})  # as `MetricModel` does
    >>> round(float(loss(labels, embeddings)), 3)
    8.8
    """

    function = staticmethod(cos_face_loss)
    search_space = {
        "margin": Range(0.05, 0.5),
        "scale": Range(8, 128, log=True),
        "proxies": RATE_FACTOR,
    }

    def __init__(self, num_classes, *, margin=0.35, scale=64.0, **options):
        super().__init__(num_classes, {"margin": margin, "scale": scale}, **options)


@keras.saving.register_keras_serializable(package="mdl_tf")
class ArcFaceLoss(ClassLoss):
    """ArcFace loss, for `MetricModel(embedder, ArcFaceLoss(num_classes))`.

    See `arc_face_loss` for the formula, what is averaged, and the source.
    Use `CosFaceLoss` instead for a margin in cosine.

    Args:
        num_classes: C; labels are 0 to C - 1.
        margin: added to the angle to the own class, in radians. Defaults to `0.5`.
        scale: above 0. Defaults to `64.0`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = ArcFaceLoss(num_classes=2)
    >>> loss.attach({"proxies": np.eye(2)})  # as `MetricModel` does
    >>> round(float(loss(labels, embeddings)), 3)
    10.512
    """

    function = staticmethod(arc_face_loss)
    search_space = {
        "margin": Range(0.05, 0.6),
        "scale": Range(8, 128, log=True),
        "proxies": RATE_FACTOR,
    }

    def __init__(self, num_classes, *, margin=0.5, scale=64.0, **options):
        super().__init__(num_classes, {"margin": margin, "scale": scale}, **options)
