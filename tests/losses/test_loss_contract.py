"""One table of losses, one list of promises; a new loss is a new row of `helpers/loss_rows.py`.

What the base class, `guard` and Keras keep for all losses alike is shown by three rows, one of each
kind, through `fit`: eagerly, as a graph and compiled with XLA. That the others go the same way is
one cheap test each. What hangs on the formula is asked of every row.

The model is one matrix, trained for one step of plain gradient descent, so that the step shows the
gradient.
"""

import functools
import inspect
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.batches import mixed_batch
from helpers.loss_rows import ROWS, find_untested

from mdl_tf import losses
from mdl_tf.losses.guard import guard

DIM = 6
LABELS, EMBEDDINGS = mixed_batch(0, DIM, "float32")
BY_CLASS = [row for row, (_, settings, _) in ROWS.items() if "num_classes" in settings]
# By batch, by class, and both.
THREE = ("margin_discriminate", "proxy_anchor", "margin-by-class")
OTHERS = [row for row in ROWS if row not in THREE]
MODES = ("eager", "graph", "jit")
# Those, and what XLA might compile otherwise: a loop, gathers and scatters, guarded roots.
BY_XLA = (*THREE, "triplet", "n_pairs", "arc_face", "soft_triple")

every_row = pytest.mark.parametrize("row", ROWS)
every_name = pytest.mark.parametrize("name", losses.LOSSES)
three_rows = pytest.mark.parametrize("row", THREE)
every_mode = pytest.mark.parametrize("mode", MODES)


def test_every_loss_has_a_row_and_an_oracle():
    assert not find_untested()


# --------------------------------------------------------------------------------- one of each kind


def make(row, **more):
    """A loss, with fixed weights if it has weights."""
    name, settings, _ = ROWS[row]
    return attach(losses.LOSSES[name](**settings, **more))


def attach(loss):
    loss.attach({n: tf.constant(v) for n, v in zip(specs(loss), weights_of(loss), strict=True)})
    return loss


def specs(loss):
    return loss.weight_specs(DIM)


def weights_of(loss):
    rng = np.random.default_rng(3)
    about = 1.0 if isinstance(loss, losses.MarginLoss) else 0.0
    return [
        (about + 0.3 * rng.normal(size=shape)).astype(np.float32)
        for shape, _ in specs(loss).values()
    ]


@functools.cache
def compiled(row, mode, policy="float32", reduction="sum_over_batch_size", ranks=(1, 1)):
    # As users set it: then `compile` scales the loss under mixed_float16.
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((DIM,))
        model = keras.Model(inputs, keras.layers.Dense(DIM, use_bias=False)(inputs))
        loss = make(row, reduction=reduction)
        options = {"run_eagerly": mode == "eager", "jit_compile": mode == "jit"}
        if loss.has_weights:
            model = losses.MetricModel(model, loss)
            model.compile(keras.optimizers.SGD(1.0), **options)
        else:
            model.compile(keras.optimizers.SGD(1.0), loss=loss, **options)
        if policy == "mixed_float16":
            # From Keras's 2^15 the gradients of the steeper losses overflow, and the first steps
            # are spent on halving it.
            model.optimizer.initial_scale = 2.0**7
    finally:
        keras.config.set_dtype_policy("float32")
    return model


def start(model, row):
    weights = [np.eye(DIM, dtype=np.float32), *weights_of(make(row))]
    model.set_weights(weights)
    return weights


def fit_step(row, mode, labels, embeddings, weights=None, policy="float32", **more):
    """Logged loss and gradient of one batch, by the matrix and the weights of the loss."""
    # A model for each rank: a `tf.function` that met two of them forgets the rank altogether.
    model = compiled(row, mode, policy, ranks=(np.ndim(labels), np.ndim(weights)), **more)
    before = start(model, row)
    batch = (embeddings, labels) if weights is None else (embeddings, labels, weights)
    history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    gradients = [b - a for b, a in zip(before, model.get_weights(), strict=True)]
    return history.history["loss"][0], gradients


def with_variables(row):
    """A loss, and a variable for the matrix and for each of its weights."""
    loss = make(row)
    variables = [tf.Variable(np.eye(DIM, dtype=np.float32)), *map(tf.Variable, weights_of(loss))]
    loss.attach(dict(zip(specs(loss), variables[1:], strict=True)))
    return loss, variables


def compute_directly(row, labels, embeddings, weights=None):
    """The same without Keras around it: the mean of the losses and its gradients."""
    loss, variables = with_variables(row)
    with tf.GradientTape() as tape:
        values = loss.compute(tf.constant(labels), tf.matmul(embeddings, variables[0]))
        value = tf.reduce_mean(values * (1.0 if weights is None else weights))
    return value.numpy(), [g.numpy() for g in tape.gradient(value, variables)]


def assert_same_step(step, expected, factor=1.0):
    np.testing.assert_allclose(step[0], factor * expected[0], rtol=1e-5, atol=1e-6)
    for gradient, by_hand in zip(step[1], expected[1], strict=True):
        largest = max(1.0, factor * np.abs(by_hand).max())
        np.testing.assert_allclose(gradient, factor * by_hand, rtol=1e-4, atol=1e-5 * largest)


def also_longest(cases, others):
    """Cases, and others for `--all`."""
    return [*cases, *(pytest.param(*case, marks=pytest.mark.longest) for case in others)]


# Compiling takes most of the time: with XLA two of the rows wait for `--slow`.
three_rows_by_mode = pytest.mark.parametrize(
    ("row", "mode"),
    also_longest(
        [*((THREE[0], mode) for mode in MODES), *((r, m) for r in THREE[1:] for m in MODES[:2])],
        [(row, "jit") for row in THREE[1:]],
    ),
)


@pytest.mark.parametrize(
    ("row", "mode"),
    also_longest([(r, m) for r in THREE for m in MODES], [(r, "graph") for r in OTHERS]),
)
def test_fit_logs_the_loss_and_steps_along_its_gradient(row, mode):
    expected = compute_directly(row, LABELS, EMBEDDINGS)
    assert abs(expected[0]) > 0.01
    assert all(np.abs(gradient).max() > 0.01 for gradient in expected[1])
    assert_same_step(fit_step(row, mode, LABELS, EMBEDDINGS), expected)


WIDTHS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@pytest.mark.parametrize(
    ("row", "mode", "dtype"),
    also_longest(
        [
            *((THREE[0], "graph", dtype) for dtype in WIDTHS),
            *((row, "graph", dtype) for row in THREE[1:] for dtype in ("int8", "uint64")),
            *((row, "eager", "int8") for row in THREE),
            (THREE[0], "jit", "uint64"),
        ],
        [(row, "jit", "uint64") for row in THREE[1:]],
    ),
)
def test_labels_of_any_integer_width(row, mode, dtype):
    expected = compute_directly(row, LABELS, EMBEDDINGS)
    assert_same_step(fit_step(row, mode, LABELS.astype(dtype), EMBEDDINGS), expected)


@three_rows_by_mode
def test_labels_as_a_column(row, mode):
    expected = compute_directly(row, LABELS, EMBEDDINGS)
    assert_same_step(fit_step(row, mode, LABELS[:, None], EMBEDDINGS), expected)


@every_mode
@pytest.mark.parametrize("offset", [2**11, 2**24, 2**53, -(2**62)])
def test_ids_that_floats_merge_stay_apart(mode, offset):
    """Neighbouring ids: as float32, all above 2^24 would be one class."""
    _, near = np.unique(LABELS, return_inverse=True)
    expected = compute_directly(THREE[0], near, EMBEDDINGS)
    step = fit_step(THREE[0], mode, near.astype(np.int64) + offset, EMBEDDINGS)
    assert_same_step(step, expected)


@three_rows_by_mode
def test_sample_weight_weights_anchors(row, mode):
    weights = np.linspace(0, 2, len(LABELS)).astype(np.float32)
    expected = compute_directly(row, LABELS, EMBEDDINGS, weights)
    assert_same_step(fit_step(row, mode, LABELS, EMBEDDINGS, weights), expected)
    column = fit_step(row, mode, LABELS, EMBEDDINGS, weights[:, None])
    assert_same_step(column, expected)


@three_rows_by_mode
def test_sum_is_the_batch_size_times_the_loss(row, mode):
    step = fit_step(row, mode, LABELS, EMBEDDINGS, reduction="sum")
    assert_same_step(step, compute_directly(row, LABELS, EMBEDDINGS), factor=10)


@pytest.mark.parametrize(
    ("row", "mode"),
    also_longest(
        [*((THREE[0], mode) for mode in MODES), *((r, m) for r in THREE[1:] for m in MODES[:2])],
        [*((row, "jit") for row in THREE[1:]), *((row, "graph") for row in OTHERS)],
    ),
)
def test_ragged_last_batch(row, mode):
    model = compiled(row, mode, ranks=(1, 0))
    start(model, row)
    parts = [slice(0, 7), slice(7, 10)]
    labels = np.array([1, 1, 1, 2, 2, 3, 3, 4, 4, 5])
    value = model.evaluate(
        tf.data.Dataset.from_tensor_slices((EMBEDDINGS, labels)).batch(7),
        verbose=0,
        return_dict=True,
    )["loss"]
    values = [compute_directly(row, labels[p], EMBEDDINGS[p])[0] for p in parts]
    np.testing.assert_allclose(value, 0.7 * values[0] + 0.3 * values[1], rtol=1e-5)
    history = model.fit(EMBEDDINGS, labels, batch_size=7, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


HALF = {"float16": 0.02, "bfloat16": 0.1}


@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize(
    ("row", "mode"),
    also_longest(
        [(row, "graph") for row in THREE],
        [
            *((row, m) for row in THREE for m in ("eager", "jit")),
            *((r, "graph") for r in OTHERS),
        ],
    ),
)
def test_half_precision_models(row, mode, half):
    """The model rounds the embeddings; from there on the loss is as exact as ever."""
    policy = f"mixed_{half}"
    expected = compute_directly(row, LABELS, rounded(half))
    value, gradients = fit_step(row, mode, LABELS, EMBEDDINGS, policy=policy)
    np.testing.assert_allclose(value, expected[0], rtol=1e-4, atol=1e-6)
    for gradient, by_hand in zip(gradients, expected[1], strict=True):
        largest = np.abs(by_hand).max()
        np.testing.assert_allclose(gradient, by_hand, rtol=0, atol=HALF[half] * largest)
    scaled = hasattr(compiled(row, mode, policy, ranks=(1, 0)).optimizer, "inner_optimizer")
    assert scaled == (policy == "mixed_float16")


def rounded(half):
    return tf.cast(tf.cast(EMBEDDINGS, half), "float32").numpy()


BAD = {
    "one-hot": (np.eye(10, dtype=np.int64), "One-hot labels? Pass `argmax(labels, axis=-1)`"),
    "floats": (LABELS.astype(np.float32), "must be integer class ids; floats merge"),
    "rank 3": (LABELS[:, None, None], "shape `(B,)` or `(B, 1)`. Received: labels with shape="),
}


@every_mode
@three_rows
@pytest.mark.parametrize("case", BAD)
def test_labels_that_are_no_class_ids_are_refused(row, mode, case):
    labels, message = BAD[case]
    with pytest.raises(ValueError) as raised:
        fit_step(row, mode, labels, EMBEDDINGS)
    assert message in str(raised.value)


@three_rows
def test_shapes_that_do_not_fit_are_refused(row):
    loss = make(row)
    for labels, embeddings, message in (
        (LABELS[:9], EMBEDDINGS, "must have the same length. Received: labels with shape=(9,)"),
        (LABELS, EMBEDDINGS[None], "must have shape `(B, D)`. Received: embeddings with shape=(1,"),
        (LABELS, LABELS[:, None], "`embeddings` (`y_pred`) must be floats. Received:"),
        (LABELS[0], EMBEDDINGS, "shape `(B,)` or `(B, 1)`. Received: labels with shape=()"),
    ):
        with pytest.raises(ValueError) as raised:
            loss(labels, embeddings)
        assert message in str(raised.value)


@three_rows
def test_unknown_rank_is_refused(row):
    loss = make(row)
    unknown = tf.TensorSpec(None, tf.int64)
    known = tf.TensorSpec((None, DIM), tf.float32)
    with pytest.raises(ValueError, match="Received: labels with shape=unknown"):
        tf.function(lambda y, x: loss(y, x)).get_concrete_function(unknown, known)
    with pytest.raises(ValueError, match="Received: embeddings with shape=unknown"):
        tf.function(lambda y, x: loss(y, x)).get_concrete_function(
            tf.TensorSpec((None,), tf.int64), tf.TensorSpec(None, tf.float32)
        )


@three_rows
@pytest.mark.parametrize("reduction", [None, "none", "auto", "mean_with_sample_weight"])
def test_reductions_that_train_on_something_else_are_refused(row, reduction):
    with pytest.raises(ValueError, match="`reduction` must be one of"):
        make(row, reduction=reduction)


@three_rows
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_half_precision_in_the_loss_is_refused(row, dtype):
    with pytest.raises(ValueError, match="`dtype` must be 'float32' or 'float64'"):
        make(row, dtype=dtype)


@three_rows
def test_half_precision_as_default_type_leaves_the_loss_in_float32(row):
    keras.config.set_floatx("float16")
    try:
        assert make(row).dtype == "float32"
    finally:
        keras.config.set_floatx("float32")


@pytest.mark.parametrize("row", THREE[1:])
@pytest.mark.parametrize("wrong", [12, -1, 2**24 + 1, 2**40 + 3])
def test_labels_that_are_no_class_indices_are_refused(row, wrong):
    labels = LABELS.copy()
    labels[4] = wrong
    with pytest.raises(ValueError) as raised:
        fit_step(row, "eager", labels, EMBEDDINGS)
    assert str(raised.value) == (
        "`labels` must be class indices, at least 0 and below num_classes=12. "
        f"Received: {wrong} among the labels"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be class indices, at least 0"):
        fit_step(row, "graph", labels, EMBEDDINGS)
    # XLA knows no assertions.
    value, _ = fit_step(row, "jit", labels, EMBEDDINGS)
    assert np.isnan(value)


def after_a_step(row):
    """A model after one step from the weights of the row."""
    model = compiled(row, "graph", ranks=(1, 0))
    start(model, row)
    model.fit(EMBEDDINGS, LABELS, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    """What a process that knows only `mdl_tf.load_model` makes of saved models."""
    folder = tmp_path_factory.mktemp("models")
    for row in THREE:
        after_a_step(row).save(folder / f"{row}.keras")
    np.savez(folder / "batch.npz", labels=LABELS, embeddings=EMBEDDINGS)
    script = (
        "import json, sys, keras, numpy as np, mdl_tf\n"
        "folder, *rows = sys.argv[1:]\n"
        "batch = np.load(folder + '/batch.npz')\n"
        "results = {}\n"
        "for row in rows:\n"
        "    model = mdl_tf.load_model(f'{folder}/{row}.keras')\n"
        "    history = model.fit(batch['embeddings'], batch['labels'], verbose=0,\n"
        "                        shuffle=False)\n"
        "    results[row] = [model.loss.get_config(), history.history['loss'][0],\n"
        "                    int(model.optimizer.iterations)]\n"
        "registered = list(keras.saving.get_custom_objects())\n"
        "print(json.dumps([results, registered]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), *THREE],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@three_rows
def test_saved_model_goes_on_in_a_fresh_process(row, reloaded):
    model = after_a_step(row)
    config, value, iterations = reloaded[0][row]
    assert config == make(row).get_config()
    history = model.fit(EMBEDDINGS, LABELS, shuffle=False, verbose=0)
    np.testing.assert_allclose(value, history.history["loss"][0], rtol=1e-5)
    assert iterations >= 2, "the optimizer goes on counting"


# ----------------------------------------------------------- the others go the same way


SAME_FOR_ALL = (
    *("__call__", "call", "compute", "get_config", "from_config", "attach", "weights", "settings"),
    *("has_weights", "dtype", "__setattr__", "__delattr__", "__repr__"),
)


@every_name
def test_every_loss_goes_through_the_base_and_the_guard(name):
    """So that the rows above stand for it."""
    loss, function = losses.LOSSES[name], getattr(losses, f"{name}_loss")
    assert issubclass(loss, losses.MetricLoss)
    for member in SAME_FOR_ALL:
        of_base = inspect.getattr_static(losses.MetricLoss, member)
        assert inspect.getattr_static(loss, member) is of_base, member
    assert loss.function is function
    guarded = guard(lambda: None)(lambda labels, embeddings: None)
    assert function.__code__ is guarded.__code__


@pytest.mark.slow
@every_name
def test_every_loss_is_known_in_a_fresh_process(name, reloaded):
    assert f"mdl_tf>{losses.LOSSES[name].__name__}" in reloaded[1]


@every_row
def test_config_round_trip(row):
    loss = make(row, reduction="sum", name="mine", dtype="float64")
    config = json.loads(json.dumps(loss.get_config()))
    again = attach(type(loss).from_config(config))
    assert again.get_config() == config
    assert (again.name, again.reduction, again.dtype) == ("mine", "sum", "float64")
    value = again(*mixed_batch(0, DIM, "float64"))
    assert value.dtype == tf.float64
    assert float(value) == float(loss(*mixed_batch(0, DIM, "float64")))
    by_registry = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert by_registry.get_config() == config


@pytest.mark.parametrize("row", [row for row in ROWS if make(row).has_weights])
def test_weights_that_nothing_would_train_are_refused(row):
    name, settings, _ = ROWS[row]
    loss = losses.LOSSES[name](**settings)
    uses = [lambda: loss(LABELS, EMBEDDINGS)]
    if row in THREE:
        inputs = keras.Input((DIM,))
        model = keras.Model(inputs, keras.layers.Dense(DIM)(inputs))
        model.compile("sgd", loss=loss)
        uses.append(lambda: model.fit(EMBEDDINGS, LABELS, verbose=0))
    for use in uses:
        with pytest.raises(ValueError) as raised:
            use()
        for key, value in settings.items():
            assert f"{key}={value!r}" in str(raised.value)
        assert f"MetricModel(embedder, {type(loss).__name__}(" in str(raised.value)


# ------------------------------------------------------------------------------ every formula


@functools.cache
def traced(row, mode):
    """A function of a batch of any size to loss and gradients, in a mode."""
    loss, variables = with_variables(row)

    def step(labels, embeddings):
        with tf.GradientTape() as tape:
            value = loss(labels, tf.matmul(embeddings, variables[0]))
        return value, tape.gradient(value, variables)

    if mode == "eager":
        return step
    signature = [tf.TensorSpec([None], "int64"), tf.TensorSpec((None, DIM), "float32")]
    return tf.function(step, signature, jit_compile=mode == "jit", autograph=False)


def call_step(row, mode, labels, embeddings):
    """Loss and gradients as Keras calls the loss, in a tenth of the time of a `fit`."""
    batch = tf.constant(labels, tf.int64), tf.constant(embeddings, tf.float32)
    value, gradients = traced(row, mode)(*batch)
    return value.numpy(), [gradient.numpy() for gradient in gradients]


@pytest.mark.parametrize(
    ("row", "mode"),
    also_longest(
        [*((r, m) for r in ROWS for m in MODES[:2]), *((row, "jit") for row in BY_XLA)],
        [(row, "jit") for row in ROWS if row not in BY_XLA],
    ),
)
def test_every_mode_has_the_same_value_and_gradient(row, mode):
    expected = compute_directly(row, LABELS, EMBEDDINGS)
    assert_same_step(call_step(row, mode, LABELS, EMBEDDINGS), expected)


@every_row
def test_one_graph_takes_batches_of_every_size(row):
    for size in (3, 7, 8):
        expected = compute_directly(row, LABELS[:size], EMBEDDINGS[:size])
        assert_same_step(call_step(row, "graph", LABELS[:size], EMBEDDINGS[:size]), expected)


# All but one of one size, for which XLA compiles once.
DEGENERATE = {
    "no positives": (np.arange(10), EMBEDDINGS),
    "one class": (np.zeros(10, int), EMBEDDINGS),
    "one image": (np.zeros(1, int), EMBEDDINGS[:1]),
    "duplicates": (np.array([0, 0, 1, 1, 0, 2, 0, 1, 2, 2]), EMBEDDINGS[[0, 0, *[1] * 7, 0]]),
    "all the same": (np.repeat([0, 1], 5), EMBEDDINGS[[3] * 10]),
    "zero vectors": (np.repeat([0, 1], 5), np.zeros((10, DIM), np.float32)),
    "one zero vector": (np.repeat([0, 1], 5), EMBEDDINGS * [[0], *[[1]] * 9]),
}
OF_ONE_SIZE = [case for case in DEGENERATE if case != "one image"]


@pytest.mark.parametrize(
    ("row", "mode", "case"),
    also_longest(
        [
            *((row, "graph", case) for row in ROWS for case in DEGENERATE),
            *((row, "eager", case) for row in THREE for case in DEGENERATE),
            *((row, "jit", case) for row in BY_XLA for case in OF_ONE_SIZE),
            (THREE[0], "jit", "one image"),
        ],
        [
            *((row, "jit", case) for row in ROWS if row not in BY_XLA for case in OF_ONE_SIZE),
            *((row, "jit", "one image") for row in ROWS if row != THREE[0]),
        ],
    ),
)
def test_degenerate_batches_give_a_finite_value_and_gradient(row, mode, case):
    labels, embeddings = DEGENERATE[case]
    value, gradients = call_step(row, mode, labels, embeddings)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    if case in ROWS[row][2]:
        assert value == 0
        assert all((gradient == 0).all() for gradient in gradients)
    else:
        assert value != 0


@every_row
def test_gradient_of_every_embedding_is_finite_where_some_coincide(row):
    """The matrix above sums over images and could hide an infinity times zero."""
    for labels, embeddings in DEGENERATE.values():
        x = tf.constant(embeddings.astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = make(row)(labels, x)
        assert np.isfinite(tape.gradient(loss, x).numpy()).all()


@every_row
@pytest.mark.parametrize("half", HALF)
def test_embeddings_in_half_precision(row, half):
    """The formula computes in float32, and a gradient that float16 holds comes back."""
    x = tf.cast(EMBEDDINGS, half)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = make(row)(LABELS, x)
    exact = tf.constant(rounded(half))
    with tf.GradientTape() as exact_tape:
        exact_tape.watch(exact)
        expected = make(row)(LABELS, exact)
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, expected)
    gradient, by_hand = tape.gradient(value, x), exact_tape.gradient(expected, exact)
    assert gradient.dtype == half
    np.testing.assert_array_equal(gradient, tf.cast(by_hand, half))


@pytest.mark.parametrize("row", BY_CLASS)
def test_a_label_out_of_range_is_refused_eagerly(row):
    """By the function, too, which knows C from the weights."""
    loss = make(row)
    labels = np.where(LABELS == 3, 12, LABELS)
    for use in (loss, loss.compute):
        with pytest.raises(ValueError, match="below num_classes=12. Received: 12 among the labels"):
            use(tf.constant(labels), tf.constant(EMBEDDINGS))


@pytest.mark.parametrize("row", BY_CLASS)
def test_proxies_on_embeddings_give_finite_gradients(row):
    """An angle of 0 or pi, and centres that coincide."""
    loss = make(row)
    if isinstance(loss, losses.MarginLoss):
        return  # no vectors
    weights = [np.zeros(shape, np.float32) + EMBEDDINGS[0] for shape, _ in specs(loss).values()]
    for sign in (1, -1):
        variables = [tf.Variable(sign * w) for w in weights]
        loss.attach(dict(zip(specs(loss), variables, strict=True)))
        x = tf.Variable(EMBEDDINGS[[0, 0, 1]])
        with tf.GradientTape() as tape:
            value = loss(np.array([0, 1, 1]), x)
        assert np.isfinite(value)
        for gradient in tape.gradient(value, [x, *variables]):
            assert np.isfinite(gradient.numpy()).all()
