"""The Margin-based Discriminate Loss: every positive strictly closer than every negative."""

import keras
from keras import ops

from mdl_tf.checks import check_choice, check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import DISTANCES
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import farthest_and_nearest, mean_over_valid, soft_violation
from mdl_tf.losses.space import Range
from mdl_tf.losses.tiled_log_sums import tiled_soft_violation

FORMS = ("smooth", "hinge", "hardest")


def _check(margin, sharpness, distance, form):
    check_number("margin", margin, least=0)
    check_number("sharpness", sharpness, above=0)
    check_choice("distance", distance, DISTANCES)
    check_choice("form", form, FORMS)


@guard(_check, has_tiles=lambda settings: settings["form"] != "hardest")
def margin_discriminate_loss(
    labels,
    embeddings,
    *,
    margin=0.2,
    sharpness=20.0,
    distance="euclidean",
    form="smooth",
    references=None,
    tile="auto",
):
    """Margin-based Discriminate Loss of each anchor of a batch.

    With D the distances, P_i the positives and N_i the negatives of anchor i, m the margin and
    g the sharpness:

        s_i = m + (1/g) log sum_p exp(g D_ip) + (1/g) log sum_n exp(-g D_in)

        smooth    l_i = (1/g) log(1 + exp(g s_i))
                      = (1/g) log(1 + sum_p sum_n exp(g (D_ip - D_in + m)))
        hinge     l_i = max(0, s_i)
        hardest   l_i = max(0, m + max_p D_ip - min_n D_in)

    `s_i` is an upper bound of the violation `m + max_p D_ip - min_n D_in`, at most
    `log(|P_i| |N_i|) / g` above it. So a hinge loss of 0 certifies that in this batch every
    positive is closer than every negative by at least the margin. In the smooth form every positive
    is pulled and every negative pushed at each update, the hard ones most; nothing is sampled.

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`. They are not normalised here (but for the cosine): let
            the model end in unit length, the defaults are for unit vectors.
        margin: gap between the farthest positive and the nearest negative, at least 0, in the
            units of the distance. Defaults to `0.2`.
        sharpness: how much the hard pairs count above the others, above 0, in one over the units
            of the distance; towards infinity the smooth and hinge forms become the hardest one,
            which does not use it. Defaults to `20.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"` (one minus the cosine).
            Defaults to `"euclidean"`.
        form: `"smooth"`, `"hinge"` or `"hardest"`. Defaults to `"smooth"`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.
        tile: anchors that are compared at a time, in memory that grows with B x tile and not with
            B^2; `"auto"`: all at once unless B is known to take more than an eighth of the memory;
            `None` or 0: all at once. Defaults to `"auto"`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are: `B / V * l_i` for the V anchors
        that have a positive and a negative, 0 for the others, so that the plain mean is the mean
        over those V. All 0 if there are none. Where two embeddings coincide the gradient of their
        Euclidean distance is 0.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    The defaults were settled on classes held out of training, never on test classes: a layer on
    features of photographs, from a random start (`tests/benchmarks/study_readings.py`) and from a
    whitening (`study_sharpness.py`), a pretrained network on the photographs themselves (the same),
    and one from random weights on glyphs (`study_glyphs.py`); the figures are in
    `tests/benchmarks/README.md`. Smooth and hinge learn alike, and smooth never stops pulling; the
    hardest form, which moves one pair of each kind an anchor, was far behind. Euclidean and cosine
    distances were alike, squared ones a little behind.
    Sharpness matters most: a pair whose distance is within log(100) / g of the hardest one's keeps
    1 % of its weight, so at 10 nearly all pairs of an untrained batch count, and the hard ones of a
    trained one. The best one grows with how much is learned: on features 7 from a random start and
    14 to 20 from a whitening, where the two are within 1 % in MAP@R and 20 is ahead in Recall@1; on
    photographs 10 at a rate of 1e-4 and 20 at the better one of 3e-4; on glyphs 10 after 120
    batches and 20 after 360. The margin hardly mattered from 0 to 0.5: the log-sum-exp over many
    negatives keeps anchors active. On features a mean in place of the sums, and positives and
    negatives apart around a boundary, gave the same, and a softer sharpness for the positives 1 %
    more, about which two seeds on glyphs disagreed: not enough for a setting.

    Source: Sun, Tang, Bai, "Learning Deep Embeddings via Margin-Based Discriminate Loss", S+SSPR
    2018, [doi 10.1007/978-3-319-97785-0_11](https://doi.org/10.1007/978-3-319-97785-0_11). Its
    public abstract states the aim (strict discrimination, several positives and several negatives
    at each update, no sampling); the formula is our reading of those words. Paper settings: not
    public. Relatives: one positive, cosine distance, m = 0, g = 1 is the N-pair loss (Sohn 2016) of
    unit vectors; hinge with g = 1 is the generalized lifted structure loss (Hermans et al. 2017).
    """
    if tile is not None:
        bound, valid = tiled_soft_violation(
            embeddings, references, margin, sharpness, distance, tile
        )
    else:
        distances = DISTANCES[distance](embeddings, references.embeddings)  # -> (B, M)
        positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
        if form == "hardest":
            farthest, nearest, valid = farthest_and_nearest(distances, positives, negatives)
            return mean_over_valid(ops.relu(margin + farthest - nearest), valid, references)
        bound, valid = soft_violation(distances, positives, negatives, margin, sharpness)
    if form == "hinge":
        return mean_over_valid(ops.relu(bound), valid, references)
    return mean_over_valid(ops.softplus(sharpness * bound) / sharpness, valid, references)


@keras.saving.register_keras_serializable(package="mdl_tf")
class MarginDiscriminateLoss(MetricLoss):
    """Margin-based Discriminate Loss, for `model.compile(loss=MarginDiscriminateLoss())`.

    `y_true` are class ids, integers, shape `(B,)` or `(B, 1)`; `y_pred` embeddings, shape `(B, D)`.
    The batches must hold several classes with several images each
    (`mdl_tf.batches.balanced`). `sample_weight`, shape `(B,)`, weights anchors; an image with
    weight 0 still is a positive or a negative of the others. See `margin_discriminate_loss` for the
    formula, what is averaged, and the source. Use `ProxyAnchorLoss` instead when batches cannot
    hold several images of each class.

    Args:
        margin: gap between the farthest positive and the nearest negative, at least 0, in the
            units of the distance. Defaults to `0.2`.
        sharpness: how much the hard pairs count above the others, above 0. Defaults to `20.0`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to `"euclidean"`.
        form: `"smooth"`, `"hinge"` or `"hardest"`. Defaults to `"smooth"`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = MarginDiscriminateLoss()
    >>> round(float(loss(labels, embeddings)), 3)
    0.231
    """

    function = staticmethod(margin_discriminate_loss)
    search_space = {"margin": Range(0, 0.6), "sharpness": Range(4, 64, log=True)}
    positives = "several"

    def __init__(self, margin=0.2, sharpness=20.0, distance="euclidean", form="smooth", **options):
        settings = {"margin": margin, "sharpness": sharpness, "distance": distance, "form": form}
        super().__init__(settings, **options)

    @property
    def gap(self):
        return self.margin if self.distance == "euclidean" else 0.0
