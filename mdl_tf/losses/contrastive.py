"""The contrastive loss: positives within one distance, negatives beyond another."""

import keras
from keras import ops

from mdl_tf.checks import check_choice, check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import DISTANCES
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import count, spread
from mdl_tf.losses.space import Range

AVERAGES = ("active", "pairs")


def _check(positive_margin, negative_margin, squared, average, distance):
    check_number("positive_margin", positive_margin, least=0)
    check_number("negative_margin", negative_margin, least=0)
    check_choice("squared", squared, (True, False))
    check_choice("average", average, AVERAGES)
    check_choice("distance", distance, DISTANCES)


@guard(_check)
def contrastive_loss(
    labels,
    embeddings,
    *,
    positive_margin=0.0,
    negative_margin=1.0,
    squared=True,
    average="active",
    distance="euclidean",
    references=None,
    tile="auto",
):
    """Contrastive loss of each anchor of a batch, over all its pairs.

    With D the distances:

        positive pair    h_ij = max(0, D_ij - positive_margin)
        negative pair    h_ij = max(0, negative_margin - D_ij)
        squared          h_ij^2 instead of h_ij

        average="active"   mean of h over the positive pairs with h > 0
                           + mean of h over the negative pairs with h > 0
        average="pairs"    sum of h / (B (B - 1))

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, not normalised here (but for the cosine).
        positive_margin: distance below which positives are near enough, at least 0. Defaults to
            `0.0`.
        negative_margin: distance beyond which negatives are far enough, at least 0. Defaults to
            `1.0`.
        squared: whether the hinges are squared, as in the paper. Defaults to `True`.
        average: `"active"`, each kind of pair over its own pairs that are not satisfied, so that
            the few positives of a batch weigh as much as its many negatives; or `"pairs"`, all
            pairs alike, as in the paper. Defaults to `"active"`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.
        tile: anchors that are compared at a time, in memory that grows with B x tile and not with
            B^2; `"auto"`: all at once unless B is known to take more than an eighth of the memory;
            `None` or 0: all at once. Defaults to `"auto"`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. The
        pair (i, j) counts for anchor i. A kind of pair that the batch lacks, or whose pairs are all
        satisfied, adds 0. A negative at distance exactly 0 costs the margin and has gradient 0.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
    CVPR 2006. Paper settings: `average="pairs"` is half of it up to the constant 1/2 and its sum
    over given pairs; the margin was chosen by data set. In a balanced batch `"pairs"` is known to
    be weak: of 127 pairs of an anchor 3 are positive.
    """
    distances = DISTANCES[distance](embeddings, references.embeddings)  # (B, D), (M, D) -> (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
    pull = ops.where(positives, ops.relu(distances - positive_margin), 0.0)
    push = ops.where(negatives, ops.relu(negative_margin - distances), 0.0)
    if average == "active":
        pulls, pushes = count(pull > 0, pull.dtype), count(push > 0, push.dtype)
    else:
        pairs = ops.shape(labels)[0] * (ops.shape(references.labels)[0] - 1)
        if references.hidden is not None:
            pairs = count(ops.logical_or(positives, negatives), pull.dtype)
        pulls = pushes = ops.cast(pairs, pull.dtype)
    if squared:
        pull, push = pull * pull, push * push
    pull, push = ops.sum(pull, axis=1), ops.sum(push, axis=1)  # (B, M) -> (B,)
    return spread(pull, pulls, references) + spread(push, pushes, references)


@keras.saving.register_keras_serializable(package="mdl_tf")
class ContrastiveLoss(MetricLoss):
    """Contrastive loss, for `model.compile(loss=ContrastiveLoss())`.

    See `contrastive_loss` for the formula, what is averaged, and the source.
    Use `TripletLoss` instead when only the order of distances matters, `MarginLoss` to learn the
    boundary.

    Args:
        positive_margin: distance below which positives are near enough. Defaults to `0.0`.
        negative_margin: distance beyond which negatives are far enough. Defaults to `1.0`.
        squared: whether the hinges are squared. Defaults to `True`.
        average: `"active"` or `"pairs"`. Defaults to `"active"`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = ContrastiveLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    0.935
    """

    function = staticmethod(contrastive_loss)
    search_space = {"positive_margin": Range(0, 0.6), "negative_margin": Range(0.4, 1.4)}
    positives = "several"
    # Its margins bound each distance by itself, not the difference of two.
    gap = 0.0

    def __init__(
        self,
        positive_margin=0.0,
        negative_margin=1.0,
        squared=True,
        average="active",
        distance="euclidean",
        **options,
    ):
        settings = {
            "positive_margin": positive_margin,
            "negative_margin": negative_margin,
            "squared": squared,
            "average": average,
            "distance": distance,
        }
        super().__init__(settings, **options)
