"""The two log-sums of each anchor over its positives and its negatives, a tile at a time.

The same numbers as `rows.soft_violation` of the distances. With a backward pass of its own, which
needs one exponential a pair: `map_tiles` alone takes half as long again.
"""

import tensorflow as tf

from mdl_tf.losses.distances import ROUNDING, unit
from mdl_tf.losses.pairs import local_ids
from mdl_tf.losses.tiles import map_tiles

_INFINITY = float("inf")


def tiled_soft_violation(embeddings, references, margin, sharpness, distance, tile):
    """How far the farthest positive and the nearest negative are from their order, softly.

    Args:
        embeddings: of the anchors, `(B, D)`.
        references: their `References`, M of them.
        margin: the gap asked for.
        sharpness: g, how much the extremes count above the others.
        distance: a key of `DISTANCES`.
        tile: anchors of a tile.

    Returns:
        As `rows.soft_violation`, in memory that grows with M x tile.
    """
    inputs = [embeddings, references.embeddings]
    if distance == "cosine":
        inputs = [unit(each) for each in inputs]
    pull, push = _log_sums(inputs, references, sharpness, distance, tile)
    valid = tf.math.is_finite(pull) & tf.math.is_finite(push)
    # The infinities of anchors without a positive or a negative end here.
    pull = tf.where(valid, pull, tf.zeros_like(pull))
    push = tf.where(valid, push, tf.zeros_like(push))
    return margin + (pull + push) / sharpness, valid


def _log_sums(inputs, references, sharpness, distance, tile):
    """log sum exp(g D) over positives and log sum exp(-g D) over negatives, `(B,)` each."""
    products = _Products(*(tf.stop_gradient(each) for each in inputs), distance, sharpness)
    zero, one, infinity = (tf.constant(v, inputs[0].dtype) for v in (0, 1, _INFINITY))

    # Comparing 32 bits takes half the time.
    other_ids = local_ids(references.labels)
    ids = references.take_own(other_ids)
    index = tf.range(tf.size(other_ids))
    hidden = references.hidden

    def is_same(cut):
        return tf.equal(cut(ids)[:, None], other_ids[None, :])  # (T, M)

    def is_itself(cut):
        return tf.equal(cut(references.places)[:, None], index[None, :])

    def forward(cut, *_):
        scaled, _, _ = products.of_tile(cut)  # (T, M)
        same = is_same(cut)
        positives, no_negatives = same & ~is_itself(cut), same
        if hidden is not None:
            positives, no_negatives = positives & ~cut(hidden), same | cut(hidden)
        pulls = tf.where(positives, scaled, -infinity)
        pushes = tf.where(no_negatives, -infinity, -scaled)
        return [_log_sum_exp(each, zero, one, infinity) for each in (pulls, pushes)], []

    def backward(cut, rows, upstream):
        pull, push = rows
        valid = tf.math.is_finite(pull) & tf.math.is_finite(push)
        # An anchor that does not count: exp(-infinity) of each pair.
        pull, push = (cut(tf.where(valid, each, infinity))[:, None] for each in (pull, push))
        on_pull, on_push = (cut(tf.where(valid, each, zero))[:, None] for each in upstream)
        scaled, slope, resolvable = products.of_tile(cut, with_slope=True)
        same = is_same(cut)
        weights = tf.exp(tf.where(same, scaled - pull, -scaled - push))
        weights *= tf.where(same, on_pull, -on_push)
        # Nothing can be told from itself; what cannot be told apart has the gradient 0.
        counts = ~is_itself(cut) if resolvable is None else resolvable
        if hidden is not None:
            counts &= ~cut(hidden)
        if slope is not None:
            weights *= slope
        return products.gradients(cut, tf.where(counts, weights, zero))

    (pull, push), _ = map_tiles(forward, inputs, tile, backward)
    return pull, push


def _log_sum_exp(masked, zero, one, infinity):
    largest = tf.reduce_max(masked, axis=1)
    present = largest > -infinity
    largest = tf.where(present, largest, zero)
    total = tf.reduce_sum(tf.exp(masked - largest[:, None]), axis=1)
    return tf.where(present, largest + tf.math.log(tf.where(present, total, one)), -infinity)


class _Products:
    """Distances of anchors and references as one product a tile, as `losses.distances` has them.

    What is needed of each reference is computed once, not for every tile.
    """

    def __init__(self, anchors, others, distance, sharpness):
        self._distance, self._sharpness = distance, tf.constant(sharpness, anchors.dtype)
        self._rounding = None
        if distance == "cosine":
            self._anchors, self._others = anchors, others
            self._left, self._right = anchors, tf.transpose(others)
            return
        centre = tf.reduce_mean(others, axis=0, keepdims=True)
        self._anchors, self._others = anchors - centre, others - centre
        norms, other_norms = (
            tf.reduce_sum(each * each, axis=1, keepdims=True)
            for each in (self._anchors, self._others)
        )
        self._left = tf.concat([-2 * self._anchors, norms, tf.ones_like(norms)], axis=1)
        right = tf.concat([self._others, tf.ones_like(other_norms), other_norms], axis=1)
        self._right = tf.transpose(right)
        rounding = tf.constant(ROUNDING[anchors.dtype.name], anchors.dtype)
        self._rounding = rounding * norms, rounding * tf.transpose(other_norms)

    def of_tile(self, cut, with_slope=False):
        """Scaled distances of a tile, `(T, M)`.

        Args:
            cut: takes what is of the tile.
            with_slope: for the backward pass, where distances that cannot be told from 0 need not
                be 0. Defaults to `False`.

        Returns:
            g D; what a gradient on it is multiplied by to be one on `(a - b)`, or `None` for a
            constant; and which distances can be told from 0, or `None` for all.
        """
        product = tf.matmul(cut(self._left), self._right)
        if self._rounding is None:
            return self._sharpness * (1 - product), None, None
        own, others = self._rounding
        resolvable = product > cut(own) + others
        if self._distance == "squared_euclidean" or not with_slope:
            product = tf.where(resolvable, product, tf.zeros_like(own[:1]))
            if self._distance == "euclidean":
                product = tf.sqrt(product)
            return self._sharpness * product, None, resolvable
        inverse = tf.math.rsqrt(tf.where(resolvable, product, tf.ones_like(own[:1])))
        return self._sharpness * (product * inverse), inverse, resolvable

    def gradients(self, cut, weights):
        """Gradients on the anchors of a tile and on all references.

        Args:
            cut: takes what is of the tile.
            weights: `(T, M)`, the gradient on g D times the slope.
        """
        anchors, others = cut(self._anchors), self._others
        to_own = tf.matmul(weights, others)
        to_others = tf.matmul(weights, anchors, transpose_a=True)
        if self._distance == "cosine":
            return -self._sharpness * to_own, -self._sharpness * to_others
        factor = self._sharpness * (2 if self._distance == "squared_euclidean" else 1)
        rows = tf.reduce_sum(weights, axis=1, keepdims=True)
        columns = tf.reduce_sum(weights, axis=0)[:, None]
        return factor * (rows * anchors - to_own), factor * (columns * others - to_others)
