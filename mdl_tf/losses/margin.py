"""The margin loss of Wu et al.: positives inside a boundary, negatives outside; it may be learned.

Not the Margin-based Discriminate Loss, which has no boundary that all anchors share.
"""

import keras
from keras import ops

from mdl_tf.checks import check_choice, check_integer, check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.checks import MOST_CLASSES, class_indices
from mdl_tf.losses.class_base import own_class
from mdl_tf.losses.distances import DISTANCES
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import mean_over_valid, spread, valid_anchors
from mdl_tf.losses.space import Choice, Only, Range


def _check(margin, nu, distance, beta=None):
    # `beta` may be a tensor: the class checks its number, the formula whatever it gets.
    check_number("margin", margin, least=0)
    check_number("nu", nu)
    check_choice("distance", distance, DISTANCES)


@guard(_check)
def margin_loss(
    labels,
    embeddings,
    *,
    beta=1.2,
    margin=0.2,
    nu=0.0,
    distance="euclidean",
    references=None,
    tile="auto",
):
    """Margin loss of each anchor of a batch, over all its triplets.

    With D the distances, beta the boundary (of the anchor's class), for each triplet of an anchor
    a, a positive p and a negative n:

        u_ap = max(0, margin + D_ap - beta)
        v_an = max(0, margin + beta - D_an)
        loss = sum over the triplets of (u_ap + v_an) / number of their terms above 0
               + nu * mean over the anchors of beta

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`; indices 0 to C - 1 if
            there is a boundary for each class.
        embeddings: floats, shape `(B, D)`, not normalised here (but for the cosine); the defaults
            are for unit vectors.
        beta: the boundary, a number above 0 or a scalar tensor, or a tensor `(C,)`, one for each
            class. Defaults to `1.2`.
        margin: half the width of the gap around the boundary, at least 0. Defaults to `0.2`.
        nu: weight of the boundary in the loss; negative values widen it. Defaults to `0.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.
        tile: anchors that are compared at a time, in memory that grows with B x tile and not with
            B^2; `"auto"`: all at once unless B is known to take more than an eighth of the memory;
            `None` or 0: all at once. Defaults to `"auto"`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. A
        triplet counts for its anchor: a positive pair once for each negative of the anchor, a
        negative pair once for each positive, so both kinds weigh alike. All 0 if there is no
        triplet; without `nu` also if no term is above 0.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, labels that are not indices of `beta`, and settings other than the above.

    Source: Wu, Manmatha, Smola, Krahenbuhl, "Sampling Matters in Deep Embedding Learning", ICCV
    2017. Paper settings: the defaults on unit vectors, beta learned for each class at a learning
    rate of 0.1 while the network had 1e-4 (`learning_rate_factors={"boundary": 1000}`), and
    negatives drawn by distance, one for each positive; here every triplet counts and nothing is
    drawn.
    """
    beta, refused = _beta_of_anchors(beta, labels, embeddings)
    distances = DISTANCES[distance](embeddings, references.embeddings)  # (B, D), (M, D) -> (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
    dtype = distances.dtype
    positive_count = ops.sum(ops.cast(positives, dtype), axis=1, keepdims=True)
    negative_count = ops.sum(ops.cast(negatives, dtype), axis=1, keepdims=True)
    pull = ops.where(positives, ops.relu(margin + distances - beta[:, None]), 0.0)
    push = ops.where(negatives, ops.relu(margin + beta[:, None] - distances), 0.0)
    rows = ops.sum(pull * negative_count + push * positive_count, axis=1)
    active = ops.sum(ops.cast(pull > 0, dtype) * negative_count)
    active += ops.sum(ops.cast(push > 0, dtype) * positive_count)
    valid = valid_anchors(positives, negatives)
    regulariser = mean_over_valid(nu * beta, valid, references)
    return spread(rows, active, references) + regulariser + ops.cast(refused, dtype)


def _beta_of_anchors(beta, labels, embeddings):
    """The boundary of each anchor `(B,)`, and 0 or NaN to add, as `class_indices` gives it."""
    if not hasattr(beta, "dtype"):
        check_number("beta", beta, above=0)
        # A Python number by way of float32 would lose digits of a float64 loss.
        beta = ops.convert_to_tensor(beta, dtype=embeddings.dtype)
    beta = ops.cast(beta, embeddings.dtype)
    if len(beta.shape) == 0:
        return beta * ops.ones_like(embeddings[:, 0]), 0.0
    if len(beta.shape) > 1:
        raise ValueError(
            "`beta` must be a number or have shape `(C,)`. "
            f"Received: beta with shape={tuple(beta.shape)}"
        )
    classes = beta.shape[0]
    indices, refused = class_indices(labels, classes)
    # By a mask: a gather's gradient would be sparse. (B, C) -> (B,)
    return ops.sum(ops.where(own_class(indices, classes), beta[None, :], 0.0), axis=1), refused


@keras.saving.register_keras_serializable(package="mdl_tf")
class MarginLoss(MetricLoss):
    """Margin loss of Wu et al., for `model.compile(loss=MarginLoss())`.

    With `learn_beta=True` it has weights, so write
    `MetricModel(embedder, MarginLoss(learn_beta=True))`. See `margin_loss` for the formula, what is
    averaged, and the source. Use `ContrastiveLoss` instead when the boundaries of positives and
    negatives are given.

    Args:
        beta: the boundary, or its initial value, above 0. Defaults to `1.2`.
        margin: half the width of the gap around the boundary. Defaults to `0.2`.
        nu: weight of the boundary in the loss. Defaults to `0.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        learn_beta: whether the boundary is trained. Defaults to `False`.
        num_classes: C, for a boundary for each class, with labels 0 to C - 1; needs
            `learn_beta=True`. Defaults to `None`, one boundary for all.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = MarginLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    0.768
    """

    function = staticmethod(margin_loss)
    weight_arguments = {"boundary": "beta"}
    search_space = {
        "beta": Range(0.6, 1.4),
        "margin": Range(0.05, 0.4),
        "learn_beta": Choice((False, True)),
        # The factor on its learning rate, 1000 in the paper.
        "boundary": Only(Range(1, 1e4, log=True), "learn_beta", True),
    }
    learned = "boundary"
    positives = "several"
    # Its boundary bounds each distance by itself, not the difference of two.
    gap = 0.0

    def __init__(
        self,
        beta=1.2,
        margin=0.2,
        nu=0.0,
        distance="euclidean",
        learn_beta=False,
        num_classes=None,
        **options,
    ):
        check_choice("learn_beta", learn_beta, (True, False))
        if num_classes is not None:
            check_integer("num_classes", num_classes, least=2, below=MOST_CLASSES)
            if not learn_beta:
                raise ValueError(
                    "`num_classes` needs learn_beta=True, a boundary for each class is learned. "
                    f"Received: num_classes={num_classes}, learn_beta=False"
                )
        settings = {
            "beta": beta,
            "margin": margin,
            "nu": nu,
            "distance": distance,
            "learn_beta": learn_beta,
        }
        super().__init__(settings, num_classes=num_classes, **options)

    @classmethod
    def check(cls, beta, **settings):
        check_number("beta", beta, above=0)
        super().check(**settings)

    def weight_specs(self, embedding_dim):
        if not self.learn_beta:
            return {}
        shape = () if self.num_classes is None else (self.num_classes,)
        # Not called beta, as the offsets of batch normalisation are, which a learning-rate factor
        # of that name would reach as well.
        return {"boundary": (shape, keras.initializers.Constant(self.beta))}
