"""Optimizers and schedules of a config, against plain NumPy."""

import keras
import numpy as np
import pytest

from mdl_tf import optimizers
from mdl_tf.config import TrainConfig
from mdl_tf.runs.network import build_optimizer
from mdl_tf.runs.resolve import resolve

RNG = np.random.default_rng(0)
STARTS = [RNG.normal(size=(3, 2)).astype(np.float32), RNG.normal(size=4).astype(np.float32)]
GRADIENTS = [RNG.normal(size=(3, 2)).astype(np.float32), RNG.normal(size=4).astype(np.float32)]


def constant(**settings):
    return TrainConfig(schedule="constant", learning_rate=0.1, **settings)


def stepped(config, steps=1, gradients=GRADIENTS):
    """Two variables after some steps along the same gradients."""
    variables = [keras.Variable(start) for start in STARTS]
    optimizer = build_optimizer(config)
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("clip_norm", [0.5, 1.0, 100.0])
def test_the_norm_of_all_gradients_together_is_clipped(clip_norm):
    norm = np.sqrt(sum((g**2).sum() for g in GRADIENTS))
    assert 1.0 < norm < 100
    found = stepped(constant(optimizer="sgd", momentum=0, clip_norm=clip_norm))
    for variable, start, gradient in zip(found, STARTS, GRADIENTS, strict=True):
        expected = start - 0.1 * gradient * min(1, clip_norm / norm)
        np.testing.assert_allclose(variable, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "weight_decay", "expected"),
    [
        ("adamw", None, 0.004),
        *((name, None, 0.0) for name in ("adam", "rmsprop", "sgd")),
        *((name, 0.5, 0.5) for name in ("adam", "adamw", "rmsprop", "sgd")),
        ("adamw", 0.0, 0.0),
    ],
)
def test_weight_decay_is_apart_from_the_gradient(optimizer, weight_decay, expected):
    nothing = [np.zeros_like(g) for g in GRADIENTS]
    config = constant(optimizer=optimizer, weight_decay=weight_decay)
    for found, start in zip(stepped(config, 1, nothing), STARTS, strict=True):
        np.testing.assert_allclose(found, start * (1 - 0.1 * expected), rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0])
def test_momentum_of_sgd_and_rmsprop(momentum):
    sgd, rmsprop = (
        stepped(constant(optimizer=name, momentum=momentum), 3) for name in ("sgd", "rmsprop")
    )
    for i, (start, g) in enumerate(zip(STARTS, GRADIENTS, strict=True)):
        x, velocity = start.astype(float), 0.0
        for _ in range(3):
            velocity = momentum * velocity - 0.1 * g
            x = x + velocity
        np.testing.assert_allclose(sgd[i], x, rtol=1e-5)
        x, velocity, square = start.astype(float), 0.0, 0.0
        for _ in range(3):
            square = 0.9 * square + 0.1 * g.astype(float) ** 2
            velocity = momentum * velocity + 0.1 * g / np.sqrt(square + 1e-7)
            x = x - velocity
        np.testing.assert_allclose(rmsprop[i], x, rtol=1e-4)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_every_optimizer_knows_factors(name):
    factors = {"head": 3.0}
    config = TrainConfig(optimizer=name, learning_rate_factors=factors)
    optimizer = build_optimizer(config)
    assert isinstance(optimizer, optimizers.LearningRateFactors)
    assert type(optimizer).__name__.lower() == name
    assert optimizer.learning_rate_factors == factors


def rate(schedule, step):
    return float(schedule(keras.ops.convert_to_tensor(step)))


def test_step_schedule_falls_at_the_borders():
    config = TrainConfig(
        schedule="step", steps_per_epoch=7, decay_epochs=3, decay_factor=0.1, learning_rate=0.5
    )
    schedule = build_optimizer(config)._learning_rate
    for step, expected in ((0, 0.5), (20, 0.5), (21, 0.05), (41, 0.05), (42, 0.005), (63, 0.0005)):
        assert rate(schedule, step) == pytest.approx(expected), step


@pytest.mark.parametrize("name", ["step", "cosine"])
def test_a_schedule_goes_on_for_a_new_optimizer_and_is_saved(name):
    config = resolve(TrainConfig(schedule=name, epochs=5, steps_per_epoch=4))
    whole = build_optimizer(config)._learning_rate
    later = build_optimizer(config, first_step=8)
    saved = keras.saving.serialize_keras_object(later)
    for optimizer in (later, keras.saving.deserialize_keras_object(saved)):
        assert int(optimizer.iterations.numpy()) == 0
        for step in range(12):
            assert rate(optimizer._learning_rate, step) == rate(whole, step + 8)
    assert rate(whole, 0) != rate(whole, 8) or name == "step"
