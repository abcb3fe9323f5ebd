"""Cross-batch memory: what anchors are compared with beside their batch, and what they are not."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.loss_rows import ROWS

from mdl_tf import load_model, losses
from mdl_tf.losses import MarginDiscriminateLoss, MetricModel, WeightedSum
from mdl_tf.losses.cross_batch_memory import CrossBatchMemory
from mdl_tf.losses.references import of_batch

RNG = np.random.default_rng(0)
DIM = 4
PAIR_LOSSES = [
    row
    for row, (name, settings, _) in ROWS.items()
    if name != "n_pairs" and "num_classes" not in settings
]
# Sums of means over different pairs.
TWO_MEANS = ("contrastive", "margin-learned")


def batch(seed, size=8):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, DIM)).astype(np.float32)
    return rng.integers(0, 3, size), x / np.linalg.norm(x, axis=1, keepdims=True)


def remember(memory, *batches):
    for labels, x, images in batches:
        memory.add(tf.constant(labels), tf.constant(x), None if images is None else images)


def beside(loss, memory, labels, x, images=None):
    with loss.beside(memory, None if images is None else tf.constant(images)):
        return loss(labels, x)


@pytest.mark.parametrize("row", PAIR_LOSSES)
def test_equals_the_loss_of_these_anchors_among_all_images(row):
    """Of batch and memory as one batch: what the batch's anchors add to it.

    A loss is a mean over terms, so that of two groups of anchors is theirs weighted by their terms:
    the memory's images as anchors, with the batch as their memory, make up the rest.
    """
    name, settings, _ = ROWS[row]
    (labels, x), (old_labels, old) = batch(0), batch(1, 12)
    all_labels, both = np.concatenate([labels, old_labels]), np.concatenate([x, old])
    has_tiles = "tile" in inspect.signature(getattr(losses, f"{name}_loss")).parameters
    for tile in (None, 3) if has_tiles else (None,):
        loss = losses.LOSSES[name](**settings, **({"tile": tile} if has_tiles else {}))
        loss.attach({n: tf.constant(1.1) for n in loss.weight_specs(DIM)})
        # Of each anchor: its share of the whole, B / terms times its rows.
        rows = loss.compute(tf.constant(all_labels), tf.constant(both)).numpy()
        parts = []
        for mine, others in ((slice(0, 8), slice(8, 20)), (slice(8, 20), slice(0, 8))):
            memory = CrossBatchMemory(16, DIM)
            count = len(all_labels[others])
            remember(memory, (all_labels[others], both[others], np.arange(100, 100 + count)))
            references = of_batch(tf.constant(all_labels[mine]), tf.constant(both[mine]))
            references = memory.extend(references, all_labels[mine], np.arange(20)[mine])
            parts.append(loss.compute(all_labels[mine], both[mine], references).numpy())
            rows_of_mine = rows[mine]
            # The same up to one factor where a loss is one mean.
            if row not in TWO_MEANS:
                ratio = parts[-1] @ rows_of_mine / (rows_of_mine @ rows_of_mine)
                np.testing.assert_allclose(
                    parts[-1], ratio * rows_of_mine, rtol=1e-4, atol=1e-5 * np.abs(parts[-1]).max()
                )
                assert 0.3 < ratio < 3
        value = beside(loss, remembered(old_labels, old), labels, x, np.arange(8))
        np.testing.assert_allclose(value, parts[0].mean(), rtol=1e-5)
        assert abs(float(value) - float(loss(labels, x))) > 1e-4


def remembered(labels, x):
    memory = CrossBatchMemory(16, DIM)
    remember(memory, (labels, x, np.arange(100, 100 + len(labels))))
    return memory


def masks(memory, labels, images=None):
    references = of_batch(tf.constant(labels), tf.zeros((len(labels), DIM)))
    extended = memory.extend(references, tf.constant(labels), images)
    return extended.hidden.numpy()[:, len(labels) :]


def test_an_image_is_not_compared_with_its_own_older_copy():
    labels, x = np.array([0, 0, 1]), batch(0, 3)[1]
    memory = CrossBatchMemory(5, DIM)
    remember(memory, (labels, x, np.array([7, 8, 9])))
    hidden = masks(memory, np.array([0, 1]), np.array([8, 5]))
    # Its own copy and two empty places; of the other image the empty places alone.
    assert hidden.tolist() == [[False, True, False, True, True], [False, False, False, True, True]]


def test_without_numbers_only_negatives_come_from_the_memory():
    memory = CrossBatchMemory(3, DIM)
    remember(memory, (np.array([0, 0, 1]), batch(0, 3)[1], None))
    assert masks(memory, np.array([0, 1])).tolist() == [[True, True, False], [False, False, True]]


def test_the_oldest_go_first_and_old_ones_are_hidden():
    memory = CrossBatchMemory(5, DIM, start=2, age=2)
    none = np.array([50])
    for step in range(4):
        images = np.array([2 * step, 2 * step + 1])
        assert masks(memory, none, none).all() == (step < 2), "start"
        remember(memory, (images, np.full((2, DIM), step, np.float32), images))
    assert sorted(np.asarray(memory._images)) == [3, 4, 5, 6, 7]
    hidden = masks(memory, none, none)[0]
    shown = np.asarray(memory._images)[~hidden]
    assert sorted(shown) == [4, 5, 6, 7], "of the last two steps"
    # Of a batch that is larger than the memory the last ones.
    remember(memory, (np.arange(9), np.zeros((9, DIM), np.float32), np.arange(20, 29)))
    assert sorted(np.asarray(memory._images)) == [24, 25, 26, 27, 28]


def model_of(loss=None, **options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    outputs = keras.layers.UnitNormalization()(keras.layers.Dense(DIM)(inputs))
    model = MetricModel(keras.Model(inputs, outputs), loss or MarginDiscriminateLoss(), **options)
    model.compile(keras.optimizers.SGD(0.1))
    return model


X = RNG.normal(size=(4, 8, 5)).astype(np.float32)
LABELS, IMAGES = RNG.integers(0, 4, (4, 8)), np.arange(32).reshape(4, 8)


def train(model, steps, numbered=True):
    values = []
    for step in steps:
        y = {"labels": LABELS[step], "images": IMAGES[step]} if numbered else LABELS[step]
        data = tf.data.Dataset.from_tensors((X[step], y))
        values.append(model.fit(data, verbose=0, shuffle=False).history["loss"][0])
    return values


def test_is_used_from_a_step_on_and_goes_on_after_loading(tmp_path):
    plain, late = train(model_of(), range(4)), train(model_of(memory=64, memory_start=2), range(4))
    np.testing.assert_allclose(late[:2], plain[:2], rtol=1e-5)
    assert abs(late[2] - plain[2]) > 1e-3
    model = model_of(memory=64, memory_start=2)
    train(model, range(3))
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert (again.memory.size, again.memory.start, again.memory.age) == (64, 2, None)
    np.testing.assert_allclose(train(again, [3]), late[3:], rtol=1e-5)
    # Nothing of it is in what is searched with, or trained.
    assert len(again.embedder.weights) == 2
    assert len(again.trainable_variables) == 2
    # Neither evaluation nor prediction touches it.
    step = int(again.memory._step)
    value = again.evaluate(X[0], LABELS[0], verbose=0, return_dict=True)["loss"]
    expected = float(again.metric_loss(LABELS[0], again.predict(X[0], verbose=0)))
    assert value == pytest.approx(expected, rel=1e-5)
    assert int(again.memory._step) == step == 4


@pytest.mark.slow
@pytest.mark.parametrize("mode", [{"jit_compile": True}, {"run_eagerly": True}])
def test_in_every_mode_and_with_micro_batches(mode):
    expected = train(model_of(memory=20), range(4))
    model = model_of(memory=20, micro_batch=3)
    model.compile(keras.optimizers.SGD(0.1), **mode)
    np.testing.assert_allclose(train(model, range(4)), expected, rtol=1e-4)


def test_sums_of_losses_use_it_for_the_parts_that_compare_images():
    loss = WeightedSum([(MarginDiscriminateLoss(), 1.0), (losses.ProxyNCALoss(4), 0.5)])
    model = model_of(loss, memory=64)
    history = train(model, range(2))
    assert np.isfinite(history).all()
    assert int(model.memory._step) == 2


def test_what_it_cannot_be():
    with pytest.raises(ValueError, match="`memory` needs a loss that compares images"):
        model_of(losses.ProxyNCALoss(4), memory=8)
    with pytest.raises(ValueError, match="`memory` needs a loss of anchors against single images"):
        model_of(losses.NPairsLoss(), memory=8)
    for options in (
        {"memory": -1},
        {"memory": 8, "memory_start": -1},
        {"memory": 8, "memory_age": 0},
    ):
        with pytest.raises(ValueError, match="`memory.*` must be an integer"):
            model_of(**options)
    with pytest.raises(ValueError, match="Labels must be integers, or a dict of `labels` and"):
        train_on = tf.data.Dataset.from_tensors((X[0], {"labels": LABELS[0], "ids": IMAGES[0]}))
        model_of(memory=8).fit(train_on, verbose=0)
