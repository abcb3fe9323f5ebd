"""The supervised contrastive loss, of which NT-Xent is the case of two images a class."""

import keras
from keras import ops

from mdl_tf.checks import check_choice, check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import cosine_similarity
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import log_sum_exp, mean_over_valid, valid_anchors
from mdl_tf.losses.space import Choice, Range

DENOMINATORS = ("all", "negatives")


def _check(temperature, denominator):
    check_number("temperature", temperature, above=0)
    check_choice("denominator", denominator, DENOMINATORS)


@guard(_check)
def sup_con_loss(
    labels, embeddings, *, temperature=0.1, denominator="all", references=None, tile="auto"
):
    """Supervised contrastive loss of each anchor of a batch.

    With s the cosines, T the temperature, over the positives p of anchor i:

        l_i = mean_p -log(exp(s_ip / T) / Z_ip)

        denominator="all"         Z_ip = sum_{j != i} exp(s_ij / T)
        denominator="negatives"   Z_ip = exp(s_ip / T) + sum_n exp(s_in / T)

    With one positive each, as with two views of every image, both are NT-Xent (SimCLR).

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, of any length: the cosine normalises.
        temperature: T, above 0. Defaults to `0.1`.
        denominator: `"all"` others, as in the paper, or the positive with the `"negatives"` alone,
            so that positives do not push each other away. Defaults to `"all"`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.
        tile: anchors that are compared at a time, in memory that grows with B x tile and not with
            B^2; `"auto"`: all at once unless B is known to take more than an eighth of the memory;
            `None` or 0: all at once. Defaults to `"auto"`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are: `B / V * l_i` for the V anchors
        that have a positive and a negative, 0 for the others, so that the plain mean is the mean
        over those V. All 0 if there are none (the paper counts a batch of one class too).

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2 (L_out);
    NT-Xent: Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of
    Visual Representations", ICML 2020. Paper settings: the defaults, on a projection head that is
    thrown away after training, and two augmented views of every image. Known: with `"all"` and
    several positives the loss ends well above 0, at the logarithm of their number.
    """
    logits = cosine_similarity(embeddings, references.embeddings) / temperature  # (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
    valid = valid_anchors(positives, negatives)
    others = negatives if denominator == "negatives" else ops.logical_or(positives, negatives)
    log_sum = ops.where(valid, log_sum_exp(logits, others), 0.0)[:, None]  # (B, 1)
    if denominator == "negatives":
        terms = ops.softplus(log_sum - logits)  # log(1 + sum_n exp(...) / exp(s_ip / T))
    else:
        terms = log_sum - logits
    counts = ops.sum(ops.cast(positives, logits.dtype), axis=1)
    means = ops.sum(ops.where(positives, terms, 0.0), axis=1) / ops.maximum(counts, 1)
    return mean_over_valid(means, valid, references)


@keras.saving.register_keras_serializable(package="mdl_tf")
class SupConLoss(MetricLoss):
    """Supervised contrastive loss, for `model.compile(loss=SupConLoss())`.

    See `sup_con_loss` for the formula, what is averaged, and the source.
    Use `NormalizedSoftmaxLoss` instead when a batch holds too few negatives: its proxies stand for
    all classes.

    Args:
        temperature: T, above 0. Defaults to `0.1`.
        denominator: `"all"` or `"negatives"`. Defaults to `"all"`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = SupConLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    1.065
    """

    function = staticmethod(sup_con_loss)
    search_space = {
        "temperature": Range(0.02, 0.5, log=True),
        "denominator": Choice(("all", "negatives")),
    }
    positives = "several"
    gap = 0.0

    def __init__(self, temperature=0.1, denominator="all", **options):
        super().__init__({"temperature": temperature, "denominator": denominator}, **options)
