"""Anchors that count: the metric, and the warning where few do."""

import warnings

import keras
import numpy as np
import pytest
from helpers import slow_but

from mdl_tf import batches
from mdl_tf.datasets import ImageSet
from mdl_tf.losses import (
    LOSSES,
    AnchorsThatCount,
    ArcFaceLoss,
    MarginDiscriminateLoss,
    MetricModel,
    NPairsLoss,
    ProxyAnchorLoss,
    TripletLoss,
    WeightedSum,
)

RNG = np.random.default_rng(0)
SHUFFLED = RNG.permutation(np.repeat(np.arange(60), 4))  # batches of 16: about a quarter counts
BALANCED = np.tile(np.repeat(np.arange(4), 4), 15)
X = RNG.normal(size=(240, 5)).astype(np.float32)
MODES = {"graph": {}, "eager": {"run_eagerly": True}, "xla": {"jit_compile": True}}


def embedder():
    inputs = keras.Input((5,))
    return keras.Model(inputs, keras.layers.Dense(3)(inputs))


def fit(model, labels, epochs=1, images=None, **options):
    """What `fit` logs, and the warnings of this library."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = X[: len(labels)] if images is None else images
        history = model.fit(
            images, labels, batch_size=16, epochs=epochs, verbose=0, shuffle=False, **options
        ).history
    return history, [str(w.message) for w in caught if "anchors" in str(w.message)]


def share(labels, size=16):
    """By counting, batch by batch."""
    counted = 0
    for i in range(0, len(labels), size):
        batch = list(labels[i : i + size])
        counted += sum(batch.count(label) > 1 and len(set(batch)) > 1 for label in batch)
    return counted / len(labels)


LABELS = {
    "few": SHUFFLED,
    "short last batch": SHUFFLED[:231],
    "all": BALANCED,
    "none": np.arange(240),
    "one class": np.zeros(240, np.int64),
    "large ids": SHUFFLED.astype(np.int64) + 2**53,
    "column": SHUFFLED[:, None],
    "int32": SHUFFLED.astype(np.int32),
}


@pytest.mark.parametrize("mode", slow_but(("graph",), MODES))
def test_the_metric_is_the_share_of_the_epoch(mode):
    for name, labels in LABELS.items():
        if mode != "graph" and name not in ("few", "short last batch"):
            continue
        model = embedder()
        model.compile("sgd", TripletLoss(), metrics=[AnchorsThatCount()], **MODES[mode])
        history, _ = fit(model, labels, epochs=2)
        expected = share(labels.reshape(-1))
        assert history["anchors_that_count"] == pytest.approx([expected] * 2), name


def test_the_metric_alone():
    metric = AnchorsThatCount(name="share")
    metric.update_state(np.array([3, 3, 5, 8]))
    metric.update_state(np.array([1, 1]))  # no negative
    assert float(metric.result()) == pytest.approx(2 / 6)
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(np.array([3, 3, 5, 8]), sample_weight=np.array([1.0, 0.0, 1.0, 0.0]))
    assert float(metric.result()) == 0.5
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is AnchorsThatCount and again.name == "share"
    for labels, message in (
        (np.eye(3), "One-hot labels"),
        (np.array(["a", "b"]), "number names by"),
        (np.array([0.0, 1.0]), "must be integer class ids"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update_state(labels)


@pytest.mark.parametrize("mode", MODES)
def test_one_warning_if_few_anchors_count(mode):
    model = embedder()
    model.compile("sgd", TripletLoss(), **MODES[mode])
    _, found = fit(model, SHUFFLED, epochs=3)
    # XLA drops side effects: there `RetrievalMetrics` looks at the training data.
    assert len(found) == (mode != "xla")
    for message in found:
        assert "of the anchors in the first batches count" in message
        assert "TripletLoss" in message and "batches.balanced" in message


@pytest.mark.parametrize(
    ("name", "loss", "labels", "expected"),
    [
        ("balanced", TripletLoss(), BALANCED, None),
        ("proxies need no positives", ArcFaceLoss(60), SHUFFLED, None),
        ("a single batch", MarginDiscriminateLoss(), np.arange(16), "Only 0% of the anchors"),
        ("a last short batch", TripletLoss(), BALANCED[: 16 * 3 + 2], None),
        ("no negatives", TripletLoss(), np.zeros(64, int), "an image of another class in"),
        ("one positive is used", NPairsLoss(), SHUFFLED, "NPairsLoss learns nothing"),
        ("sum", WeightedSum([TripletLoss(), ArcFaceLoss(60)]), SHUFFLED, "WeightedSum learns"),
        ("sum of proxies", WeightedSum([ArcFaceLoss(60)]), SHUFFLED, None),
    ],
)
def test_who_is_warned(name, loss, labels, expected):
    model = MetricModel(embedder(), loss)
    model.compile("sgd")
    history, found = fit(model, labels)
    assert ("anchors_that_count" in history) == loss.compares_images
    assert [expected in message for message in found] == [True] * (expected is not None)


def test_every_loss_says_whether_it_compares_images():
    settings = {"num_classes": 3}
    for name, loss in LOSSES.items():
        arguments = settings if loss.positives == "none" else {}
        assert loss(**arguments).compares_images == (loss.positives != "none"), name


def test_streams_of_batches_balanced_never_warn():
    labels = np.repeat(np.arange(9), 3)
    features = RNG.normal(size=(27, 5)).astype(np.float32)
    image_set = ImageSet("set", labels, tuple("abcdefghi"), features=features)
    stream = batches.balanced(image_set, 2, 5, short_classes="repeat")
    model = embedder()
    model.compile("sgd", TripletLoss(), metrics=[AnchorsThatCount()])
    history, found = fit(model, None, images=stream, steps_per_epoch=5)
    assert history["anchors_that_count"] == [1.0]
    assert found == []


def test_evaluation_and_losses_called_by_hand_say_nothing():
    model = embedder()
    model.compile("sgd", loss := TripletLoss())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(X, SHUFFLED, batch_size=16, verbose=0)
        for _ in range(4):
            loss(np.arange(16), X[:16])
    _, found = fit(model, SHUFFLED)
    assert len(found) == 1


def test_proxies_are_not_counted_in_a_metric_model():
    model = MetricModel(embedder(), ProxyAnchorLoss(60))
    model.compile("sgd")
    assert set(fit(model, SHUFFLED)[0]) == {"loss"}
    assert isinstance(model.evaluate(X, SHUFFLED, verbose=0), float)


def test_looking_does_not_make_keras_trace_a_step_twice():
    traces = []

    class Counting(keras.Model):
        def train_step(self, data):
            traces.append(data)
            return super().train_step(data)

    inputs = keras.Input((5,))
    model = Counting(inputs, keras.layers.Dense(3)(inputs))
    model.compile("sgd", MarginDiscriminateLoss())
    # Keras's own variables, which it would make inside the step.
    model.optimizer.build(model.trainable_variables)
    _, warned = fit(model, SHUFFLED)
    assert len(warned) == 1
    assert len(traces) == 1
