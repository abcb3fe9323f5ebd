"""The circle loss: every similarity is pulled towards its optimum at its own pace."""

import keras
from keras import ops

from mdl_tf.checks import check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import cosine_similarity
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import log_sum_exp, mean_over_valid, valid_anchors
from mdl_tf.losses.space import Range


def _check(margin, gamma):
    check_number("margin", margin)
    check_number("gamma", gamma, above=0)


@guard(_check)
def circle_loss(labels, embeddings, *, margin=0.4, gamma=80.0, references=None, tile="auto"):
    """Circle loss of each anchor of a batch.

    With s the cosines and paces a that have no gradient:

        a_p = max(0, 1 + margin - s_ip),  a_n = max(0, s_in + margin)
        l_i = log(1 + sum_p exp(-gamma a_p (s_ip - 1 + margin))
                      * sum_n exp(gamma a_n (s_in - margin)))

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        margin: relaxation; positives are to exceed `1 - margin`, negatives to stay below `margin`.
            Defaults to `0.4`.
        gamma: scale, above 0. Defaults to `80.0`.
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

    Source: Sun, Cheng, Zhang, Zhang, Zheng, Wang, Wei, "Circle Loss: A Unified Perspective of Pair
    Similarity Optimization", CVPR 2020. Paper settings: the defaults for fine-grained retrieval
    (16 classes of 5 images); `margin=0.25, gamma=256.0` for faces. Known: values are large (tens)
    and fall to 0 within rounding once a batch is easy.
    """
    similarities = cosine_similarity(embeddings, references.embeddings)  # (B, D) -> (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
    valid = valid_anchors(positives, negatives)
    pull_pace = ops.stop_gradient(ops.relu(1 + margin - similarities))
    push_pace = ops.stop_gradient(ops.relu(similarities + margin))
    pull = log_sum_exp(-gamma * pull_pace * (similarities - 1 + margin), positives)
    push = log_sum_exp(gamma * push_pace * (similarities - margin), negatives)
    # The infinities of anchors without a positive or a negative end here.
    losses = ops.softplus(ops.where(valid, pull + push, 0.0))
    return mean_over_valid(losses, valid, references)


@keras.saving.register_keras_serializable(package="mdl_tf")
class CircleLoss(MetricLoss):
    """Circle loss, for `model.compile(loss=CircleLoss())`.

    See `circle_loss` for the formula, what is averaged, and the source.
    Use `MultiSimilarityLoss` instead for values near 1; here they are in the tens.

    Args:
        margin: relaxation of the similarities. Defaults to `0.4`.
        gamma: scale, above 0. Defaults to `80.0`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = CircleLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    19.547
    """

    function = staticmethod(circle_loss)
    search_space = {"margin": Range(0.1, 0.6), "gamma": Range(16, 1024, log=True)}
    positives = "several"
    gap = 0.0

    def __init__(self, margin=0.4, gamma=80.0, **options):
        super().__init__({"margin": margin, "gamma": gamma}, **options)
