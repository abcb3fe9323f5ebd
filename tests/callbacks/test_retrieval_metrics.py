"""RetrievalMetrics and its order among Keras's callbacks, through `fit`."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mdl_tf.callbacks import RetrievalMetrics, standard_callbacks
from mdl_tf.datasets import ImageSet
from mdl_tf.losses import MarginDiscriminateLoss
from mdl_tf.metrics import evaluate

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(6), 5)
IMAGES = (RNG.normal(size=(6, 2, 2, 3)).repeat(5, axis=0) + RNG.normal(size=(30, 2, 2, 3))).astype(
    np.float32
)
IMAGE_SET = ImageSet("set", LABELS, tuple("abcdef"), images=np.zeros((30, 2, 2, 3), np.uint8))
KEYS = {
    *(f"val_recall_at_{k}" for k in (1, 2, 4, 8)),
    *("val_r_precision", "val_map_at_r", "val_strict_discrimination", "val_violated_anchors"),
    *("val_mean_positive_distance", "val_mean_negative_distance"),
}


def stream():
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(8)


def model(rate=0.05):
    embedder = keras.Sequential(
        [
            keras.Input((2, 2, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(seed=1)),
            keras.layers.UnitNormalization(),
        ]
    )
    embedder.compile(keras.optimizers.SGD(rate), loss=MarginDiscriminateLoss())
    return embedder


def fit(callbacks, epochs=3, **options):
    return model(**options).fit(
        IMAGES, LABELS, batch_size=30, epochs=epochs, callbacks=callbacks, verbose=0
    )


def test_every_key_is_a_python_float_in_every_epoch():
    history = fit([RetrievalMetrics(stream(), clustering_every=2)], epochs=4).history
    assert set(history) == KEYS | {"loss", "val_nmi", "val_f1"}
    for values in history.values():
        assert len(values) == 4
        assert all(type(value) is float and np.isfinite(value) for value in values)
    json.dumps(history)


@pytest.mark.parametrize(
    "validation", [stream, lambda: (IMAGES, LABELS), lambda: (IMAGES, LABELS[:, None])]
)
def test_values_are_those_of_evaluate(validation):
    embedder = model()
    callback = RetrievalMetrics(validation(), ks=(1, 3), margin=0.1)
    history = embedder.fit(
        IMAGES, LABELS, batch_size=30, epochs=2, callbacks=[callback], verbose=0
    ).history
    embeddings = embedder.predict(IMAGES, verbose=0)
    expected = evaluate(embeddings, LABELS, ks=(1, 3), margin=0.1)
    for key in ("recall_at_1", "recall_at_3", "map_at_r", "violated_anchors"):
        assert history[f"val_{key}"][-1] == pytest.approx(expected[key])
    d = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=2)
    same = LABELS[:, None] == LABELS[None]
    positive = d[same & ~np.eye(30, dtype=bool)].mean()
    assert history["val_mean_positive_distance"][-1] == pytest.approx(positive, rel=1e-4)
    assert history["val_mean_negative_distance"][-1] == pytest.approx(d[~same].mean(), rel=1e-4)
    assert len(callback.distances[0]) in (60, 120)


def test_between_evaluations_the_last_values_stand():
    history = fit([RetrievalMetrics(stream(), every=3)], epochs=5).history
    distance = history["val_mean_positive_distance"]
    assert distance[0] == distance[1] == distance[2] != distance[3] == distance[4]


class Scripted(RetrievalMetrics):
    """Recall that rises and then falls."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        logs["val_recall_at_1"] = [0.2, 0.6, 0.5, 0.4, 0.3, 0.2][epoch]


def test_early_stopping_checkpoint_and_tensorboard_see_the_keys(tmp_path):
    callbacks = standard_callbacks(
        Scripted(stream()),
        checkpoint=tmp_path / "best.keras",
        patience=2,
        log_dir=tmp_path / "logs",
    )
    kinds = [type(callback).__name__ for callback in callbacks]
    assert kinds == ["Scripted", "ModelCheckpoint", "EarlyStopping", "TensorBoard"]
    history = fit(callbacks, epochs=6)
    assert len(history.epoch) == 4, "two epochs without a better value after the second"
    assert callbacks[1].best == 0.6
    assert (tmp_path / "best.keras").exists()

    scalars, histograms = {}, set()
    for path in (tmp_path / "logs" / "validation").glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                if plugin == "scalars":
                    scalars.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
                elif plugin == "histograms":
                    histograms.add(value.tag)
    assert scalars["epoch_recall_at_1"] == pytest.approx([0.2, 0.6, 0.5, 0.4])
    assert {"epoch_mean_negative_distance", "epoch_violated_anchors"} <= set(scalars)
    assert histograms == {"distances/positive", "distances/negative"}


class Improving(RetrievalMetrics):
    """Violated anchors that become fewer and then more."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        logs["val_violated_anchors"] = [0.8, 0.4, 0.5, 0.6, 0.7, 0.9][epoch]


def test_callbacks_know_where_less_is_better(tmp_path):
    callbacks = standard_callbacks(
        Improving(stream()),
        monitor="val_violated_anchors",
        checkpoint=tmp_path / "best.keras",
        patience=2,
    )
    history = fit(callbacks, epochs=6)
    assert len(history.epoch) == 4, "two epochs without a better value after the second"
    assert callbacks[1].best == callbacks[2].best == 0.4


def test_collapse_shows_as_distances_of_zero_and_recall_of_zero():
    embedder = keras.Sequential(
        [
            keras.Input((2, 2, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_initializer="zeros", bias_initializer="ones"),
        ]
    )
    embedder.compile(keras.optimizers.SGD(0.0), loss=MarginDiscriminateLoss())
    logs = embedder.fit(IMAGES, LABELS, callbacks=[RetrievalMetrics(stream())], verbose=0).history
    assert logs["val_mean_positive_distance"] == [0.0]
    assert logs["val_mean_negative_distance"] == [0.0]
    assert logs["val_recall_at_1"] == [0.0]
    assert logs["val_violated_anchors"] == [1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetrievalMetrics(stream(), every=0), "`every` must be an integer, at least 1."),
        (lambda: RetrievalMetrics(stream(), clustering_every=-1), "Received: clustering_every=-1"),
        (lambda: RetrievalMetrics(stream(), ks=(2, 0)), "`ks` must be positive integers, such as"),
        (
            lambda: RetrievalMetrics(stream(), margin=-1),
            "`margin` must be a number, at least 0.",
        ),
        (lambda: RetrievalMetrics(stream().repeat()), "Received: an endless stream"),
        (
            lambda: RetrievalMetrics(IMAGE_SET),
            "`batches.ordered(validation)`, or a pair of arrays.",
        ),
        (
            lambda: standard_callbacks(RetrievalMetrics(stream(), ks=(2, 4))),
            "`monitor` must be a key of `retrieval_metrics`: val_recall_at_2, val_recall_at_4,",
        ),
        (lambda: standard_callbacks(stream()), "`retrieval_metrics` must be a `RetrievalMetrics`."),
        (
            lambda: fit([RetrievalMetrics((IMAGES[:3], np.arange(3)))]),
            "all alone in their class",
        ),
        (
            lambda: fit([RetrievalMetrics(tf.data.Dataset.from_tensor_slices(IMAGES).batch(8))]),
            "`validation` must be batches of (images, labels)",
        ),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ValueError) as raised:
        make()
    assert message in str(raised.value)
