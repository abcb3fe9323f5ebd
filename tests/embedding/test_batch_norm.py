"""Batch normalisation in fine-tuning: what learns, what moves, and what `fit` computes with."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from mdl_tf import load_model
from mdl_tf.checks import BATCH_NORMS
from mdl_tf.embedding.batch_norm import FixedStatistics, set_batch_norm
from mdl_tf.losses import MarginDiscriminateLoss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype(np.float32)
Y = np.arange(24) % 6


@keras.saving.register_keras_serializable(package="test_batch_norm")
class Block(keras.layers.Layer):
    """Somebody's own layer, with a batch normalisation inside."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense, self.norm = keras.layers.Dense(4), keras.layers.BatchNormalization()

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build((*shape[:-1], 4))

    def call(self, x, training=None):
        return self.norm(self.dense(x), training=training)


def network(own=True):
    """Batch normalisation directly in the model, in a model in it, and in a layer in that."""
    inner = x = keras.Input((5,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(6)(x))
    inner = keras.Model(inner, Block()(x) if own else x)
    inputs = keras.Input((5,))
    x = keras.layers.BatchNormalization(momentum=0.5)(inner(inputs))
    x = keras.layers.Dense(3, name="embedding", dtype="float32")(x)
    model = keras.Model(inputs, x)
    # Far from those of a batch, so that it shows which are used.
    start = np.random.default_rng(1)
    model.set_weights([start.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def norms(model):
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def compiled(model, jit=False):
    model.compile(keras.optimizers.Adam(0.01), loss=MarginDiscriminateLoss(), jit_compile=jit)
    if hasattr(model.optimizer, "initial_scale"):
        model.optimizer.initial_scale = 2.0**7  # so that no step is spent on halving it
    return model


def fit(model, epochs=1):
    return model.fit(X, Y, batch_size=24, epochs=epochs, shuffle=False, verbose=0).history["loss"]


@pytest.fixture
def under(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("mode", "under", "jit"),
    [
        *((mode, "float32", False) for mode in BATCH_NORMS),
        pytest.param("statistics", "mixed_float16", False, marks=pytest.mark.slow),
        pytest.param("statistics", "mixed_bfloat16", True, marks=pytest.mark.longest),
    ],
    indirect=["under"],
)
def test_what_learns_and_what_moves(mode, under, jit):
    model = network()
    set_batch_norm(model, mode)
    compiled(model, jit)
    tolerance, uses_running = 1e-4 if under == "float32" else 0.05, mode in ("frozen", "statistics")
    running = float(MarginDiscriminateLoss()(Y, model(X, training=False)))
    before = [[w.numpy() for w in layer.weights] for layer in norms(model)]
    assert len(before) == 3
    used_running = fit(model)[0] == pytest.approx(running, rel=tolerance)
    assert used_running == uses_running, "what fit computed its loss with"
    fit(model, 2)
    for layer, old in zip(norms(model), before, strict=True):
        gamma, beta, mean, variance = (
            (w.numpy() == start).all() for w, start in zip(layer.weights, old, strict=True)
        )
        assert (gamma, beta) == (mode == "frozen",) * 2
        assert (mean, variance) == (uses_running,) * 2
    training, inference = model(X[:9], training=True), model(X, training=False)[:9]
    assert np.allclose(training, inference, atol=tolerance) == uses_running
    assert {layer.synchronized for layer in norms(model)} == {mode == "synchronized"}


@pytest.mark.parametrize("mode", ["frozen", "statistics"])
def test_goes_on_after_saving_and_loading(tmp_path, mode):
    model = network(own=False)
    set_batch_norm(model, mode)
    fit(compiled(model), 3)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    kinds = {type(layer) for layer in norms(again)}
    assert kinds == {keras.layers.BatchNormalization if mode == "frozen" else FixedStatistics}
    fit(model, 3)
    assert fit(again, 3)
    for found, wanted in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_layer_of_somebodys_own_is_told_again_after_loading(tmp_path):
    model = network()
    set_batch_norm(model, "statistics")
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    kinds = [type(layer) is FixedStatistics for layer in norms(again)]
    assert sorted(kinds) == [False, True, True], "as the docstring says"
    set_batch_norm(again, "statistics")
    assert all(type(layer) is FixedStatistics for layer in norms(again))


@pytest.mark.longest
def test_loads_in_a_fresh_process(tmp_path):
    model = network(own=False)
    set_batch_norm(model, "statistics")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", X)
    script = (
        "import sys, mdl_tf, numpy as np\n"
        "model = mdl_tf.load_model(sys.argv[1] + '/model.keras')\n"
        "x = np.load(sys.argv[1] + '/x.npy')\n"
        "np.save(sys.argv[1] + '/found.npy', model(x, training=True))\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model(X), rtol=1e-5)


def test_train_undoes_statistics_and_leaves_frozen_layers_frozen():
    model = network()
    norms(model)[0].trainable = False
    set_batch_norm(model, "statistics")
    trained = {id(w) for w in model.trainable_variables}
    assert [id(layer.gamma) in trained for layer in norms(model)] == [False, True, True]
    set_batch_norm(model, "train")
    assert {type(layer) for layer in norms(model)} == {keras.layers.BatchNormalization}
    assert [layer.trainable for layer in norms(model)] == [False, True, True]


def test_a_network_of_keras_applications():
    network = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
    )
    trainable = len(network.trainable_variables)
    set_batch_norm(network, "statistics")
    found = norms(network)
    assert len(found) == 52
    assert {type(layer) for layer in found} == {FixedStatistics}
    assert len(network.trainable_variables) == trainable
    set_batch_norm(network, "frozen")
    assert len(network.trainable_variables) == trainable - 2 * 52


class Foreign(keras.layers.BatchNormalization):
    pass


@pytest.mark.parametrize(
    ("layer", "mode", "message"),
    [
        (
            keras.layers.BatchNormalization,
            "freeze",
            "must be one of ('train', 'frozen', 'statistics', 'synchronized'). "
            "Received: mode='freeze'",
        ),
        (
            keras.layers.LayerNormalization,
            "frozen",
            "must be 'train' for a model without batch normalisation. "
            "Received: mode='frozen' for model 'plain'",
        ),
        (
            Foreign,
            "statistics",
            "may be 'statistics' only for keras.layers.BatchNormalization itself. "
            f"Received: a layer 'norm' of {Foreign.__module__}.Foreign",
        ),
    ],
)
def test_what_cannot_be_set(layer, mode, message):
    model = keras.Sequential([keras.Input((4,)), layer(name="norm")], name="plain")
    with pytest.raises(ValueError) as raised:
        set_batch_norm(model, mode)
    assert str(raised.value) == f"`mode` {message}"
