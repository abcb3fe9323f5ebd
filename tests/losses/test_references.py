"""Anchors against references: shares of a batch give the rows of the whole; masks hide pairs."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.batches import mixed_batch
from helpers.loss_rows import ROWS

from mdl_tf.losses import LOSSES, references
from mdl_tf.losses.pairs import local_ids, pair_masks
from mdl_tf.losses.references import References, of_batch

LABELS, EMBEDDINGS = mixed_batch(0, 6, "float64")
BY_ROWS = [
    row
    for row, (name, settings, _) in ROWS.items()
    if "references" in LOSSES[name].function.__signature__.parameters
    and not settings.get("learn_beta")
]


def compute(row, labels, embeddings, shared=None):
    """Losses of the anchors, and their gradient to all embeddings, in float64."""
    name, settings, _ = ROWS[row]
    embeddings = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        anchors = embeddings
        if shared is not None:
            shared = shared._replace(embeddings=embeddings)
            anchors = embeddings[int(shared.places[0]) : int(shared.places[-1]) + 1]
        losses = LOSSES[name](**settings, dtype="float64").compute(labels, anchors, shared)
        total = tf.reduce_sum(losses)
    return losses.numpy(), tape.gradient(total, embeddings).numpy()


@pytest.mark.parametrize("row", BY_ROWS)
def test_shares_of_a_batch_give_the_whole(row, monkeypatch):
    labels = local_ids(tf.constant(LABELS))
    whole, gradient = compute(row, labels, EMBEDDINGS)
    size = len(LABELS)
    # Of unequal size, as the last batch of a set may leave them.
    cuts = [0, 2, size // 2 + 1, size]
    counts = []

    def run(total):
        monkeypatch.setattr(references, "_sum_over_replicas", total)
        parts = []
        for first, end in zip(cuts[:-1], cuts[1:], strict=True):
            counts.append([])
            places = tf.range(first, end)
            shared = References(labels, None, places, size, is_shared=True)
            parts.append(compute(row, labels[first:end], EMBEDDINGS, shared))
        return parts

    def note(value):
        counts[-1].append(value.numpy())
        return value

    run(note)
    sums = np.sum(counts, axis=0)
    counts.clear()

    def look_up(value):
        counts[-1].append(value)
        return tf.constant(sums[len(counts[-1]) - 1], value.dtype)

    parts = run(look_up)
    assert len(sums), "it counts nothing over the replicas"
    np.testing.assert_allclose(np.concatenate([losses for losses, _ in parts]), whole, rtol=1e-9)
    np.testing.assert_allclose(sum(each for _, each in parts), gradient, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("row", BY_ROWS)
def test_what_is_hidden_is_as_if_it_were_not_there(row):
    labels = local_ids(tf.constant(LABELS))
    more = tf.concat([labels, labels[:3]], 0)
    embeddings = np.concatenate([EMBEDDINGS, EMBEDDINGS[:3] + 5.0])
    size = len(LABELS)
    hidden = np.zeros((size, size + 3), bool)
    hidden[:, size:] = True
    shared = References(more, None, tf.range(size), size, tf.constant(hidden))
    losses, gradient = compute(row, labels, embeddings, shared)
    whole, its_gradient = compute(row, labels, EMBEDDINGS)
    # Distances are taken from another centre.
    np.testing.assert_allclose(losses, whole, rtol=1e-6)
    np.testing.assert_allclose(gradient[:size], its_gradient, rtol=1e-5, atol=1e-8)
    assert not gradient[size:].any()
    seen, _ = compute(row, labels, embeddings, shared._replace(hidden=None))
    assert not np.allclose(seen, whole, rtol=1e-6)


def test_no_image_is_compared_with_itself_wherever_it_stands():
    labels = tf.constant([0, 1, 0, 0])
    shared = References(labels, None, tf.constant([2, 3]), 4)
    positives, negatives = pair_masks(labels[2:], shared)
    np.testing.assert_array_equal(positives, [[1, 0, 0, 1], [1, 0, 1, 0]])
    np.testing.assert_array_equal(negatives, [[0, 1, 0, 0], [0, 1, 0, 0]])


def test_a_batch_is_its_own_references():
    whole = of_batch(tf.constant([3, 4, 3]), tf.zeros((3, 2)))
    assert int(whole.anchors) == 3 and not whole.is_shared
    assert whole.total(5) == 5 and whole.share_loss(7) == 7
