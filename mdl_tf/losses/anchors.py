"""Anchors that count: the images of a batch with a positive and a negative beside them.

A loss that compares images learns nothing from the others, and its value does not show it. So the
share that counts is a metric for `compile`, and a loss in `compile` warns once where it is small.
"""

import warnings
import weakref

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mdl_tf.losses import references as refs
from mdl_tf.losses.calling import find_training_model
from mdl_tf.losses.checks import check_labels
from mdl_tf.losses.pairs import anchors_that_count

KEY = "anchors_that_count"
BATCHES = 3  # that are looked at before the verdict
FEW = 0.5  # share below which a warning says so
FEW_AT_ONCE = 0.25  # the same after the first batch, which may be the only one


@keras.saving.register_keras_serializable(package="mdl_tf")
class AnchorsThatCount(keras.metrics.Mean):
    """Share of the images of training that have a positive and a negative in their batch.

    A loss that compares the images of a batch learns from no others: with shuffled batches of 32
    out of 300 classes from 7 %. `batches.balanced` makes batches in which all count. For
    `model.compile(metrics=[AnchorsThatCount()])`; a `MetricModel` has it by itself. The share is of
    all batches of the epoch, an image counted as often as it came. Losses with proxies need no
    positives.

    Args:
        name: key of the logs. Defaults to `"anchors_that_count"`.
        dtype: of the result. Defaults to that of Keras's metrics.

    Raises:
        ValueError: in `update_state`, for labels that a loss refuses.

    Example:

    >>> share = AnchorsThatCount()
    >>> share.update_state(np.array([3, 3, 5, 8]))
    >>> float(share.result())
    0.5
    """

    def __init__(self, name=KEY, dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred=None, sample_weight=None):
        """Add a batch.

        Args:
            y_true: labels, integers `(B,)` or `(B, 1)`.
            y_pred: not looked at.
            sample_weight: weights of the images, `(B,)` or `(B, 1)`. Defaults to `None`, all alike.
        """
        labels = check_labels(y_true)
        references = refs.gather(labels)
        counts = anchors_that_count(labels if references is None else references.labels)
        if references is not None:
            counts = references.take_own(counts)
        if sample_weight is not None:
            sample_weight = ops.reshape(sample_weight, (-1,))
        return super().update_state(ops.cast(counts, self.dtype), sample_weight)


class _Watch:
    """What was seen of the first batches of a training: it warns once, if few anchors count."""

    def __init__(self, loss_name):
        self._loss_name = loss_name
        self._counted = self._without_positive = self._anchors = self._batches = 0

    @property
    def is_over(self):
        return self._batches >= BATCHES

    def look(self, labels):
        """Look at a batch, eagerly; returns nothing.

        Args:
            labels: integers `(B,)`.
        """
        if self.is_over:
            return
        self._batches += 1
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        sizes = sizes[inverse.reshape(-1)]
        self._anchors += len(sizes)
        self._counted += np.count_nonzero((sizes > 1) & (sizes < len(sizes)))
        self._without_positive += np.count_nonzero(sizes == 1)
        few = FEW_AT_ONCE if self._batches == 1 else FEW
        if self._batches in (1, BATCHES) and self._counted < few * self._anchors:
            self._batches = BATCHES
            warn_of_few(self._counted / self._anchors, self._without_positive > 0, self._loss_name)

    def look_in_graph(self, labels, steps_done):
        """The same as a part of a graph, which runs at its first steps.

        Args:
            labels: integers `(B,)`, symbolic.
            steps_done: the variable in which an optimizer counts its steps. A variable of our own
                would be made inside the graph of the step, which is then traced twice.
        """
        with tf.init_scope():
            end = int(steps_done.numpy()) + BATCHES

        def look():
            tf.numpy_function(self.look, [labels], [])
            return True

        # Afterwards a step costs no more than this comparison.
        tf.cond(tf.convert_to_tensor(steps_done) < end, look, lambda: True)


# For each model its losses, each with what was seen: a model is compiled anew with another loss.
_WATCHES = weakref.WeakKeyDictionary()


def watch_batches(loss, labels):
    """Look at the first batches that a loss is trained on by `fit`, for a warning if few count.

    Nothing is done outside of a training step, after the first batches, on other replicas than the
    first, and where XLA compiles the step, which drops side effects.

    Args:
        loss: the loss that `compile` was given.
        labels: integers `(B,)`, of all replicas.
    """
    model = find_training_model()
    is_trained = model is not None and model.optimizer is not None
    if not is_trained or model.jit_compile:
        return
    replicas = refs.find_replicas()
    if replicas is not None and tf.get_static_value(replicas.replica_id_in_sync_group) != 0:
        return
    watches = _WATCHES.setdefault(model, weakref.WeakKeyDictionary())
    watch = watches.setdefault(loss, _Watch(type(loss).__name__))
    if not tf.executing_eagerly():
        if not watch.is_over:
            watch.look_in_graph(labels, model.optimizer.iterations)
    elif not watch.is_over:
        watch.look(np.asarray(labels))


def warn_of_few_in(batches, loss_name):
    """Warn if few anchors of some batches count.

    Args:
        batches: an iterable of labels, integers `(B,)`; the first ones are looked at.
        loss_name: class of the loss, for the message.
    """
    watch = _Watch(loss_name)
    for labels in batches:
        watch.look(labels)
        if watch.is_over:
            return


def warn_of_few(share, lack_positives, loss_name):
    """Say that few anchors count, and what to do.

    Args:
        share: of the anchors that count, 0 to 1.
        lack_positives: whether the others lack positives; else they lack negatives.
        loss_name: class of the loss.
    """
    lacking = "another image of their class" if lack_positives else "an image of another class"
    warnings.warn(
        f"Only {share:.0%} of the anchors in the first batches count: the others have not "
        f"{lacking} in their batch, so {loss_name} learns nothing from them. Make batches of "
        "several images of each of several classes: stream = mdl_tf.batches.balanced(train, "
        "classes_per_batch=8, images_per_class=4); model.fit(stream, steps_per_epoch=100, "
        "shuffle=False). The share of an epoch is a metric: "
        "compile(metrics=[mdl_tf.losses.AnchorsThatCount()])",
        stacklevel=2,
    )
