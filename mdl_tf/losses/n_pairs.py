"""The N-pair loss: one positive against one image of every other class, by dot products."""

import keras
from keras import ops

from mdl_tf.checks import check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import class_order
from mdl_tf.losses.rows import log_sum_exp, mean_over_valid
from mdl_tf.losses.space import Choice, Only, Range


def _check(l2):
    check_number("l2", l2, least=0)


@guard(_check)
def n_pairs_loss(labels, embeddings, *, l2=0.001):
    """N-pair loss (N-pair-mc) of each anchor of a batch.

    The images of each class form pairs in the order of the batch: the first is an anchor and the
    second its positive, the third an anchor and the fourth its positive, and so on; a last odd one
    is left out. An anchor meets the positives z_j of the same round, one of each class:

        l_a = log(1 + sum_{j != a} exp(x_a . z_j - x_a . z_a)) + l2 (|x_a|^2 + |z_a|^2) / 2

    Two images a class are the batch of the paper; four make two such batches at once.

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, not normalised here: the loss is made for embeddings of
            any length.
        l2: weight of the mean squared length of the paired embeddings, at least 0; a constant, with
            no effect, on unit vectors. Defaults to `0.001`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are: `B / V * l_a` for the V anchors
        that have a positive and meet another class, 0 for all other images, so that the plain mean
        is the mean over those V. All 0 if there are none.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NeurIPS
    2016. Paper settings: two images a class, embeddings that are not normalised
    (`l2_normalize=False`); the default `l2` is that of TensorFlow's former
    `npairs_loss(reg_lambda=0.002)`. Known: on unit vectors the dot products end at 1, and the loss
    cannot come near 0.
    """
    order, first, rank, images = class_order(labels)  # (B,) each
    size = ops.shape(labels)[0]
    is_anchor = ops.logical_and(ops.equal(rank % 2, 0), rank + 1 < images)
    # The anchors in front, in half as many places, A, of which some stay empty: products of a
    # quarter.
    places = ops.argsort(ops.where(is_anchor, 0, 1))[: (size + 1) // 2]
    filled = ops.take(is_anchor, places)  # (A,)
    rank = ops.take(rank, places)
    following = ops.take(first, places) + (rank + 1) % ops.take(images, places)
    partners = ops.take(order, following)
    turn = ops.where(filled, rank, -1)
    # A gather's gradient would be sparse (`IndexedSlices`) by the embeddings; a reshape's is dense.
    embeddings = ops.reshape(embeddings, (-1, ops.shape(embeddings)[1]))
    anchors = ops.take(embeddings, places, axis=0)  # (A, D)
    positives = ops.take(embeddings, partners, axis=0)

    met = ops.logical_and(ops.equal(turn[:, None], turn[None, :]), filled[None, :])  # (A, A)
    counts = ops.logical_and(filled, ops.sum(ops.cast(met, "int32"), axis=1) > 1)
    similarities = ops.matmul(anchors, ops.transpose(positives))
    log_sum = ops.where(counts, log_sum_exp(similarities, met), 0.0)
    to_own = ops.sum(anchors * positives, axis=1)
    squares = ops.sum(anchors * anchors + positives * positives, axis=1)
    terms = ops.where(counts, log_sum - to_own + l2 * squares / 2, 0.0)
    places = ops.expand_dims(places, 1)
    valid = ops.scatter(places, ops.cast(counts, "int32"), (size,)) > 0
    return mean_over_valid(ops.scatter(places, terms, (size,)), valid)


@keras.saving.register_keras_serializable(package="mdl_tf")
class NPairsLoss(MetricLoss):
    """N-pair loss, for `model.compile(loss=NPairsLoss())`.

    See `n_pairs_loss` for the formula, what is averaged, and the source.
    Use `SupConLoss` instead on unit vectors, or to use all positives of an anchor.

    Args:
        l2: weight of the mean squared length of the paired embeddings. Defaults to `0.001`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = NPairsLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    0.51
    """

    function = staticmethod(n_pairs_loss)
    # Its paper leaves embeddings at any length.
    search_space = {
        # The length of unit vectors is none of its business.
        "l2": Only(Range(1e-4, 0.1, log=True), "l2_normalize", False),
        "l2_normalize": Choice((False, True)),
    }
    first_draw = {"l2_normalize": False}
    positives = "one"
    gap = 0.0

    def __init__(self, l2=0.001, **options):
        super().__init__({"l2": l2}, **options)
