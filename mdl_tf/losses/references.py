"""What the anchors of a batch are compared with: each other, or more than the batch of one device.

Under a distribution strategy each replica has a share of the batch. The shares are gathered in the
order of the replicas; each replica compares its own anchors with all images, `(B / r, B)`, and
TensorFlow's gradient of the gathering adds up what the replicas ask of an embedding. So the loss
and its gradients are those of one device with the whole batch.
"""

from typing import Any, NamedTuple

import tensorflow as tf
from keras import ops


class References(NamedTuple):
    """The images that anchors are compared with.

    Args:
        labels: class of each, in the ids of the anchors' labels, shape `(M,)`.
        embeddings: shape `(M, D)`; `None` for a loss that compares no images.
        places: index of each anchor among them, shape `(B,)`: it is not compared with itself.
        anchors: how many anchors there are, those of all replicas together.
        hidden: mask of the pairs that are not compared, shape `(B, M)`. Defaults to `None`: none.
        is_shared: whether each replica has only a share of the anchors. Defaults to `False`.
        recorder: a `Recorder` that takes what `rows.spread` is given, where the anchors are a tile.
            Defaults to `None`: the losses are computed at once.
        is_batch: whether they are the anchors themselves, each once. Defaults to `False`.
    """

    labels: Any
    embeddings: Any
    places: Any
    anchors: Any
    hidden: Any = None
    is_shared: bool = False
    recorder: Any = None
    is_batch: bool = False

    def total(self, counted):
        """The sum over the replicas of what each counts of its own anchors, without gradient."""
        return _sum_over_replicas(counted) if self.is_shared else counted

    def among_themselves(self):
        """The references of the references: each other, but for those hidden from every anchor."""
        size = ops.shape(self.labels)[0]
        hidden = None
        if self.hidden is not None:
            absent = ops.all(self.hidden, axis=0)
            hidden = ops.broadcast_to(absent[None, :], (size, size))
        return self._replace(places=ops.arange(size), hidden=hidden)

    def take_own(self, values):
        """What is of the anchors, out of values of all references, `(M, ...)` -> `(B, ...)`."""
        return ops.take(values, self.places, axis=0)

    def take_tile(self, cut, embeddings, recorder=None):
        """The references of the anchors of a tile.

        Args:
            cut: a function that takes what is of the tile out of a tensor of all anchors.
            embeddings: those of the references, `(M, D)`, through which gradients are to go.
            recorder: a `Recorder`. Defaults to `None`.
        """
        hidden = None if self.hidden is None else cut(self.hidden)
        return self._replace(
            embeddings=embeddings, places=cut(self.places), hidden=hidden, recorder=recorder
        )

    def share_loss(self, loss):
        """What a replica returns of a loss that is a sum over anchors, as Keras wants it.

        Args:
            loss: the part of this replica's anchors, a scalar.

        Returns:
            The whole loss over the number of replicas, which Keras's logs multiply by it, on every
            replica the same; its gradient is that of the part, which optimizers add up.
        """
        if not self.is_shared:
            return loss
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return loss + ops.stop_gradient(_sum_over_replicas(loss) / replicas - loss)


class Recorder:
    """What `rows.spread` is given for the anchors of a tile: shares are known after the last one.

    Attributes:
        rows: for each call the sums of the terms of each anchor, `(T,)`.
        terms: for each call how many terms there are, a scalar.
    """

    def __init__(self):
        self.rows, self.terms = [], []

    def record(self, rows, terms):
        """Keep both.

        Args:
            rows: shape `(T,)`.
            terms: a scalar.

        Returns:
            Zeros, `(T,)`, in place of the losses.
        """
        self.rows.append(rows)
        self.terms.append(terms)
        return ops.zeros_like(rows)


def of_batch(labels, embeddings):
    """The references of a batch whose images are compared with each other.

    Args:
        labels: shape `(B,)`.
        embeddings: shape `(B, D)`.
    """
    size = ops.shape(labels)[0]
    return References(labels, embeddings, ops.arange(size), size, is_batch=True)


def gather(labels, embeddings=None):
    """The references of one replica of several: what all of them have, in their order.

    Args:
        labels: integers of any width, of this replica, shape `(b,)`.
        embeddings: of the same images, shape `(b, D)`. Defaults to `None`: they are not gathered.

    Returns:
        A `References`, or `None` where a single replica runs.
    """
    context = find_replicas()
    if context is None:
        return None
    size = tf.shape(labels)[0]
    sizes = context.all_gather(size[None], axis=0)  # (r,)
    first = tf.reduce_sum(sizes[: context.replica_id_in_sync_group])
    places = first + tf.range(size)
    labels = context.all_gather(labels, axis=0)
    if embeddings is not None:
        dim = embeddings.shape[1]
        embeddings = tf.ensure_shape(context.all_gather(embeddings, axis=0), (None, dim))
    return References(labels, embeddings, places, tf.shape(labels)[0], is_shared=True)


def find_replicas():
    """The replica context if several replicas train in step, else `None`."""
    if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
        return None
    context = tf.distribute.get_replica_context()
    return context if context.num_replicas_in_sync > 1 else None


def _sum_over_replicas(value):
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, ops.stop_gradient(value))
