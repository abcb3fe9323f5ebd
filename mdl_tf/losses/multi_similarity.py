"""The multi-similarity loss: informative pairs of each anchor, softly weighted by similarity."""

import keras
from keras import ops

from mdl_tf.checks import check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import cosine_similarity
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import farthest_and_nearest, log_sum_exp, mean_over_valid, valid_anchors
from mdl_tf.losses.space import Range


def _check(alpha, beta, base, mining_margin):
    check_number("alpha", alpha, above=0)
    check_number("beta", beta, above=0)
    check_number("base", base)
    if mining_margin is not None:
        check_number("mining_margin", mining_margin)


@guard(_check)
def multi_similarity_loss(
    labels,
    embeddings,
    *,
    alpha=2.0,
    beta=50.0,
    base=1.0,
    mining_margin=0.1,
    references=None,
    tile="auto",
):
    """Multi-similarity loss of each anchor of a batch.

    With s the cosines, over the pairs that the mining keeps:

        kept: p with s_ip < max_n s_in + mining_margin,  n with s_in > min_p s_ip - mining_margin
        l_i = (1/alpha) log(1 + sum_p exp(-alpha (s_ip - base)))
              + (1/beta) log(1 + sum_n exp(beta (s_in - base)))

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        alpha: sharpness of the positives, above 0. Defaults to `2.0`.
        beta: sharpness of the negatives, above 0. Defaults to `50.0`.
        base: the similarity around which pairs are weighted. Defaults to `1.0`.
        mining_margin: how far a pair may be from violating the order and still counts; `None`
            keeps all pairs. Defaults to `0.1`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.
        tile: anchors that are compared at a time, in memory that grows with B x tile and not with
            B^2; `"auto"`: all at once unless B is known to take more than an eighth of the memory;
            `None` or 0: all at once. Defaults to `"auto"`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are: `B / V * l_i` for the V anchors
        that have a positive and a negative in the batch, 0 for the others, so that the plain mean
        is the mean over those V. An anchor none of whose pairs is kept counts with 0. All 0 if no
        anchor has both.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Wang, Han, Huang, Dong, Scott, "Multi-Similarity Loss with General Pair Weighting for
    Deep Metric Learning", CVPR 2019. Paper settings: the defaults, 5 images a class. Known: with
    `base=1.0` nearly all positives weigh alike; the authors' own code has `base=0.5`, which is
    usually better.
    """
    similarities = cosine_similarity(embeddings, references.embeddings)  # (B, D) -> (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
    valid = valid_anchors(positives, negatives)
    if mining_margin is not None:
        # The farthest positive is the least similar one.
        farthest, nearest, _ = farthest_and_nearest(-similarities, positives, negatives)
        hard = similarities < (mining_margin - nearest)[:, None]
        close = similarities > (-mining_margin - farthest)[:, None]
        positives, negatives = ops.logical_and(positives, hard), ops.logical_and(negatives, close)
    pull = ops.softplus(log_sum_exp(-alpha * (similarities - base), positives)) / alpha
    push = ops.softplus(log_sum_exp(beta * (similarities - base), negatives)) / beta
    return mean_over_valid(pull + push, valid, references)


@keras.saving.register_keras_serializable(package="mdl_tf")
class MultiSimilarityLoss(MetricLoss):
    """Multi-similarity loss, for `model.compile(loss=MultiSimilarityLoss())`.

    See `multi_similarity_loss` for the formula, what is averaged, and the source.
    Use `MarginDiscriminateLoss` instead for one margin and one sharpness to set.

    Args:
        alpha: sharpness of the positives, above 0. Defaults to `2.0`.
        beta: sharpness of the negatives, above 0. Defaults to `50.0`.
        base: the similarity around which pairs are weighted. Defaults to `1.0`.
        mining_margin: how far from violating the order a pair still counts, or `None` for all
            pairs. Defaults to `0.1`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = MultiSimilarityLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    0.293
    """

    function = staticmethod(multi_similarity_loss)
    search_space = {
        "alpha": Range(0.5, 20, log=True),
        "beta": Range(8, 80, log=True),
        "base": Range(0, 1.25),
    }
    positives = "several"
    gap = 0.0

    def __init__(self, alpha=2.0, beta=50.0, base=1.0, mining_margin=0.1, **options):
        settings = {"alpha": alpha, "beta": beta, "base": base, "mining_margin": mining_margin}
        super().__init__(settings, **options)
