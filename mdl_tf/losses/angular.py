"""The angular loss: the angle at a negative of the triangle that it forms with a positive pair."""

import math

import keras
from keras import ops

from mdl_tf.checks import check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import cosine_similarity
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import count, spread
from mdl_tf.losses.space import Range


def _check(alpha):
    # Beyond, products of exp(4 tan^2(alpha) cos) leave the range of float32.
    check_number("alpha", alpha, above=0, below=70, unit="degrees")


@guard(_check)
def angular_loss(labels, embeddings, *, alpha=45.0, references=None):
    """Angular loss of each anchor of a batch.

    With s the cosines and t = tan(alpha)^2, over the positive pairs (a, p), n the negatives that
    both have:

        l_ap = log(1 + sum_n exp(4 t (s_an + s_pn) - 2 (1 + t) s_ap))
        loss = mean over the positive pairs of l_ap

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises. The paper drops
            terms that are constant for unit vectors alone.
        alpha: upper bound of the angle at the negative, in degrees, above 0 and below 70. Defaults
            to `45.0`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. The
        pair (a, p) counts for anchor a. All 0 if there is no positive pair that has negatives.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Wang, Zhou, Wen, Liu, Lin, "Deep Metric Learning with Angular Loss", ICCV 2017, its
    batch form. Paper settings: two images a class; best in the paper as a sum with the N-pair loss,
    and with alpha between 36 and 55 degrees by data set.
    """
    squared_tangent = math.tan(math.radians(alpha)) ** 2
    similarities = cosine_similarity(embeddings, references.embeddings)  # (B, D), (M, D) -> (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)

    def exponentials_of(similarities, negatives):
        has_negative = ops.any(negatives, axis=1)
        scaled = ops.where(negatives, 4 * squared_tangent * similarities, -float("inf"))
        # It only keeps the exponentials in range, the value does not depend on it.
        largest = ops.stop_gradient(
            ops.where(has_negative, ops.max(scaled, axis=1, initial=-float("inf")), 0.0)
        )
        return ops.exp(scaled - largest[:, None]), largest, has_negative

    exponentials, largest, has_negative = exponentials_of(similarities, negatives)
    pairs = ops.logical_and(positives, has_negative[:, None])
    others, largest_of_others = exponentials, largest
    if not references.is_batch:
        everyone = references.among_themselves()
        among = cosine_similarity(references.embeddings, references.embeddings)  # (M, M)
        masks = pair_masks(references.labels, everyone)
        others, largest_of_others, _ = exponentials_of(among, masks[1])
    # a and p have the same negatives: sum_n e^(c x_a.x_n) e^(c x_p.x_n), (B, M)(M, M) -> (B, M).
    sums = ops.matmul(exponentials, ops.transpose(others))
    # Of pairs they are above e^-61: cosines differ by 2 at most, and alpha stays below 70 degrees.
    log_sums = largest[:, None] + largest_of_others[None, :] + ops.log(ops.where(pairs, sums, 1.0))
    terms = ops.softplus(log_sums - 2 * (1 + squared_tangent) * similarities)
    terms = ops.where(pairs, terms, 0.0)
    return spread(ops.sum(terms, axis=1), count(pairs, terms.dtype), references)


@keras.saving.register_keras_serializable(package="mdl_tf")
class AngularLoss(MetricLoss):
    """Angular loss, for `model.compile(loss=AngularLoss())`.

    See `angular_loss` for the formula, what is averaged, and the source.
    Use `MultiSimilarityLoss` instead to weigh several positives of an anchor together.

    Args:
        alpha: upper bound of the angle at the negative, in degrees. Defaults to `45.0`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = AngularLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    1.172
    """

    function = staticmethod(angular_loss)
    search_space = {"alpha": Range(30, 60)}
    positives = "one"
    gap = 0.0

    def __init__(self, alpha=45.0, **options):
        super().__init__({"alpha": alpha}, **options)
