"""RetrievalMetrics and its order among Keras's callbacks, through `fit`."""

import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from mdl_tf import batches
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
BALANCED = batches.balanced(IMAGE_SET, 2, 2, (2, 2))
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
        (lambda: RetrievalMetrics(BALANCED), "Received: an endless stream"),
        (lambda: RetrievalMetrics("photos"), "Received: validation=str"),
        (lambda: RetrievalMetrics(b for b in stream()), "a generator, which can be read once"),
        (lambda: RetrievalMetrics(iter(stream())), "which can be read once. Pass a list of its"),
        (lambda: RetrievalMetrics(stream(), prefix=1), "`prefix` must be a string."),
        (
            lambda: standard_callbacks(RetrievalMetrics(stream()), checkpoint="best.h5"),
            "`checkpoint` must end in .keras",
        ),
        (lambda: RetrievalMetrics().measure(model()), "`validation` must be given for `measure`."),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ValueError) as raised:
        make()
    assert message in str(raised.value)


# ------------------------------------------------------------------- before the first step


class NoStep(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        raise AssertionError("a step was made")


def two_outputs():
    inputs = keras.Input((2, 2, 3))
    flat = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(4, name=name)(flat) for name in ("classes", "embedding")]
    network = keras.Model(inputs, outputs, name="two")
    network.compile("sgd", [None, MarginDiscriminateLoss()])
    return network


def maps():
    inputs = keras.Input((2, 2, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(4, 1)(inputs))
    network.compile("sgd", "mse")
    return network


def mapped(function):
    return lambda: RetrievalMetrics(stream().map(function))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetrievalMetrics((IMAGES[:3], np.arange(3))), "3 images, all alone in their"),
        (lambda: RetrievalMetrics((IMAGES, LABELS * 0)), "Received: 30 images of one class"),
        (mapped(lambda x, y: x), "must be batches of (images, labels)"),
        (lambda: RetrievalMetrics(IMAGES), "Received: images without labels"),
        (mapped(lambda x, y: {"pixels": x, "class": y}), "dicts with the keys"),
        (lambda: RetrievalMetrics((IMAGES, LABELS[:9])), "Received: 30 images and 9 labels"),
        (lambda: RetrievalMetrics((IMAGES, np.ones((30, 4)))), "one class for each image"),
        (lambda: RetrievalMetrics((IMAGES, LABELS + 0.5)), "one class for each image"),
        (mapped(lambda x, y: (x[:, :1], y)), "of the shape that the model takes, (B, 2, 2, 3)"),
        (lambda: RetrievalMetrics([]), "Received: no images"),
        (lambda: RetrievalMetrics(stream().take(0)), "Received: no images"),
        (lambda: RetrievalMetrics(), "`fit` must have `validation_data`. Received: neither"),
        (lambda: RetrievalMetrics(stream(), output="logits"), "Received: output='logits'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_first_step(make, message):
    with pytest.raises(ValueError) as raised:
        fit([make(), NoStep()])
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (two_outputs, "such as output='classes'. Received: output=None, and a model 'two' with"),
        (maps, "maps (B, h, w, c) that are not pooled"),
    ],
)
def test_a_network_that_gives_no_embeddings_is_refused_before_the_first_step(network, message):
    with pytest.raises(ValueError) as raised:
        network().fit(IMAGES, LABELS, verbose=0, callbacks=[RetrievalMetrics(stream()), NoStep()])
    assert message in str(raised.value)


def test_a_checkpoint_that_could_not_be_loaded_is_refused_before_the_first_step(tmp_path):
    whole = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.h5"))
    with pytest.raises(ValueError, match="must write a .keras file"):
        fit([RetrievalMetrics(stream()), whole, NoStep()])
    path = tmp_path / "best.weights.h5"
    weights = keras.callbacks.ModelCheckpoint(str(path), save_weights_only=True)
    fit([RetrievalMetrics(stream()), weights], epochs=1)
    assert path.is_file()


def test_a_network_that_ends_in_classes_is_told_of():
    network = keras.Sequential(
        [keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
    )
    network.compile("sgd", MarginDiscriminateLoss())
    with pytest.warns(UserWarning, match="ends in the probabilities of classes"):
        network.fit(IMAGES, LABELS, verbose=0, callbacks=[RetrievalMetrics(stream())])


def test_a_named_output_is_measured():
    network = two_outputs()
    callback = RetrievalMetrics(stream(), output="embedding")
    labels = {"classes": LABELS, "embedding": LABELS}
    history = network.fit(IMAGES, labels, verbose=0, callbacks=[callback]).history
    expected = evaluate(network.predict(IMAGES, verbose=0)[1], LABELS)
    assert history["val_map_at_r"] == [pytest.approx(expected["map_at_r"])]


NAMES = np.array(["ant", "bee", "cat", "dog", "eel", "fox"])[LABELS]


@pytest.mark.parametrize(
    "validation",
    [
        lambda: list(stream()),
        lambda: stream().map(lambda x, y: (x, y, tf.ones(tf.shape(y)))),
        lambda: (IMAGES, np.eye(6)[LABELS]),
        lambda: (IMAGES, NAMES),
        lambda: tf.data.Dataset.from_tensor_slices((IMAGES, NAMES)).batch(8),
        lambda: None,
    ],
)
def test_forms_of_validation(validation):
    network = model()
    callback = RetrievalMetrics(validation())
    given = {"validation_data": (IMAGES, LABELS)} if callback.validation is None else {}
    history = network.fit(IMAGES, LABELS, verbose=0, callbacks=[callback], **given).history
    expected = evaluate(network.predict(IMAGES, verbose=0), LABELS)
    assert history["val_map_at_r"] == [pytest.approx(expected["map_at_r"])]
    np.testing.assert_array_equal(callback.labels, LABELS)


# ----------------------------------------------------------------------------- two of them


def test_two_of_them_have_keys_of_their_own():
    one, two = RetrievalMetrics(stream()), RetrievalMetrics(stream().take(2), prefix="val_part_")
    history = fit([one, two], epochs=1).history
    assert {key.replace("val_", "val_part_") for key in KEYS} | KEYS | {"loss"} == set(history)
    assert history["val_mean_negative_distance"] != history["val_part_mean_negative_distance"]
    callbacks = standard_callbacks(two, patience=1)
    assert (callbacks[1].monitor, callbacks[1].mode) == ("val_part_recall_at_1", "max")
    callbacks = standard_callbacks(two, monitor="val_part_violated_anchors", patience=1)
    assert callbacks[1].mode == "min"


def test_equal_keys_are_refused(monkeypatch):
    two = [RetrievalMetrics(stream(), ks=(1,)), RetrievalMetrics(stream(), ks=(1, 2))]
    with pytest.raises(ValueError, match="prefix='val_other_'.. Received: two that write val_"):
        fit([*two, NoStep()])
    # Where the other one cannot be seen.
    monkeypatch.setattr("mdl_tf.callbacks.retrieval_metrics.find_fit", lambda model: {})
    with pytest.raises(ValueError, match="give it another `prefix`. Received: val_recall_at_1 is"):
        fit(two)


# ------------------------------------------------------------------------- NaN, and XLA


def fit_to_nan(**options):
    network = model()
    network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
    with pytest.warns(UserWarning, match="30 of 30 validation embeddings are NaN") as caught:
        retrieval = RetrievalMetrics(stream(), **options)
        callbacks = [keras.callbacks.TerminateOnNaN(), *standard_callbacks(retrieval, patience=9)]
        history = network.fit(IMAGES, LABELS, epochs=3, verbose=0, callbacks=callbacks).history
    assert len([w for w in caught if "embeddings" in str(w.message)]) == 1
    return history


def test_a_training_that_comes_to_nan_goes_on_with_the_worst_values():
    history = fit_to_nan(clustering_every=1)
    for key in KEYS | {"val_nmi", "val_f1"}:
        [value] = history[key]
        assert value == (key == "val_violated_anchors"), key


def test_a_search_survives_its_first_bad_trial():
    best = {}
    for rate in (1e30, 0.05):
        callbacks = [keras.callbacks.TerminateOnNaN(), RetrievalMetrics(stream())]
        network = model(rate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if rate > 1:
                network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
            history = network.fit(IMAGES, LABELS, epochs=2, verbose=0, callbacks=callbacks).history
        best[rate] = max(history["val_recall_at_1"])
    assert best[1e30] == 0 < best[0.05]


def test_a_network_that_is_nan_already_is_no_start():
    network = model()
    network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
    with pytest.raises(ValueError, match="NaN"):
        RetrievalMetrics(stream()).measure(network)


@pytest.mark.parametrize(
    ("labels", "expected"), [(np.arange(30), 1), (LABELS, 0), (np.arange(30) + 0.0, 0)]
)
def test_under_xla_it_looks_at_the_training_data(labels, expected):
    network = model()
    loss = "mse" if labels.dtype.kind == "f" else MarginDiscriminateLoss()
    network.compile("sgd", loss, jit_compile=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(30)
        if loss == "mse":
            data = data.map(lambda x, y: (x, y[:, None]))
        network.fit(data, verbose=0, shuffle=False, callbacks=[RetrievalMetrics(stream())])
    assert len([w for w in caught if "of the anchors" in str(w.message)]) == expected
