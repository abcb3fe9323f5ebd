"""Masks of positive and negative pairs, ids and orders, from labels alone."""

import tensorflow as tf
from keras import ops


def pair_masks(labels, references=None):
    """Masks of the positive and of the negative pairs of a batch.

    Args:
        labels: class of each image, integers of any width, shape `(B,)`.
        references: the `References` that they are compared with, M images. Defaults to `None`: each
            other.

    Returns:
        positives `(B, M)`: True at [i, j] iff i and j are distinct and share a label.
        negatives `(B, M)`: True at [i, j] iff i and j have different labels.
    """
    others, places = (references.labels, references.places) if references else (labels, None)
    same = ops.equal(labels[:, None], others[None, :])
    # By index, not by distance 0: duplicates are positives of each other.
    index = ops.arange(ops.shape(others)[0])
    itself = ops.equal((index if places is None else places)[:, None], index[None, :])
    positives, negatives = ops.logical_and(same, ops.logical_not(itself)), ops.logical_not(same)
    if references is None or references.hidden is None:
        return positives, negatives
    shown = ops.logical_not(references.hidden)
    return ops.logical_and(positives, shown), ops.logical_and(negatives, shown)


def local_ids(labels):
    """Ids of a batch's classes that any float type of 24 bits holds exactly.

    Args:
        labels: integers of any width, shape `(B,)`.

    Returns:
        Integers in `[0, B)`, int32, shape `(B,)`, equal exactly where the labels are: the number of
        the class among those of the batch. In memory that grows with B.
    """
    _, _, ids = _sort_by_class(labels)
    return ids


def _sort_by_class(labels):
    """The images class by class; and of each its place there, and the number of its class."""
    # Not by `tf.searchsorted`, which is B^2 comparisons in as much memory under XLA.
    order = tf.argsort(labels, stable=True)
    ordered = tf.gather(labels, order)
    begins = tf.cast(ordered != tf.roll(ordered, 1, axis=0), tf.int32)
    places = tf.argsort(order)
    return order, places, tf.gather(tf.cumsum(begins) - begins[:1], places)


def anchors_that_count(labels):
    """Mask of the images that have a positive and a negative, in memory that grows with B.

    Args:
        labels: integers of any width, shape `(B,)`.

    Returns:
        Booleans, shape `(B,)`.
    """
    _, _, _, images = class_order(labels)
    return ops.logical_and(images > 1, images < ops.shape(labels)[0])


def class_order(labels):
    """The batch sorted by class, in memory that grows with B.

    Args:
        labels: integers of any width, shape `(B,)`.

    Returns:
        Four int32 tensors of shape `(B,)`: the indices of the images class by class, each in the
        order of the batch; and of each image where its class begins there, how many images of its
        class come before it, and how many images the class has.
    """
    order, places, ids = _sort_by_class(labels)
    size = tf.size(labels)
    first = tf.gather(tf.math.unsorted_segment_min(places, ids, size), ids)
    images = tf.gather(tf.math.unsorted_segment_sum(tf.ones_like(ids), ids, size), ids)
    return order, first, places - first, images
