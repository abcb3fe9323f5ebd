"""A learning-rate factor is another learning rate for its variables, and nothing else."""

import keras
import numpy as np
import pytest
from helpers import slow_but

from mdl_tf import load_model, optimizers
from mdl_tf.losses import MarginDiscriminateLoss

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(6, 3, 2)).astype(np.float32)
STARTS = RNG.normal(size=(3, 2)).astype(np.float32)
STOCK = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "RMSprop": {"momentum": 0.5},
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.0},
}


class Lion(optimizers.LearningRateFactors, keras.optimizers.Lion):
    """Somebody's own, by the mixin."""


def steps(optimizer, gradients=GRADIENTS):
    """Two variables after some steps along the same gradients; the first is to have a factor."""
    named = [keras.Variable(STARTS, name=name) for name in ("head", "body")]
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)] * 2, named)
    return [v.numpy() for v in named]


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("kind", [*STOCK, "Lion"])
def test_a_factor_is_another_learning_rate(kind, scheduled):
    rate, factor, options = 0.01, 30.0, STOCK.get(kind, {})

    def at(rate):
        if not scheduled:
            return rate
        return keras.optimizers.schedules.CosineDecay(0.0, 4, warmup_target=rate, warmup_steps=2)

    mine = Lion if kind == "Lion" else getattr(optimizers, kind)
    stock = getattr(keras.optimizers, kind)
    head, body = steps(mine(at(rate), learning_rate_factors={"head": factor}, **options))
    expected, _ = steps(stock(at(rate * factor), **options))
    _, as_ever = steps(stock(at(rate), **options))
    np.testing.assert_allclose(head, expected, rtol=1e-6)
    np.testing.assert_array_equal(body, as_ever)
    assert np.abs(head - body).max() > 0.1


def test_scaling_gradients_would_not_do_it():
    """Why this module exists: Adam divides the scale out again."""
    scaled, _ = steps(keras.optimizers.Adam(0.01), 30 * GRADIENTS)
    plain, _ = steps(keras.optimizers.Adam(0.01))
    np.testing.assert_allclose(scaled, plain, rtol=1e-4)


def test_weight_decay_keeps_the_plain_learning_rate():
    nothing = np.zeros_like(GRADIENTS)
    head, body = steps(
        optimizers.AdamW(0.01, weight_decay=0.5, learning_rate_factors={"head": 30.0}), nothing
    )
    np.testing.assert_allclose(head, STARTS * (1 - 0.01 * 0.5) ** 6, rtol=1e-5)
    np.testing.assert_array_equal(head, body)


def test_a_factor_of_0_freezes():
    head, body = steps(optimizers.Adam(0.01, learning_rate_factors={"head": 0}))
    np.testing.assert_array_equal(head, STARTS)
    assert np.abs(body - STARTS).max() > 0.01


def small_model(policy="float32", jit=False, factors=None, **named):
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((4,))
        x = keras.layers.Dense(5, activation="relu", name="body")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(3, name="head", dtype="float32")(x))
        start = np.random.default_rng(1)
        model.set_weights([start.normal(size=w.shape) for w in model.get_weights()])
        optimizer = optimizers.Adam(0.001, learning_rate_factors=factors or named)
        model.compile(optimizer, loss=MarginDiscriminateLoss(), jit_compile=jit)
    finally:
        keras.config.set_dtype_policy("float32")
    if policy == "mixed_float16":
        model.optimizer.initial_scale = 2.0**7  # so that no step is spent on halving it
    return model


POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")
X = RNG.normal(size=(24, 4)).astype(np.float32)
Y = np.arange(24) % 6


def fit(model, epochs):
    model.fit(X, Y, batch_size=24, epochs=epochs, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("policy", slow_but(("float32", "mixed_float16"), POLICIES, POLICIES))
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.longest)])
def test_through_fit(policy, jit):
    """One step of Adam goes the learning rate far, whatever the gradient."""
    model = small_model(policy, jit, head=100.0)
    before = model.get_weights()
    after = fit(model, 1)
    moves = [np.abs(a - b).max() for a, b in zip(after, before, strict=True)]
    np.testing.assert_allclose(moves[0], 0.001, rtol=0.01)
    np.testing.assert_allclose(moves[2], 0.1, rtol=0.01)
    assert hasattr(model.optimizer, "inner_optimizer") == (policy == "mixed_float16")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_saved_and_resumed(tmp_path, policy):
    expected = fit(small_model(policy, head=100.0), 6)
    model = small_model(policy, head=100.0)
    fit(model, 3)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy(policy)  # Keras saves a functional model without its policy
    try:
        again = load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    for found, wanted in zip(fit(again, 3), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            {"heads": 10.0},
            "must have names of layers or weights that are trained. Received: heads. "
            "Known: bias, head, kernel, body",
        ),
        (
            {"head": 10.0, "kernel": 2.0},
            "must have at most one name for each variable. Received: head, kernel for head/kernel",
        ),
        ({"head": -1}, "must be numbers, at least 0. Received: 'head': -1"),
        ({"head": "ten"}, "must be numbers, at least 0. Received: 'head': 'ten'"),
        (["head"], "must be a dict from names to numbers. Received: ['head']"),
        ({"head": True}, "must be numbers, at least 0. Received: 'head': True"),
    ],
)
def test_factors_that_fit_nothing(factors, message):
    with pytest.raises(ValueError) as raised:
        fit(small_model(factors=factors), 1)
    assert str(raised.value) == f"`learning_rate_factors` {message}"
