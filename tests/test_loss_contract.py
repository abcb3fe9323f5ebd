"""One table of losses, one list of promises; a new loss is a new row.

The promises are kept through `fit`, eagerly, as a graph and compiled with XLA: the model is one
matrix, trained for one step of plain gradient descent, so that the step shows the gradient.
"""

import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import mixed_batch

from mdl_tf.losses import MarginDiscriminateLoss

# name: class and settings.
LOSSES = {
    "mdl": (MarginDiscriminateLoss, {}),
    "mdl-hinge-squared": (
        MarginDiscriminateLoss,
        {"form": "hinge", "distance": "squared_euclidean", "margin": 0.3},
    ),
    "mdl-hardest-cosine": (
        MarginDiscriminateLoss,
        {"form": "hardest", "distance": "cosine", "sharpness": 5.0},
    ),
}
MODES = ("eager", "graph", "jit")
DIM = 6
LABELS, EMBEDDINGS = mixed_batch(0, DIM, "float32")

every_loss = pytest.mark.parametrize("name", LOSSES)
every_mode = pytest.mark.parametrize("mode", MODES)


def make(row, **more):
    cls, settings = LOSSES[row]
    return cls(**settings, **more)


@functools.cache
def compiled(name, mode, policy="float32", reduction="sum_over_batch_size", ranks=(1, 1)):
    # As users set it: then `compile` scales the loss under mixed_float16.
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((DIM,))
        model = keras.Model(inputs, keras.layers.Dense(DIM, use_bias=False)(inputs))
        model.compile(
            keras.optimizers.SGD(1.0),
            loss=make(name, reduction=reduction),
            run_eagerly=mode == "eager",
            jit_compile=mode == "jit",
        )
    finally:
        keras.config.set_dtype_policy("float32")
    return model


def one_step(name, mode, labels, embeddings, weights=None, policy="float32", **more):
    """Logged loss and gradient of one batch in `fit`."""
    # A model for each rank: a `tf.function` that met two of them forgets the rank altogether.
    model = compiled(name, mode, policy, ranks=(np.ndim(labels), np.ndim(weights)), **more)
    identity = np.eye(DIM, dtype=np.float32)
    model.set_weights([identity])
    batch = (embeddings, labels) if weights is None else (embeddings, labels, weights)
    history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    return history.history["loss"][0], identity - model.get_weights()[0]


def directly(name, labels, embeddings, weights=None):
    """The same without Keras around it: the mean of the losses and its gradient."""
    loss = make(name)
    matrix = tf.Variable(np.eye(DIM, dtype=np.float32))
    with tf.GradientTape() as tape:
        losses = loss.compute(tf.constant(labels), tf.matmul(embeddings, matrix))
        value = tf.reduce_mean(losses * (1.0 if weights is None else weights))
    return value.numpy(), tape.gradient(value, matrix).numpy()


def assert_same_step(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-5)


@every_mode
@every_loss
def test_fit_logs_the_loss_and_steps_along_its_gradient(name, mode):
    expected = directly(name, LABELS, EMBEDDINGS)
    assert expected[0] > 0.01
    assert np.abs(expected[1]).max() > 0.01
    assert_same_step(one_step(name, mode, LABELS, EMBEDDINGS), expected)


@every_loss
@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        ("graph", d)
        for d in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    ]
    + [("eager", "int8"), ("eager", "uint64"), ("jit", "int8"), ("jit", "uint64")],
)
def test_labels_of_any_integer_width(name, mode, dtype):
    expected = directly(name, LABELS, EMBEDDINGS)
    assert_same_step(one_step(name, mode, LABELS.astype(dtype), EMBEDDINGS), expected)


@every_mode
@every_loss
def test_labels_as_a_column(name, mode):
    expected = directly(name, LABELS, EMBEDDINGS)
    assert_same_step(one_step(name, mode, LABELS[:, None], EMBEDDINGS), expected)


@every_mode
@every_loss
@pytest.mark.parametrize("offset", [2**11, 2**24, 2**53, -(2**62)])
def test_ids_that_floats_merge_stay_apart(name, mode, offset):
    """Neighbouring ids: as float32, all above 2^24 would be one class."""
    _, near = np.unique(LABELS, return_inverse=True)
    expected = directly(name, near, EMBEDDINGS)
    assert_same_step(one_step(name, mode, near.astype(np.int64) + offset, EMBEDDINGS), expected)


@every_mode
@every_loss
def test_sample_weight_weights_anchors(name, mode):
    weights = np.linspace(0, 2, len(LABELS)).astype(np.float32)
    expected = directly(name, LABELS, EMBEDDINGS, weights)
    assert_same_step(one_step(name, mode, LABELS, EMBEDDINGS, weights), expected)
    column = one_step(name, mode, LABELS, EMBEDDINGS, weights[:, None])
    assert_same_step(column, expected)


@every_mode
@every_loss
def test_sum_is_the_batch_size_times_the_loss(name, mode):
    value, gradient = directly(name, LABELS, EMBEDDINGS)
    found = one_step(name, mode, LABELS, EMBEDDINGS, reduction="sum")
    assert_same_step(found, (10 * value, 10 * gradient))


@every_mode
@every_loss
def test_ragged_last_batch(name, mode):
    model = compiled(name, mode)
    model.set_weights([np.eye(DIM, dtype=np.float32)])
    parts = [slice(0, 7), slice(7, 10)]
    labels = np.array([1, 1, 1, 2, 2, 3, 3, 4, 4, 5])
    value = model.evaluate(
        tf.data.Dataset.from_tensor_slices((EMBEDDINGS, labels)).batch(7), verbose=0
    )
    values = [directly(name, labels[p], EMBEDDINGS[p])[0] for p in parts]
    np.testing.assert_allclose(value, 0.7 * values[0] + 0.3 * values[1], rtol=1e-5)
    history = model.fit(EMBEDDINGS, labels, batch_size=7, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(model.get_weights()[0]).all()


DEGENERATE = {
    "no positives": (np.arange(6), EMBEDDINGS[:6], True),
    "one class": (np.zeros(6, int), EMBEDDINGS[:6], True),
    "one image": (np.zeros(1, int), EMBEDDINGS[:1], True),
    "duplicates": (np.array([0, 0, 1, 1, 0, 2]), EMBEDDINGS[[0, 0, 1, 1, 1, 1]], False),
    "all the same": (np.array([0, 0, 1, 1]), EMBEDDINGS[[3, 3, 3, 3]], False),
    "zero vectors": (np.array([0, 0, 1, 1]), np.zeros((4, DIM), np.float32), False),
    "one zero vector": (np.array([0, 0, 1, 1]), EMBEDDINGS[:4] * [[0], [1], [1], [1]], False),
}


@every_mode
@every_loss
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_batches_give_a_finite_value_and_gradient(name, mode, case):
    labels, embeddings, nothing_counts = DEGENERATE[case]
    value, gradient = one_step(name, mode, labels, embeddings.astype(np.float32))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    if nothing_counts:
        assert value == 0
        assert (gradient == 0).all()
    else:
        assert value > 0


@every_loss
def test_gradient_of_every_embedding_is_finite_where_some_coincide(name):
    """The matrix above sums over images and could hide an infinity times zero."""
    for labels, embeddings, _ in DEGENERATE.values():
        x = tf.constant(embeddings.astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = make(name)(labels, x)
        assert np.isfinite(tape.gradient(loss, x).numpy()).all()


@every_mode
@every_loss
@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.15)]
)
def test_half_precision_models(name, mode, policy, tolerance):
    expected = directly(name, LABELS, EMBEDDINGS)
    value, gradient = one_step(name, mode, LABELS, EMBEDDINGS, policy=policy)
    np.testing.assert_allclose(value, expected[0], rtol=tolerance)
    largest = np.abs(expected[1]).max()
    np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=tolerance * largest)
    scaled = hasattr(compiled(name, mode, policy, ranks=(1, 0)).optimizer, "inner_optimizer")
    assert scaled == (policy == "mixed_float16")


BAD = {
    "one-hot": (np.eye(10, dtype=np.int64), "One-hot labels? Pass `argmax(labels, axis=-1)`"),
    "floats": (LABELS.astype(np.float32), "must be integer class ids; floats merge"),
    "rank 3": (LABELS[:, None, None], "shape `(B,)` or `(B, 1)`. Received: labels with shape="),
}


@every_mode
@every_loss
@pytest.mark.parametrize("case", BAD)
def test_labels_that_are_no_class_ids_are_refused(name, mode, case):
    labels, message = BAD[case]
    with pytest.raises(ValueError) as raised:
        one_step(name, mode, labels, EMBEDDINGS)
    assert message in str(raised.value)


@every_loss
def test_shapes_that_do_not_fit_are_refused(name):
    loss = make(name)
    for labels, embeddings, message in (
        (LABELS[:9], EMBEDDINGS, "must have the same length. Received: labels with shape=(9,)"),
        (LABELS, EMBEDDINGS[None], "must have shape `(B, D)`. Received: embeddings with shape=(1,"),
        (LABELS, LABELS[:, None], "`embeddings` (`y_pred`) must be floats. Received:"),
        (LABELS[0], EMBEDDINGS, "shape `(B,)` or `(B, 1)`. Received: labels with shape=()"),
    ):
        with pytest.raises(ValueError) as raised:
            loss(labels, embeddings)
        assert message in str(raised.value)


@every_loss
def test_unknown_rank_is_refused(name):
    loss = make(name)
    unknown = tf.TensorSpec(None, tf.int64)
    known = tf.TensorSpec((None, DIM), tf.float32)
    with pytest.raises(ValueError, match="Received: labels with shape=unknown"):
        tf.function(lambda y, x: loss(y, x)).get_concrete_function(unknown, known)
    with pytest.raises(ValueError, match="Received: embeddings with shape=unknown"):
        tf.function(lambda y, x: loss(y, x)).get_concrete_function(
            tf.TensorSpec((None,), tf.int64), tf.TensorSpec(None, tf.float32)
        )


@every_loss
@pytest.mark.parametrize("reduction", [None, "none", "auto", "mean_with_sample_weight"])
def test_reductions_that_train_on_something_else_are_refused(name, reduction):
    with pytest.raises(ValueError, match="`reduction` must be one of"):
        make(name, reduction=reduction)


@every_loss
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_half_precision_in_the_loss_is_refused(name, dtype):
    with pytest.raises(ValueError, match="`dtype` must be 'float32' or 'float64'"):
        make(name, dtype=dtype)


@every_loss
def test_half_precision_as_default_type_leaves_the_loss_in_float32(name):
    keras.config.set_floatx("float16")
    try:
        assert make(name).dtype == "float32"
    finally:
        keras.config.set_floatx("float32")


@every_loss
def test_float64_stays_float64(name):
    labels, embeddings = mixed_batch(0, DIM, "float64")
    value = make(name, dtype="float64")(labels, embeddings)
    assert value.dtype == tf.float64


@every_loss
def test_config_round_trip(name):
    loss = make(name, reduction="sum", name="mine", dtype="float64")
    config = json.loads(json.dumps(loss.get_config()))
    again = type(loss).from_config(config)
    assert again.get_config() == config
    assert (again.name, again.reduction, again.dtype) == ("mine", "sum", "float64")
    assert float(again(LABELS, EMBEDDINGS)) == float(loss(LABELS, EMBEDDINGS))
    by_registry = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert by_registry.get_config() == config


@pytest.fixture(scope="module")
def reloaded_in_a_fresh_process(tmp_path_factory):
    """What a process that knows only `mdl_tf.load_model` finds in the saved models."""
    folder = tmp_path_factory.mktemp("models")
    for name in LOSSES:
        model = compiled(name, "graph")
        one_step(name, "graph", LABELS, EMBEDDINGS)
        model.save(folder / f"{name}.keras")
    np.savez(folder / "batch.npz", labels=LABELS, embeddings=EMBEDDINGS)
    script = (
        "import json, sys, numpy as np, mdl_tf\n"
        "folder, *names = sys.argv[1:]\n"
        "batch = np.load(folder + '/batch.npz')\n"
        "found = {}\n"
        "for name in names:\n"
        "    model = mdl_tf.load_model(f'{folder}/{name}.keras')\n"
        "    history = model.fit(batch['embeddings'], batch['labels'], verbose=0)\n"
        "    found[name] = [model.loss.get_config(), history.history['loss'][0],\n"
        "                   int(model.optimizer.iterations)]\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), *LOSSES],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@every_loss
def test_saved_model_goes_on_in_a_fresh_process(name, reloaded_in_a_fresh_process):
    model = compiled(name, "graph")
    one_step(name, "graph", LABELS, EMBEDDINGS)
    config, value, iterations = reloaded_in_a_fresh_process[name]
    assert config == make(name).get_config()
    history = model.fit(EMBEDDINGS, LABELS, verbose=0)
    np.testing.assert_allclose(value, history.history["loss"][0], rtol=1e-5)
    assert iterations >= 2, "the optimizer goes on counting"
