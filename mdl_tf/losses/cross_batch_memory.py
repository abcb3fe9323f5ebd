"""Cross-batch memory: embeddings of earlier batches that the anchors are compared with, too.

Embeddings drift slowly once the first steps are over, so those of earlier batches still are good
negatives and positives; they have no gradient.

Source: Wang, Zhang, Huang, Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020.
"""

import keras
import tensorflow as tf
from keras import ops

from mdl_tf.checks import check_integer
from mdl_tf.losses.references import find_replicas


class CrossBatchMemory(keras.layers.Layer):
    """The last embeddings of a training with their labels, as weights that are saved and loaded.

    It is filled from the first step on, the oldest embeddings go first. An image is not compared
    with an earlier embedding of itself: it would be its nearest positive and teach nothing. Where
    nobody says which image is which, nothing of the anchor's class is taken from the memory, only
    negatives.

    Args:
        size: embeddings that it holds.
        dim: D of an embedding.
        start: steps during which it is filled and not used. Defaults to `0`.
        age: steps after which an embedding is no longer used. Defaults to `None`: until others take
            its place.
        **options: `name` and others of a Keras layer.

    Raises:
        ValueError: for a number that is not allowed.
    """

    def __init__(self, size, dim, *, start=0, age=None, **options):
        super().__init__(dtype="float32", trainable=False, **options)
        self.size = check_integer("memory", size, least=1)
        self.start = check_integer("memory_start", start, least=0)
        self.age = age if age is None else check_integer("memory_age", age, least=1)
        self._embeddings = self._add("embeddings", (size, dim), "float32")
        self._labels = self._add("labels", (size,), "int64")
        self._images = self._add("images", (size,), "int64")
        # Step at which each came, from 1; 0 for an empty place.
        self._steps = self._add("steps", (size,), "int64")
        self._next_place = self._add("next_place", (), "int64")
        self._step = self._add("step", (), "int64")
        self.built = True

    def _add(self, name, shape, dtype):
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            # All replicas write the same.
            aggregation="only_first_replica",
        )

    def extend(self, references, labels, images=None):
        """References of a batch with those of the memory behind them.

        Args:
            references: the `References` of the batch.
            labels: of the anchors, integers `(B,)`.
            images: number of the image of each anchor, integers `(B,)`. Defaults to `None`: not
                known.

        Returns:
            `References`, M more.
        """
        empty, copies = ops.equal(self._steps, 0), self._images
        hidden = ops.logical_or(empty, self._step < self.start)
        if self.age is not None:
            hidden = ops.logical_or(hidden, self._steps <= self._step - self.age)
        anchors = images
        if images is None:
            anchors, copies = labels, self._labels
        anchors = ops.cast(anchors, "int64")
        is_copy = ops.equal(anchors[:, None], ops.convert_to_tensor(copies)[None, :])
        hidden = ops.logical_or(hidden[None, :], is_copy)  # (B, M)
        batch = ops.shape(references.labels)[0]
        among_batch = ops.zeros((ops.shape(labels)[0], batch), "bool")
        embeddings = ops.cast(self._embeddings, references.embeddings.dtype)
        return references._replace(
            labels=ops.concatenate([ops.cast(references.labels, "int64"), self._labels]),
            embeddings=ops.concatenate([references.embeddings, embeddings]),
            hidden=ops.concatenate([among_batch, hidden], axis=1),
            is_batch=False,
        )

    def add(self, labels, embeddings, images=None):
        """Take the embeddings of a batch, of all replicas, in place of the oldest ones.

        Args:
            labels: integers `(B,)`.
            embeddings: `(B, D)`.
            images: numbers of the images, integers `(B,)`. Defaults to `None`: not known.
        """
        images = ops.zeros_like(labels) if images is None else images
        columns = [ops.stop_gradient(ops.cast(embeddings, "float32"))]
        columns += [ops.cast(each, "int64") for each in (labels, images)]
        context = find_replicas()
        if context is not None:
            columns = [context.all_gather(each, axis=0) for each in columns]
        # Of a batch that is larger than the memory the last ones.
        columns = [each[-self.size :] for each in columns]
        count = ops.shape(columns[0])[0]
        step = self._step + 1
        columns.append(tf.fill([count], ops.convert_to_tensor(step)))
        places = (self._next_place + tf.range(tf.cast(count, "int64"))) % self.size
        variables = self._embeddings, self._labels, self._images, self._steps
        for variable, values in zip(variables, columns, strict=True):
            variable.assign(
                tf.tensor_scatter_nd_update(
                    ops.convert_to_tensor(variable), places[:, None], values
                )
            )
        self._next_place.assign((self._next_place + tf.cast(count, "int64")) % self.size)
        self._step.assign(step)
