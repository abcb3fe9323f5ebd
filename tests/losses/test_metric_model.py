"""An embedder with a loss that has weights: they train, survive, and stay out of the embedder."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mdl_tf import load_model
from mdl_tf.losses import MarginLoss, ProxyAnchorLoss, SoftTripleLoss, TripletLoss
from mdl_tf.losses.metric_model import MetricModel
from mdl_tf.optimizers import Adam

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype(np.float32)
Y = np.arange(24) % 4


def embedder(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((5,))
    x = keras.layers.Dense(6, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="embedding", dtype="float32")(x))


def model_of(loss, policy="float32", jit=False):
    keras.config.set_dtype_policy(policy)
    try:
        model = MetricModel(embedder(), loss)
        rate = Adam(0.01, learning_rate_factors={"loss_weights": 5} if loss.has_weights else None)
        model.compile(rate, jit_compile=jit)
    finally:
        keras.config.set_dtype_policy("float32")
    return model


def fit(model, epochs=1, **options):
    return model.fit(X, Y, batch_size=24, epochs=epochs, shuffle=False, verbose=0, **options)


LOSSES = {
    "proxy_anchor": ProxyAnchorLoss(4),
    "soft_triple": SoftTripleLoss(4, centers_per_class=2),
    "margin": MarginLoss(learn_beta=True),
    "margin-by-class": MarginLoss(learn_beta=True, num_classes=4),
    "triplet": TripletLoss(),
}


@pytest.mark.parametrize(
    ("name", "policy", "jit"),
    [
        *((name, "float32", False) for name in ("proxy_anchor", "margin")),
        *(
            pytest.param(name, "float32", False, marks=pytest.mark.longest)
            for name in ("soft_triple", "margin-by-class", "triplet")
        ),
        pytest.param("margin-by-class", "mixed_float16", False, marks=pytest.mark.longest),
        pytest.param("proxy_anchor", "mixed_float16", True, marks=pytest.mark.longest),
        pytest.param("soft_triple", "float32", True, marks=pytest.mark.longest),
    ],
)
def test_goes_on_after_saving_and_loading(name, policy, jit, tmp_path):
    model = model_of(LOSSES[name], policy, jit)
    untrained = [w.numpy() for w in model.loss_weights.weights]
    # Under mixed_float16 the first steps are spent on finding the scale.
    fit(model, 20 if policy == "mixed_float16" else 5)
    assert len(untrained) == LOSSES[name].has_weights
    for before, after in zip(untrained, model.loss_weights.weights, strict=True):
        assert np.abs(before - after.numpy()).max() > 0.01
        assert after.dtype == "float32"
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert type(again.metric_loss) is type(model.metric_loss)
    assert again.metric_loss.get_config() == model.metric_loss.get_config()
    np.testing.assert_allclose(again.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-5)
    assert fit(again, 2).history["loss"] == pytest.approx(fit(model, 2).history["loss"], rel=1e-4)
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_backup_and_restore_goes_on_as_if_nothing_had_happened(tmp_path):
    expected = fit(model_of(LOSSES["proxy_anchor"]), 6).history["loss"]

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(model_of(LOSSES["proxy_anchor"]), 6, callbacks=[backup, Interrupt()])
    # Other weights at first: all that counts comes from the backup.
    keras.utils.set_random_seed(99)
    model = MetricModel(embedder(7), LOSSES["proxy_anchor"])
    model.compile(Adam(0.01, learning_rate_factors={"loss_weights": 5}))
    found = fit(model, 6, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)]).history["loss"]
    assert found == pytest.approx(expected[-len(found) :], rel=1e-4)
    assert len(found) < 6


def test_the_embedder_is_clean_and_needs_nothing_of_this_library(tmp_path):
    model = model_of(LOSSES["proxy_anchor"])
    fit(model, 3)
    embeddings = model.predict(X, verbose=0)
    np.testing.assert_array_equal(model.embedder.predict(X, verbose=0), embeddings)
    assert (model.input_shape, model.output_shape) == ((None, 5), (None, 3))
    assert len(model.weights) == len(model.embedder.weights) + 1
    model.embedder.save(tmp_path / "embedder.keras")
    np.save(tmp_path / "x.npy", X)
    script = (
        "import json, sys, keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1] + '/embedder.keras')\n"
        "x = np.load(sys.argv[1] + '/x.npy')\n"
        "print(json.dumps([model.predict(x, verbose=0).tolist(), 'mdl_tf' in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    found, imported = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, embeddings, rtol=1e-5, atol=1e-6)
    assert not imported


def test_exports_the_embedder(tmp_path):
    model = model_of(LOSSES["proxy_anchor"])
    fit(model, 1)
    model.export(str(tmp_path / "exported"))
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(X), model.predict(X, verbose=0), rtol=1e-4, atol=1e-5)


def test_one_loss_object_in_two_models_is_two_losses():
    loss = ProxyAnchorLoss(4)
    first, second = model_of(loss), model_of(loss)
    kept = [w.numpy() for w in second.loss_weights.weights]
    fit(first, 3)
    np.testing.assert_array_equal(second.loss_weights.weights[0].numpy(), kept[0])
    with pytest.raises(ValueError, match="has weights, which `compile` alone would neither"):
        loss(Y, X)


def test_evaluate_is_the_loss_of_the_embeddings():
    model = model_of(LOSSES["proxy_anchor"])
    expected = model.metric_loss(Y, model.predict(X, verbose=0))
    assert model.evaluate(X, Y, batch_size=24, verbose=0) == pytest.approx(float(expected))


def test_what_it_is_not_made_for():
    model = MetricModel(embedder(), TripletLoss())
    with pytest.raises(ValueError, match="the one that the MetricModel was made with"):
        model.compile("adam", loss="mse")
    model.compile("adam", loss=model.metric_loss)
    with pytest.raises(ValueError, match="`loss` must be a loss of `mdl_tf.losses`"):
        MetricModel(embedder(), keras.losses.MeanSquaredError())
    with pytest.raises(ValueError, match="`loss` must be a loss of `mdl_tf.losses`"):
        MetricModel(embedder(), TripletLoss)
    inputs = keras.Input((4, 4, 3))
    maps = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ValueError, match="must be a built model with an output of shape `.B, D.`"):
        MetricModel(maps, TripletLoss())
    with pytest.raises(ValueError, match="must be a built model"):
        MetricModel(keras.Sequential([keras.layers.Dense(3)]), TripletLoss())


TWO_REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf
from mdl_tf.losses import ProxyNCALoss
from mdl_tf.optimizers import Adam
from mdl_tf.training_model import MetricModel

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(24, 5)).astype("float32"), np.arange(24) % 4
found = []
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else tf.device("CPU:0"):
        inputs = keras.Input((5,))
        model = keras.Model(inputs, keras.layers.Dense(3, name="embedding")(inputs))
        model = MetricModel(model, ProxyNCALoss(4))
        model.compile(Adam(0.001, learning_rate_factors={"proxies": 100, "bias": 10}))
    start = np.random.default_rng(1)
    model.set_weights([start.normal(size=w.shape) for w in model.get_weights()])
    if strategy:
        assert strategy.num_replicas_in_sync == 2
    data = tf.data.Dataset.from_tensors((x, y)).unbatch().batch(24, drop_remainder=True)
    model.fit(data, epochs=4, verbose=0, shuffle=False)
    # Not the logged loss, which Keras up to some version after 3.6 has wrong under a strategy.
    found.append(model.get_weights())
for one, two in zip(*found):
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)
print("equal")
"""


@pytest.mark.slow
def test_two_replicas_train_as_one_does():
    """Proxy-NCA is a sum over images, so halves of a batch add up to it."""
    done = subprocess.run([sys.executable, "-c", TWO_REPLICAS], capture_output=True, text=True)
    assert done.stdout.endswith("equal\n"), done.stderr[-2000:]
