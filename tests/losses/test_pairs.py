"""Masks and orders from labels, beside plain Python."""

import numpy as np
import pytest
import tensorflow as tf

from mdl_tf.losses.pairs import class_order, local_ids, pair_masks

BATCHES = {
    "mixed": [7, 3, 7, -5, 3, 7, 2**62, 3, 3],
    "sorted": [1, 1, 2, 2, 2],
    "one class": [4, 4, 4],
    "all distinct": [3, 1, 2],
    "one image": [9],
    "ids that floats merge": [2**24 + 1, 2**24, 2**24 + 1, 2**53, 2**53 + 1],
}
every_batch = pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
every_mode = pytest.mark.parametrize("jit", [False, True])


def run(function, labels, jit):
    return tf.function(function, jit_compile=jit)(tf.constant(labels, tf.int64))


@every_mode
@every_batch
def test_positives_and_negatives(labels, jit):
    positives, negatives = run(pair_masks, labels, jit)
    for i, own in enumerate(labels):
        for j, other in enumerate(labels):
            assert bool(positives[i, j]) == (own == other and i != j)
            assert bool(negatives[i, j]) == (own != other)


@every_mode
@every_batch
def test_class_order(labels, jit):
    order, first, rank, images = (t.numpy() for t in run(class_order, labels, jit))
    assert order.tolist() == sorted(range(len(labels)), key=lambda i: labels[i])
    for i, own in enumerate(labels):
        assert first[i] == sum(other < own for other in labels)
        assert rank[i] == sum(labels[j] == own for j in range(i))
        assert images[i] == labels.count(own)
        assert order[first[i] + rank[i]] == i


@every_mode
@every_batch
def test_local_ids_are_small_and_equal_where_the_labels_are(labels, jit):
    ids = run(local_ids, labels, jit).numpy()
    assert ((ids >= 0) & (ids < len(labels))).all()
    labels = np.array(labels)
    np.testing.assert_array_equal(ids[:, None] == ids[None], labels[:, None] == labels[None])
