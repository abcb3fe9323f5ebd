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
from helpers.batches import mixed_batch

from mdl_tf import losses
from mdl_tf.losses.metric_model import MetricModel

DIM = 6
LABELS, EMBEDDINGS = mixed_batch(0, DIM, "float32")
CLASSES = {"num_classes": 12}  # of which the batch has four
# Where the batch leaves a loss over anchors with positives and negatives nothing to average.
NOTHING = {"no positives", "one class", "one image"}
# row: class, settings, and the degenerate batches that give 0.
LOSSES = {
    "margin_discriminate": (losses.MarginDiscriminateLoss, {}, NOTHING),
    "margin_discriminate-hinge": (
        losses.MarginDiscriminateLoss,
        {"form": "hinge", "distance": "squared_euclidean", "margin": 0.3},
        NOTHING,
    ),
    "margin_discriminate-hardest": (
        losses.MarginDiscriminateLoss,
        {"form": "hardest", "distance": "cosine", "sharpness": 5.0},
        NOTHING,
    ),
    "contrastive": (losses.ContrastiveLoss, {"negative_margin": 1.3}, {"one image"}),
    "triplet": (losses.TripletLoss, {}, NOTHING),
    "triplet-all": (losses.TripletLoss, {"mining": "all", "distance": "euclidean"}, NOTHING),
    "triplet-hard": (losses.TripletLoss, {"mining": "hard", "soft": True}, NOTHING),
    "lifted_structure": (losses.LiftedStructureLoss, {}, NOTHING),
    "generalized_lifted_structure": (losses.GeneralizedLiftedStructureLoss, {}, NOTHING),
    "n_pairs": (losses.NPairsLoss, {"l2": 0.1}, NOTHING),
    "angular": (losses.AngularLoss, {}, NOTHING),
    "margin": (losses.MarginLoss, {}, NOTHING),
    "margin-learned": (losses.MarginLoss, {"learn_beta": True, "nu": 0.1}, NOTHING),
    "margin-by-class": (losses.MarginLoss, {"learn_beta": True, **CLASSES}, NOTHING),
    "multi_similarity": (losses.MultiSimilarityLoss, {"mining_margin": 0.3}, NOTHING),
    "circle": (losses.CircleLoss, {}, NOTHING),
    "sup_con": (losses.SupConLoss, {}, NOTHING),
    "sup_con-nt_xent": (losses.SupConLoss, {"denominator": "negatives"}, NOTHING),
    "normalized_softmax": (losses.NormalizedSoftmaxLoss, CLASSES, set()),
    "proxy_nca": (losses.ProxyNCALoss, CLASSES, set()),
    "proxy_anchor": (losses.ProxyAnchorLoss, CLASSES, set()),
    "arc_face": (losses.ArcFaceLoss, CLASSES, set()),
    "cos_face": (losses.CosFaceLoss, CLASSES, set()),
    "soft_triple": (losses.SoftTripleLoss, {**CLASSES, "centers_per_class": 3}, set()),
}
BY_CLASS = [row for row, (_, settings, _) in LOSSES.items() if "num_classes" in settings]
BY_BATCH = [row for row in LOSSES if row not in BY_CLASS]
# Rows whose every promise is kept through `fit` too: by batch, by class, and both.
BY_FIT = ("margin_discriminate", "proxy_anchor", "margin-by-class")
MODES = ("eager", "graph", "jit")

every_loss = pytest.mark.parametrize("name", LOSSES)
every_mode = pytest.mark.parametrize("mode", MODES)


def test_every_loss_has_a_row():
    assert {cls for cls, _, _ in LOSSES.values()} == set(losses.LOSSES.values())


def make(row, **more):
    """A loss, with fixed weights if it has weights."""
    cls, settings, _ = LOSSES[row]
    return attached(cls(**settings, **more))


def attached(loss):
    loss.attach(
        {
            name: tf.constant(value)
            for name, value in zip(specs(loss), own_weights(loss), strict=True)
        }
    )
    return loss


def specs(loss):
    return loss.weight_specs(DIM)


def own_weights(loss):
    rng = np.random.default_rng(3)
    about = 1.0 if isinstance(loss, losses.MarginLoss) else 0.0
    return [
        (about + 0.3 * rng.normal(size=shape)).astype(np.float32)
        for shape, _ in specs(loss).values()
    ]


@functools.cache
def compiled(name, mode, policy="float32", reduction="sum_over_batch_size", ranks=(1, 1)):
    # As users set it: then `compile` scales the loss under mixed_float16.
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((DIM,))
        model = keras.Model(inputs, keras.layers.Dense(DIM, use_bias=False)(inputs))
        loss = make(name, reduction=reduction)
        options = {"run_eagerly": mode == "eager", "jit_compile": mode == "jit"}
        if loss.has_weights:
            model = MetricModel(model, loss)
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


def start(model, name):
    weights = [np.eye(DIM, dtype=np.float32), *own_weights(make(name))]
    model.set_weights(weights)
    return weights


def one_step(name, mode, labels, embeddings, weights=None, **more):
    """Logged loss and gradient of one batch, by the matrix and the loss's own weights.

    Through `fit` for the rows of `BY_FIT`, one of each kind. What Keras does between the data and
    the loss is the same for all, so the others are called as Keras calls them, in a tenth of the
    time.
    """
    if name in BY_FIT:
        return fitted_step(name, mode, labels, embeddings, weights, **more)
    labels = np.asarray(labels)
    tail = labels.shape[1:]
    step, variables = called(name, mode, labels.dtype.name, tail, np.ndim(weights), **more)
    arguments = (labels, embeddings) if weights is None else (labels, embeddings, weights)
    value, gradients = step(*map(tf.constant, arguments))
    return value.numpy(), [g.numpy() for g in gradients]


@functools.cache
def called(name, mode, dtype, tail, weights_rank, reduction="sum_over_batch_size"):
    """A function of a batch of any size to loss and gradients, in a mode; and its variables."""
    loss = make(name, reduction=reduction)
    variables = [tf.Variable(np.eye(DIM, dtype=np.float32)), *map(tf.Variable, own_weights(loss))]
    loss.attach(dict(zip(specs(loss), variables[1:], strict=True)))

    def step(labels, embeddings, *weights):
        with tf.GradientTape() as tape:
            value = loss(labels, tf.matmul(embeddings, variables[0]), *weights)
        return value, tape.gradient(value, variables)

    if mode == "eager":
        return step, variables
    signature = [
        tf.TensorSpec([None, *tail], dtype),
        tf.TensorSpec((None, DIM), "float32"),
    ]
    if weights_rank:
        signature.append(tf.TensorSpec([None, *[1] * (weights_rank - 1)], "float32"))
    return tf.function(step, signature, jit_compile=mode == "jit"), variables


def fitted_step(name, mode, labels, embeddings, weights=None, policy="float32", **more):
    """The same through `fit`."""
    # A model for each rank: a `tf.function` that met two of them forgets the rank altogether.
    model = compiled(name, mode, policy, ranks=(np.ndim(labels), np.ndim(weights)), **more)
    before = start(model, name)
    batch = (embeddings, labels) if weights is None else (embeddings, labels, weights)
    history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    gradients = [b - a for b, a in zip(before, model.get_weights(), strict=True)]
    return history.history["loss"][0], gradients


def directly(name, labels, embeddings, weights=None):
    """The same without Keras around it: the mean of the losses and its gradients."""
    loss = make(name)
    variables = [tf.Variable(np.eye(DIM, dtype=np.float32)), *map(tf.Variable, own_weights(loss))]
    loss.attach(dict(zip(specs(loss), variables[1:], strict=True)))
    with tf.GradientTape() as tape:
        found = loss.compute(tf.constant(labels), tf.matmul(embeddings, variables[0]))
        value = tf.reduce_mean(found * (1.0 if weights is None else weights))
    return value.numpy(), [g.numpy() for g in tape.gradient(value, variables)]


def assert_same_step(found, expected, factor=1.0):
    np.testing.assert_allclose(found[0], factor * expected[0], rtol=1e-5, atol=1e-6)
    for gradient, by_hand in zip(found[1], expected[1], strict=True):
        largest = max(1.0, factor * np.abs(by_hand).max())
        np.testing.assert_allclose(gradient, factor * by_hand, rtol=1e-4, atol=1e-5 * largest)


@every_mode
@every_loss
def test_fit_logs_the_loss_and_steps_along_its_gradient(name, mode):
    expected = directly(name, LABELS, EMBEDDINGS)
    assert abs(expected[0]) > 0.01
    assert all(np.abs(gradient).max() > 0.01 for gradient in expected[1])
    assert_same_step(fitted_step(name, mode, LABELS, EMBEDDINGS), expected)


WIDTHS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@pytest.mark.parametrize(
    ("name", "mode", "dtype"),
    [
        (row, mode, dtype)
        for row in LOSSES
        for mode, dtypes in (("eager", WIDTHS[:1]), ("graph", WIDTHS), ("jit", WIDTHS[-1:]))
        for dtype in (dtypes if row in BY_FIT else dtypes[-1:])
    ],
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
@pytest.mark.parametrize("name", BY_BATCH)
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
    found = one_step(name, mode, LABELS, EMBEDDINGS, reduction="sum")
    assert_same_step(found, directly(name, LABELS, EMBEDDINGS), factor=10)


@pytest.mark.parametrize(
    ("name", "mode"), [(row, m) for row in LOSSES for m in (MODES if row in BY_FIT else ["graph"])]
)
def test_ragged_last_batch(name, mode):
    model = compiled(name, mode, ranks=(1, 0))
    start(model, name)
    parts = [slice(0, 7), slice(7, 10)]
    labels = np.array([1, 1, 1, 2, 2, 3, 3, 4, 4, 5])
    value = model.evaluate(
        tf.data.Dataset.from_tensor_slices((EMBEDDINGS, labels)).batch(7), verbose=0
    )
    values = [directly(name, labels[p], EMBEDDINGS[p])[0] for p in parts]
    np.testing.assert_allclose(value, 0.7 * values[0] + 0.3 * values[1], rtol=1e-5)
    history = model.fit(EMBEDDINGS, labels, batch_size=7, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


DEGENERATE = {
    "no positives": (np.arange(6), EMBEDDINGS[:6]),
    "one class": (np.zeros(6, int), EMBEDDINGS[:6]),
    "one image": (np.zeros(1, int), EMBEDDINGS[:1]),
    "duplicates": (np.array([0, 0, 1, 1, 0, 2]), EMBEDDINGS[[0, 0, 1, 1, 1, 1]]),
    "all the same": (np.array([0, 0, 1, 1]), EMBEDDINGS[[3, 3, 3, 3]]),
    "zero vectors": (np.array([0, 0, 1, 1]), np.zeros((4, DIM), np.float32)),
    "one zero vector": (np.array([0, 0, 1, 1]), EMBEDDINGS[:4] * [[0], [1], [1], [1]]),
}


@every_mode
@every_loss
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_batches_give_a_finite_value_and_gradient(name, mode, case):
    labels, embeddings = DEGENERATE[case]
    value, gradients = one_step(name, mode, labels, embeddings.astype(np.float32))
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    if case in LOSSES[name][2]:
        assert value == 0
        assert all((gradient == 0).all() for gradient in gradients)
    else:
        assert value != 0


@every_loss
def test_gradient_of_every_embedding_is_finite_where_some_coincide(name):
    """The matrix above sums over images and could hide an infinity times zero."""
    for labels, embeddings in DEGENERATE.values():
        x = tf.constant(embeddings.astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = make(name)(labels, x)
        assert np.isfinite(tape.gradient(loss, x).numpy()).all()


@pytest.mark.parametrize("name", BY_CLASS)
def test_proxies_on_embeddings_give_finite_gradients(name):
    """An angle of 0 or pi, and centres that coincide."""
    loss = make(name)
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


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.1)]
)
@pytest.mark.parametrize(
    ("name", "mode"), [(row, m) for row in LOSSES for m in (MODES if row in BY_FIT else ["graph"])]
)
def test_half_precision_models(name, mode, policy, tolerance):
    """The model rounds the embeddings; from there on the loss is as exact as ever."""
    rounded = tf.cast(tf.cast(EMBEDDINGS, policy.removeprefix("mixed_")), "float32").numpy()
    expected = directly(name, LABELS, rounded)
    value, gradients = fitted_step(name, mode, LABELS, EMBEDDINGS, policy=policy)
    np.testing.assert_allclose(value, expected[0], rtol=1e-4, atol=1e-6)
    for gradient, by_hand in zip(gradients, expected[1], strict=True):
        largest = np.abs(by_hand).max()
        np.testing.assert_allclose(gradient, by_hand, rtol=0, atol=tolerance * largest)
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


@pytest.mark.parametrize("name", BY_CLASS)
@pytest.mark.parametrize("wrong", [12, -1, 2**24 + 1, 2**40 + 3])
def test_labels_that_are_no_class_indices_are_refused(name, wrong):
    labels = LABELS.copy()
    labels[4] = wrong
    with pytest.raises(ValueError) as raised:
        one_step(name, "eager", labels, EMBEDDINGS)
    assert str(raised.value) == (
        "`labels` must be class indices, at least 0 and below num_classes=12. "
        f"Received: {wrong} among the labels"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be class indices, at least 0"):
        one_step(name, "graph", labels, EMBEDDINGS)
    # XLA knows no assertions.
    value, _ = one_step(name, "jit", labels, EMBEDDINGS)
    assert np.isnan(value)


@pytest.mark.parametrize("name", [row for row in LOSSES if make(row).has_weights])
def test_weights_that_nothing_would_train_are_refused(name):
    cls, settings, _ = LOSSES[name]
    loss = cls(**settings)
    inputs = keras.Input((DIM,))
    model = keras.Model(inputs, keras.layers.Dense(DIM)(inputs))
    model.compile("sgd", loss=loss)
    for use in (
        lambda: loss(LABELS, EMBEDDINGS),
        lambda: model.fit(EMBEDDINGS, LABELS, verbose=0),
    ):
        with pytest.raises(ValueError) as raised:
            use()
        given = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        for key, value in settings.items():
            assert f"{key}={value!r}" in str(raised.value), given
        assert f"MetricModel(embedder, {cls.__name__}(" in str(raised.value)


@every_loss
def test_config_round_trip(name):
    loss = make(name, reduction="sum", name="mine", dtype="float64")
    config = json.loads(json.dumps(loss.get_config()))
    again = attached(type(loss).from_config(config))
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
        model = compiled(name, "graph", ranks=(1, 0))
        fitted_step(name, "graph", LABELS, EMBEDDINGS)
        model.save(folder / f"{name}.keras")
    np.savez(folder / "batch.npz", labels=LABELS, embeddings=EMBEDDINGS)
    script = (
        "import json, sys, numpy as np, mdl_tf\n"
        "folder, *names = sys.argv[1:]\n"
        "batch = np.load(folder + '/batch.npz')\n"
        "found = {}\n"
        "for name in names:\n"
        "    model = mdl_tf.load_model(f'{folder}/{name}.keras')\n"
        "    history = model.fit(batch['embeddings'], batch['labels'], verbose=0,\n"
        "                        shuffle=False)\n"
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
    model = compiled(name, "graph", ranks=(1, 0))
    fitted_step(name, "graph", LABELS, EMBEDDINGS)
    config, value, iterations = reloaded_in_a_fresh_process[name]
    assert config == make(name).get_config()
    history = model.fit(EMBEDDINGS, LABELS, shuffle=False, verbose=0)
    np.testing.assert_allclose(value, history.history["loss"][0], rtol=1e-5)
    assert iterations >= 2, "the optimizer goes on counting"
