"""Triplet losses: each positive closer than a negative, over all, semi-hard or hardest triplets.

A hinge is linear where it is active. So a sum over triplets is `sum_ij W_ij D_ij` with weights that
count in how many active triplets a pair stands, and only the counting looks at triplets: for one
positive of every anchor at a time, without gradient, in `(B, B)` memory.
"""

import keras
from keras import ops

from mdl_tf.checks import check_choice, check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import DISTANCES
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import class_order, pair_masks
from mdl_tf.losses.rows import farthest_and_nearest, mean_over_valid, spread
from mdl_tf.losses.space import Choice, Range

MININGS = ("all", "semi_hard", "hard")


def _check(margin, mining, distance, soft):
    check_number("margin", margin, least=0)
    check_choice("mining", mining, MININGS)
    check_choice("distance", distance, DISTANCES)
    check_choice("soft", soft, (True, False))
    if soft and mining != "hard":
        raise ValueError(f"`soft` needs mining='hard'. Received: soft=True, mining={mining!r}")


@guard(_check)
def triplet_loss(
    labels,
    embeddings,
    *,
    margin=0.2,
    mining="semi_hard",
    distance="squared_euclidean",
    soft=False,
    references=None,
    tile="auto",
):
    """Triplet loss of each anchor of a batch.

    With D the distances, a an anchor, p one of its positives, n one of its negatives:

        t(a, p, n) = max(0, margin + D_ap - D_an)

        mining="all"        mean of t over the triplets with t > 0
        mining="semi_hard"  mean of t(a, p, n) over the positive pairs (a, p), n the nearest
                            negative farther than p; if there is none, the farthest negative
        mining="hard"       mean over anchors of max(0, margin + max_p D_ap - min_n D_an)
             soft=True      mean over anchors of log(1 + exp(margin + max_p D_ap - min_n D_an))

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`, not normalised here (but for the cosine); the defaults
            are for unit vectors.
        margin: gap between positive and negative, at least 0, in the units of the distance.
            Defaults to `0.2`.
        mining: `"all"`, `"semi_hard"` or `"hard"`. Defaults to `"semi_hard"`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to
            `"squared_euclidean"`, as in FaceNet.
        soft: softplus instead of the hinge, only with `mining="hard"`. Defaults to `False`.
        references: the `References` that anchors are compared with. Defaults to `None`: each other,
            and under a distribution strategy the images of all replicas.
        tile: anchors that are compared at a time, in memory that grows with B x tile and not with
            B^2; `"auto"`: all at once unless B is known to take more than an eighth of the memory;
            `None` or 0: all at once. Defaults to `"auto"`.

    Returns:
        Shape `(B,)`, float32, or float64 if the embeddings are; its plain mean is the loss. A
        triplet counts for its anchor. All 0 if the batch has no triplet, or with `"all"` no active
        one. Time grows with B^2 times the images of the largest class, memory with B^2.

    Raises:
        ValueError: for one-hot or float labels, wrong or unknown ranks, lengths that statically
            differ, and settings other than the above.

    Source: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015 (semi-hard); Hermans, Beyer, Leibe,
    "In Defense of the Triplet Loss for Person Re-Identification", 2017 (hard, all, soft). Paper
    settings: FaceNet the defaults, with batches of 1,800; Hermans `mining="hard", soft=True,
    margin=0.0, distance="euclidean"` on embeddings of any length. Known: `"hard"` with a hinge
    tends to collapse everything to one point early in training, where it sticks at the margin; a
    lower learning rate, `soft=True` or `"semi_hard"` help.
    """
    distances = DISTANCES[distance](embeddings, references.embeddings)  # (B, D), (M, D) -> (B, M)
    positives, negatives = pair_masks(labels, references)  # (B,) -> (B, M)
    if mining == "hard":
        farthest, nearest, valid = farthest_and_nearest(distances, positives, negatives)
        violation = margin + farthest - nearest
        losses = ops.softplus(violation) if soft else ops.relu(violation)
        return mean_over_valid(losses, valid, references)

    masks = positives, negatives
    weights, active, pairs = _active_triplets(references, distances, masks, margin, mining)
    rows = ops.sum(weights * distances, axis=1) + margin * active  # (B, M) -> (B,)
    return spread(rows, ops.sum(active if mining == "all" else pairs), references)


def _active_triplets(references, distances, masks, margin, mining):
    """In how many active triplets each pair stands.

    Returns:
        Weights `(B, M)`: how often D_ij is added, as a positive distance, less how often it is
        subtracted; the active triplets of each anchor `(B,)`; its positive pairs with a negative
        `(B,)`. None of them has a gradient.
    """
    distances = ops.stop_gradient(distances)
    positives, negatives = masks
    dtype = distances.dtype
    order, *of_each = class_order(references.labels)
    first, rank, images = (references.take_own(values) for values in of_each)  # (B,) each
    most = ops.max(of_each[-1], initial=0)
    index = ops.arange(ops.shape(order)[0])
    has_negative = ops.any(negatives, axis=1)

    def add_positive(step, weights, active, pairs):
        # The step-th image after each anchor, round its class, (B,).
        positive = ops.take(order, first + (rank + step) % images)
        counts = ops.logical_and(step < images, has_negative)
        at_positive = ops.equal(index[None, :], positive[:, None])  # (B, M)
        if references.hidden is not None:
            is_shown = ops.any(ops.logical_and(at_positive, positives), axis=1)
            counts = ops.logical_and(counts, is_shown)
        to_positive = ops.sum(ops.where(at_positive, distances, 0.0), axis=1, keepdims=True)
        if mining == "all":
            chosen = ops.logical_and(negatives, distances < margin + to_positive)
        else:
            chosen = _semi_hard(distances, negatives, to_positive, index)
            chosen = ops.logical_and(chosen, distances < margin + to_positive)
        chosen = ops.cast(ops.logical_and(chosen, counts[:, None]), dtype)
        triplets = ops.sum(chosen, axis=1)
        weights = weights - chosen + ops.where(at_positive, triplets[:, None], 0.0)
        return step + 1, weights, active + triplets, pairs + ops.cast(counts, dtype)

    none = ops.zeros_like(distances[:, 0])
    _, weights, active, pairs = ops.while_loop(
        lambda step, *_: step < most,
        add_positive,
        (ops.ones((), "int32"), ops.zeros_like(distances), none, none),
    )
    return ops.stop_gradient(weights), ops.stop_gradient(active), ops.stop_gradient(pairs)


def _semi_hard(distances, negatives, to_positive, index):
    """Mask of the nearest negative beyond the positive, or of the farthest one if there is none."""
    beyond = ops.logical_and(negatives, distances > to_positive)
    nearest = ops.argmin(ops.where(beyond, distances, float("inf")), axis=1)
    farthest = ops.argmax(ops.where(negatives, distances, -float("inf")), axis=1)
    chosen = ops.where(ops.any(beyond, axis=1), nearest, farthest)
    return ops.equal(index[None, :], ops.cast(chosen, index.dtype)[:, None])


@keras.saving.register_keras_serializable(package="mdl_tf")
class TripletLoss(MetricLoss):
    """Triplet loss, for `model.compile(loss=TripletLoss())`.

    See `triplet_loss` for the formulas, what is averaged, and the source.
    Use `MarginDiscriminateLoss` instead to weigh all pairs of an anchor together, without mining.

    Args:
        margin: gap between positive and negative, at least 0. Defaults to `0.2`.
        mining: `"all"`, `"semi_hard"` or `"hard"`. Defaults to `"semi_hard"`.
        distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"`. Defaults to
            `"squared_euclidean"`.
        soft: softplus instead of the hinge, only with `mining="hard"`. Defaults to `False`.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings other than the above.

    Example:

    >>> labels = np.array([0, 0, 1, 1])
    >>> embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
    >>> loss = TripletLoss(mining="all")
    >>> round(float(loss(labels, embeddings)), 3)
    0.6
    """

    function = staticmethod(triplet_loss)
    search_space = {
        "mining": Choice(("semi_hard", "all", "hard")),
        "margin": Range(0.02, 0.6, log=True),
    }
    positives = "several"

    def __init__(
        self,
        margin=0.2,
        mining="semi_hard",
        distance="squared_euclidean",
        soft=False,
        **options,
    ):
        settings = {"margin": margin, "mining": mining, "distance": distance, "soft": soft}
        super().__init__(settings, **options)

    @property
    def gap(self):
        return self.margin if self.distance == "euclidean" else 0.0
