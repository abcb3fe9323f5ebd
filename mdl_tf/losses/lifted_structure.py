"""Lifted structure losses: a positive pair against the negatives of both its ends."""

import keras
from keras import ops

from mdl_tf.checks import check_choice, check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import DISTANCES
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import count, log_sum_exp, mean_over_valid, soft_violation, spread
from mdl_tf.losses.space import Choice, Range
from mdl_tf.losses.tiled_log_sums import tiled_soft_violation

# Their papers leave embeddings at any length.
_LENGTH = Choice((False, True))


def _check(margin, distance):
    check_number("margin", margin, least=0)
    check_choice("distance", distance, DISTANCES)


@guard(_check)
def lifted_structure_loss(labels, embeddings, *, margin=1.0, distance="euclidean", references=None):
    """Lifted structure loss of each anchor of a batch.

    With D the distances, N_i the negatives of image i:

        J_ij = D_ij + log(sum_{k in N_i} exp(margin - D_ik) + sum_{k in N_j} exp(margin - D_jk))
        loss = mean over the positive pairs of max(0, J_ij)^2 / 2

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, not normalised here (but for the cosine).
        margin: gap, at least 0, in the units of the distance. Defaults to `1.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. The
        term of a positive pair is shared evenly by its two images. All 0 if there is no positive
        pair that has negatives.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Song, Xiang, Jegelka, Savarese, "Deep Metric Learning via Lifted Structured Feature
    Embedding", CVPR 2016. Paper settings: the defaults, on embeddings that are not normalised
    (`l2_normalize=False`). Known: on unit vectors, whose distances end at 2, the sum over the many
    negatives of a batch keeps all terms active and the loss far above 0.
    """
    distances = DISTANCES[distance](embeddings, references.embeddings)  # (B, D), (M, D) -> (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)

    def push_of(distances, negatives):
        has_negative = ops.any(negatives, axis=1)
        push = log_sum_exp(margin - distances, negatives)
        return ops.where(has_negative, push, 0.0), has_negative

    push, has_negative = push_of(distances, negatives)  # (B,)
    # Both images of a positive pair have the same negatives: either both have some or neither.
    pairs = ops.logical_and(positives, has_negative[:, None])
    other = push
    if not references.is_batch:
        everyone = references.among_themselves()
        among = DISTANCES[distance](references.embeddings, references.embeddings)  # (M, M)
        other, _ = push_of(among, pair_masks(references.labels, everyone)[1])  # (M,)
    # log(e^a + e^b) = a + log(1 + e^(b - a)); by `maximum` its gradient would be wrong at a = b.
    both = push[:, None] + ops.softplus(other[None, :] - push[:, None])  # -> (B, M)
    terms = ops.where(pairs, ops.relu(distances + both), 0.0)
    rows = ops.sum(terms * terms, axis=1) / 2
    return spread(rows, count(pairs, terms.dtype), references)


@guard(_check, has_tiles=lambda settings: True)
def generalized_lifted_structure_loss(
    labels, embeddings, *, margin=1.0, distance="euclidean", references=None, tile="auto"
):
    """Generalized lifted structure loss of each anchor of a batch.

    With D the distances, P_i the positives and N_i the negatives of anchor i:

        l_i = max(0, log sum_p exp(D_ip) + log sum_n exp(margin - D_in))

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, not normalised here (but for the cosine).
        margin: gap, at least 0, in the units of the distance. Defaults to `1.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.
        tile: anchors that are compared at a time, in memory that grows with B x tile and not with
            B^2; `"auto"`: all at once unless B is known to take more than an eighth of the memory;
            `None` or 0: all at once. Defaults to `"auto"`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are: `B / V * l_i` for the V anchors
        that have a positive and a negative, 0 for the others, so that the plain mean is the mean
        over those V. All 0 if there are none.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
    2017, equation 6. Paper settings: embeddings that are not normalised, margins 0.1 to 1. It is
    `margin_discriminate_loss(form="hinge", sharpness=1.0)`, kept under its own name for
    comparisons. Known: as soft as it is, on unit vectors every anchor stays active.
    """
    if tile is not None:
        bound, valid = tiled_soft_violation(embeddings, references, margin, 1.0, distance, tile)
    else:
        distances = DISTANCES[distance](embeddings, references.embeddings)  # -> (B, M)
        positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
        bound, valid = soft_violation(distances, positives, negatives, margin, sharpness=1.0)
    return mean_over_valid(ops.relu(bound), valid, references)


@keras.saving.register_keras_serializable(package="mdl_tf")
class LiftedStructureLoss(MetricLoss):
    """Lifted structure loss, for `model.compile(loss=LiftedStructureLoss())`.

    See `lifted_structure_loss` for the formula, what is averaged, and the source.
    Use `MarginDiscriminateLoss` instead on unit vectors, where its sharpness tells hard pairs from
    easy ones.

    Args:
        margin: gap, at least 0, in the units of the distance. Defaults to `1.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = LiftedStructureLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    2.1
    """

    function = staticmethod(lifted_structure_loss)
    search_space = {"margin": Range(0.2, 2), "l2_normalize": _LENGTH}
    first_draw = {"l2_normalize": False}
    positives = "several"
    # Its margin is against a sum over all negatives; no usual batch of unit vectors satisfies it.
    gap = 0.0

    def __init__(self, margin=1.0, distance="euclidean", **options):
        super().__init__({"margin": margin, "distance": distance}, **options)


@keras.saving.register_keras_serializable(package="mdl_tf")
class GeneralizedLiftedStructureLoss(MetricLoss):
    """Generalized lifted structure loss, for `compile(loss=GeneralizedLiftedStructureLoss())`.

    See `generalized_lifted_structure_loss` for the formula, what is averaged, and the source.
    Use `MarginDiscriminateLoss(form="hinge")` instead on unit vectors: the same formula with a
    sharpness to set.

    Args:
        margin: gap, at least 0, in the units of the distance. Defaults to `1.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = GeneralizedLiftedStructureLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    1.3
    """

    function = staticmethod(generalized_lifted_structure_loss)
    search_space = {"margin": Range(0.03, 3, log=True), "l2_normalize": _LENGTH}
    first_draw = {"l2_normalize": False}
    positives = "several"
    gap = 0.0  # as of `LiftedStructureLoss`

    def __init__(self, margin=1.0, distance="euclidean", **options):
        super().__init__({"margin": margin, "distance": distance}, **options)
