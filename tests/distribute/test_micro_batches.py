"""A step in micro-batches: the weights of the plain step, in the memory of a part."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mdl_tf import load_model
from mdl_tf.embedding import set_batch_norm
from mdl_tf.losses import MarginDiscriminateLoss, MetricModel, ProxyAnchorLoss
from mdl_tf.optimizers import Adam

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (14, 6, 6, 3)).astype(np.float32)
Y = np.arange(14) // 3
WEIGHTS = np.linspace(0, 2, 14).astype(np.float32)


def network(batch_norm="frozen", draws=False, policy="float32"):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((6, 6, 3))
        x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
        if draws:
            x = keras.layers.RandomTranslation(0.3, 0.3)(x)
        x = keras.layers.Conv2D(6, 3, kernel_regularizer=keras.regularizers.L2(0.1))(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.GlobalAveragePooling2D()(x)
        if draws:
            x = keras.layers.Dropout(0.4)(x)
        x = keras.layers.Dense(4, name="embedding")(x)
        x = keras.layers.UnitNormalization(dtype="float32")(x)
    finally:
        keras.config.set_dtype_policy("float32")
    model = keras.Model(inputs, x)
    if batch_norm != "train":
        set_batch_norm(model, batch_norm)
    return model


def fit(micro_batch, loss=None, *, optimizer=None, weights=None, steps=2, compiling=(), **net):
    model = MetricModel(
        network(**net), loss or MarginDiscriminateLoss(), micro_batch=micro_batch, memory=0
    )
    optimizer = optimizer() if optimizer else keras.optimizers.SGD(0.5, momentum=0.9)
    model.compile(optimizer, **dict(compiling))
    batch = (X, Y) if weights is None else (X, Y, weights)
    stream = tf.data.Dataset.from_tensors(batch).repeat()
    history = model.fit(stream, steps_per_epoch=steps, verbose=0, shuffle=False)
    return history.history, model


def factors():
    return Adam(0.01, learning_rate_factors={"embedding": 10})


CASES = {
    "frozen, a short last part": (5, {}),
    "statistics, one image": (1, {"batch_norm": "statistics"}),
    "proxies, factors": (5, {"loss": ProxyAnchorLoss(5), "optimizer": factors}),
    "tiles, sample weights": (5, {"loss": MarginDiscriminateLoss(tile=4), "weights": WEIGHTS}),
    "eagerly, more than there are": (99, {"compiling": {"run_eagerly": True}}),
    "mixed_float16": (5, {"policy": "mixed_float16"}),
}


@pytest.mark.parametrize(
    "case",
    [
        case if place in (0, 2, 5) else pytest.param(case, marks=pytest.mark.slow)
        for place, case in enumerate(CASES)
    ],
)
def test_equals_the_plain_step(case):
    micro_batch, settings = CASES[case]
    tolerance = 1e-5
    if settings.get("policy") == "mixed_float16":
        tolerance = 2e-3  # products of parts are rounded to 10 bits in another order
    history, plain = fit(None, **settings)
    in_parts, model = fit(micro_batch, **settings)
    assert in_parts.keys() == history.keys()
    for key, values in history.items():
        np.testing.assert_allclose(in_parts[key], values, rtol=max(tolerance, 1e-4))
    before = network(**{k: v for k, v in settings.items() if k in ("batch_norm", "policy")})
    moved = [
        np.abs(a - b).max()
        for a, b in zip(before.get_weights(), plain.embedder.get_weights(), strict=True)
    ]
    assert max(moved) > 0.01
    for found, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_under_xla():
    _, plain = fit(None)
    _, model = fit(5, compiling={"jit_compile": True})
    for found, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_both_passes_draw_the_same():
    """The gradient is that of the loss which the first pass computed, by finite differences."""
    model = MetricModel(network(draws=True), MarginDiscriminateLoss(), micro_batch=5)
    seeds = [variable for variable in model.variables if "seed" in variable.path]
    begin = [np.asarray(seed) for seed in seeds]
    assert len(seeds) == 2

    @tf.function(autograph=False)
    def step():
        for seed, value in zip(seeds, begin, strict=True):
            seed.assign(value)
        with tf.GradientTape() as tape:
            loss = model.metric_loss(Y, model(X, training=True))
        return loss, tape.gradient(loss, [v.value for v in model.trainable_variables])

    loss, gradients = step()
    after = [np.asarray(seed) for seed in seeds]
    assert not any(np.array_equal(a, b) for a, b in zip(begin, after, strict=True))
    plain = model.metric_loss(Y, model(X, training=False))
    assert abs(loss - plain) > 1e-3, "nothing was drawn"
    variable, gradient = model.trainable_variables[0], gradients[0].numpy()
    value = variable.numpy()
    direction = gradient / np.abs(gradient).max()
    losses = []
    for sign in (1, -1):
        variable.assign(value + sign * 1e-2 * direction)
        losses.append(float(step()[0]))
    expected = (losses[0] - losses[1]) / 2e-2
    np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=0.03)


def test_batch_normalisation_in_training_mode_is_refused():
    model = MetricModel(network("train"), MarginDiscriminateLoss(), micro_batch=5)
    message = "`micro_batch` needs batch normalisation by running statistics"
    with pytest.raises(ValueError, match=message):
        model.compile("sgd")
    set_batch_norm(model.embedder, "statistics")
    model.compile("sgd")
    set_batch_norm(model.embedder, "train")
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("micro_batch", [0, -1, 2.5, True])
def test_micro_batches_of_no_size_are_refused(micro_batch):
    with pytest.raises(ValueError, match="`micro_batch` must be an integer, at least 1"):
        MetricModel(network(), MarginDiscriminateLoss(), micro_batch=micro_batch)


def test_is_saved_and_loaded(tmp_path):
    _, model = fit(5, steps=1, batch_norm="statistics")
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert again.micro_batch == 5
    np.testing.assert_allclose(again.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-5)
