"""Losses of anchors a tile of them at a time, in memory that grows with B x tile and not with B^2.

The forward pass keeps what each anchor has come to, `(B,)`; the backward pass computes distances
again. Loss and gradients are those of the dense form up to the rounding of sums.
"""

import tensorflow as tf

from mdl_tf.losses.references import Recorder
from mdl_tf.losses.rows import spread


def by_tiles(formula, labels, embeddings, references, weights, tile):
    """The losses of anchors by a formula that is a sum of `spread`, a tile of anchors at a time.

    Args:
        formula: a function `(labels, embeddings, references, *weights) -> (B,)`.
        labels: of the anchors, `(B,)`.
        embeddings: of the anchors, `(B, D)`.
        references: their `References`.
        weights: other tensors of the formula that have a gradient, a list.
        tile: anchors of a tile.

    Returns:
        Shape `(B,)`.
    """

    def rows_of(cut, anchors, others, *weights):
        recorder = Recorder()
        block = references.take_tile(cut, others, recorder)
        rest = formula(cut(labels), anchors, block, *weights)
        return [*recorder.rows, rest], recorder.terms

    inputs = [embeddings, references.embeddings, *weights]
    rows, terms = map_tiles(rows_of, inputs, tile)
    spreads = [spread(*each, references) for each in zip(rows[:-1], terms, strict=True)]
    return sum(spreads, rows[-1])


def map_tiles(forward, inputs, tile, backward=None):
    """What a function makes of the anchors, a tile at a time, forward and backward.

    Args:
        forward: a function `(cut, anchors, *others)` of the anchors of a tile, `(T, D)`, and the
            other inputs whole. `cut` takes what is of the tile's anchors out of a tensor of all.
            It returns a list of tensors `(T,)`, and a list of scalars without gradient that are
            added up.
        inputs: floats: the anchors, `(B, D)`, and the others.
        tile: anchors of a tile, an integer or a scalar tensor.
        backward: a function `(cut, rows, upstream)` of what `forward` made of all anchors, a list
            of `(B,)`, and the gradients on it. It returns a list of the gradients on the anchors of
            the tile and on the other inputs. Defaults to `None`: found by a tape.

    Returns:
        The list of tensors, `(B,)`, and the list of sums.
    """

    counts = []

    @tf.custom_gradient
    def run(*inputs):
        # Whoever records outside need not keep what is computed here.
        anchors, *others = (tf.stop_gradient(each) for each in inputs)
        loop = Tiles(tf.shape(anchors)[0], tile)
        rows, terms = loop.run(lambda cut: forward(cut, cut(anchors), *others))
        counts.append(len(rows))

        def gradient(*upstream):
            upstream = upstream[: len(rows)]

            def of_tile(cut):
                if backward is not None:
                    own, *shared = backward(cut, rows, upstream)
                    return [own], shared
                with tf.GradientTape() as tape:
                    variables = [cut(anchors), *(tf.identity(each) for each in others)]
                    tape.watch(variables)
                    values, _ = forward(cut, *variables)
                own, *shared = tape.gradient(
                    values,
                    variables,
                    output_gradients=[cut(each) for each in upstream],
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                own = tf.ensure_shape(own, (None, *anchors.shape[1:]))
                shared = [tf.ensure_shape(g, x.shape) for g, x in zip(shared, others, strict=True)]
                return [own], shared

            (own,), shared = loop.run(of_tile)
            return own, *shared

        return (*rows, *terms), gradient

    results = run(*inputs)
    count = counts[0]
    return list(results[:count]), [tf.stop_gradient(each) for each in results[count:]]


class Tiles:
    """A loop over tiles: all but the last have the same length.

    Lengths are those of shapes, and slices have a begin and a length: of a slice by begin and end
    XLA does not know the length inside of a loop, and computes the whole for every tile.

    Args:
        size: B, how much there is to cut, a scalar tensor.
        tile: length of a tile.
    """

    def __init__(self, size, tile):
        self._step = tf.minimum(tf.cast(tile, tf.int32), tf.maximum(size, 1))
        self._before = tf.maximum((size - 1) // self._step, 0)  # tiles in front of the last one
        self._size = size

    def run(self, function):
        """Call a function of each tile, the last one first.

        Args:
            function: of `cut`, which takes what is of the tile out of a tensor `(B, ...)`; it
                returns a list of tensors `(T, ...)` and a list of tensors that are added up.

        Returns:
            The list of tensors `(B, ...)`, and that of sums.
        """
        step, before = self._step, self._before
        # The last one first: it tells what there is.
        values, sums = function(_cut(before * step, self._size - before * step))
        arrays = []
        for value in values:
            rest = before * step + step - self._size
            padded = tf.pad(value, [[0, rest]] + [[0, 0]] * (len(value.shape) - 1))
            array = tf.TensorArray(
                value.dtype, before + 1, element_shape=(None, *value.shape[1:]), infer_shape=False
            )
            arrays.append(array.write(before, padded))

        def add_tile(i, arrays, sums):
            values, more = function(_cut(i * step, step))
            arrays = [a.write(i, value) for a, value in zip(arrays, values, strict=True)]
            return i + 1, arrays, [a + b for a, b in zip(sums, more, strict=True)]

        # One at a time, or their memory adds up.
        _, arrays, sums = tf.while_loop(
            lambda i, *_: i < before, add_tile, (0, arrays, list(sums)), parallel_iterations=1
        )
        whole = [
            tf.reshape(array.stack(), (-1, *value.shape[1:]))[: self._size]
            for array, value in zip(arrays, values, strict=True)
        ]
        return whole, sums


def _cut(start, length):
    def cut(values):
        others = len(values.shape) - 1
        return tf.slice(values, [start, *[0] * others], [length, *[-1] * others])

    return cut
