"""Losses a tile of anchors at a time: the dense form's numbers, in memory that grows with B."""

import inspect
import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import slow_but
from helpers.loss_rows import ROWS

from mdl_tf import losses
from mdl_tf.losses import tile_size, tiles

RNG = np.random.default_rng(0)
LABELS = np.array([20, 21, 22, *RNG.integers(0, 6, 20)])  # three images without a positive
EMBEDDINGS = RNG.normal(size=(23, 5))
EMBEDDINGS /= np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
EMBEDDINGS[[1, 9, 17]] = EMBEDDINGS[0]  # images that coincide
WEIGHTS = np.linspace(0, 2, 23).astype(np.float32)
HAS_TILES = [
    row
    for row, (name, _, _) in ROWS.items()
    if "tile" in inspect.signature(getattr(losses, f"{name}_loss")).parameters
]


def make(row, tile, **options):
    name, settings, _ = ROWS[row]
    if "num_classes" in settings:
        settings = {**settings, "num_classes": 30}
    loss = losses.LOSSES[name](**settings, tile=tile, **options)
    weights = {n: tf.Variable(tf.fill(s, 1.1)) for n, (s, _) in loss.weight_specs(5).items()}
    loss.attach(weights)
    return loss, list(weights.values())


def step(loss, variables, dtype="float32", labels=LABELS, x=EMBEDDINGS, weights=WEIGHTS):
    """Loss and gradients to embeddings and weights, eagerly."""
    x = tf.cast(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(tf.constant(labels), x, sample_weight=weights)
    return value, tape.gradient(value, [x, *variables])


def assert_same(found, expected, rtol=1e-7, of_largest=3e-6, least=0.01):
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol, atol=1e-7)
    for gradient, by_dense in zip(found[1], expected[1], strict=True):
        assert gradient.dtype == by_dense.dtype
        gradient, by_dense = (tf.cast(g, tf.float64).numpy() for g in (gradient, by_dense))
        largest = max(least, np.abs(by_dense).max())
        np.testing.assert_allclose(gradient, by_dense, rtol=0, atol=of_largest * largest)


def test_the_losses_of_sums_and_extremes_over_rows_have_tiles():
    names = {ROWS[row][0] for row in HAS_TILES}
    assert names >= {
        *("margin_discriminate", "contrastive", "triplet", "generalized_lifted_structure"),
        *("margin", "multi_similarity", "circle", "sup_con"),
    }


@pytest.mark.parametrize("row", HAS_TILES)
def test_tiles_equal_the_dense_form(row):
    """Tiles that divide the batch and that do not, one, and more than there are anchors."""
    expected = step(*make(row, None))
    assert abs(expected[0]) > 0.01
    for tile in (7, 23, 100):
        assert_same(step(*make(row, tile)), expected, rtol=3e-7)


@pytest.mark.parametrize(
    ("distance", "form"),
    list(
        itertools.product(
            ("euclidean", "squared_euclidean", "cosine"), ("smooth", "hinge", "hardest")
        )
    ),
)
def test_ours_equals_the_dense_form_in_float64(distance, form):
    for margin, scale in ((0.0, 1.0), (0.5, 30.0)):
        settings = {"distance": distance, "form": form, "margin": margin, "sharpness": 10.0}
        dense = losses.MarginDiscriminateLoss(**settings, tile=None, dtype="float64")
        tiled = losses.MarginDiscriminateLoss(**settings, tile=6, dtype="float64")
        expected = step(dense, [], "float64", x=scale * EMBEDDINGS)
        assert_same(
            step(tiled, [], "float64", x=scale * EMBEDDINGS), expected, 1e-13, of_largest=1e-11
        )
        # In float32 no farther from it than the dense form's rounding.
        tiled = losses.MarginDiscriminateLoss(**settings, tile=6)
        value, (gradient,) = step(tiled, [], x=scale * EMBEDDINGS)
        np.testing.assert_allclose(value, expected[0], rtol=2e-6)
        largest = np.abs(expected[1][0]).max()
        np.testing.assert_allclose(gradient, expected[1][0], rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("row", ["margin_discriminate", "triplet-all"])
def test_embeddings_in_half_precision(row, half):
    found, expected = (step(*make(row, tile), half) for tile in (6, None))
    assert found[0].dtype == tf.float32
    assert_same(found, expected, rtol=3e-7, of_largest=0.01)


DEGENERATE = {
    "no positives": (np.arange(10), EMBEDDINGS[:10]),
    "one class": (np.zeros(10, int), EMBEDDINGS[:10]),
    "one image": (np.zeros(1, int), EMBEDDINGS[:1]),
    "all the same": (np.repeat([0, 1], 5), EMBEDDINGS[[3] * 10]),
    "zero vectors": (np.repeat([0, 1], 5), np.zeros((10, 5))),
}


@pytest.mark.parametrize("row", HAS_TILES)
def test_degenerate_batches(row):
    for labels, x in DEGENERATE.values():
        found, expected = (
            step(*make(row, tile), labels=labels, x=x, weights=None) for tile in (4, None)
        )
        assert all(np.isfinite(gradient).all() for gradient in found[1])
        # Most of these gradients are the rounding of zeros.
        assert_same(found, expected, rtol=1e-6, least=1.0)


@pytest.mark.parametrize("row", ["margin_discriminate", "contrastive", "margin-by-class"])
def test_divergence_shows(row):
    x = EMBEDDINGS.copy()
    x[4, 2] = np.nan
    assert np.isnan(step(*make(row, 6), x=x)[0])


def in_graph(loss, size, **options):
    def run(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(labels, x, sample_weight=WEIGHTS)
        return value, [tape.gradient(value, x)]

    signature = [tf.TensorSpec([size], "int64"), tf.TensorSpec([size, 5], "float32")]
    function = tf.function(run, signature, autograph=False, **options)
    return function(tf.constant(LABELS), tf.constant(EMBEDDINGS, tf.float32))


@pytest.mark.parametrize(
    ("row", "size", "jit"),
    [
        ("margin_discriminate", None, False),
        ("triplet-all", None, False),
        pytest.param("margin_discriminate", None, True, marks=pytest.mark.slow),
        pytest.param("triplet-all", 23, True, marks=pytest.mark.slow),
        pytest.param("sup_con", 23, True, marks=pytest.mark.longest),
        pytest.param("contrastive", None, False, marks=pytest.mark.longest),
    ],
)
def test_in_a_graph_of_any_batch_size_and_under_xla(row, size, jit):
    expected = step(*make(row, None))
    found = in_graph(make(row, 6)[0], size, jit_compile=jit)
    assert_same(found, (expected[0], expected[1][:1]), rtol=1e-6)


def test_auto_takes_tiles_where_the_dense_form_would_take_too_much(monkeypatch):
    taken = []
    monkeypatch.setattr(tile_size, "_LARGEST", 6)
    monkeypatch.setattr(tile_size, "_SMALLEST", 6)
    original = tiles.map_tiles
    monkeypatch.setattr(
        tiles,
        "map_tiles",
        lambda function, inputs, tile: taken.append(tile) or original(function, inputs, tile),
    )
    expected = step(*make("contrastive", None))
    for budget, size, is_tiled in (
        (23 * 23 * 40, 23, False),
        (23 * 23 * 40 - 1, 23, True),
        (0, None, False),  # not known when it is traced
    ):
        monkeypatch.setattr(tile_size, "memory_budget", lambda budget=budget: budget)
        found = in_graph(make("contrastive", "auto")[0], size)
        assert_same(found, (expected[0], expected[1][:1]), rtol=1e-6)
        assert taken == ([6] if is_tiled else [])
        taken.clear()


def test_memory_budget_is_a_share_of_this_machine():
    tile_size.memory_budget.cache_clear()
    assert 2**26 < tile_size.memory_budget() < 2**45


@pytest.mark.parametrize("tile", [-1, 2.5, "all", True, [3], 2**40])
def test_what_is_no_tile_is_refused(tile):
    message = "`tile` must be 'auto', None or 0 (all anchors at once), or how many anchors"
    for use in (
        lambda: losses.MarginDiscriminateLoss(tile=tile),
        lambda: losses.triplet_loss(LABELS, EMBEDDINGS, tile=tile),
    ):
        with pytest.raises(ValueError) as raised:
            use()
        assert str(raised.value).startswith(message)


def test_tile_is_kept():
    loss = losses.TripletLoss(tile=128)
    assert repr(loss) == "TripletLoss(tile=128)"
    again = losses.TripletLoss.from_config(loss.get_config())
    assert again.tile == 128
    assert losses.TripletLoss(tile=0).tile is None
    assert repr(losses.TripletLoss()) == "TripletLoss()"
    by_registry = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert by_registry.tile == 128


@pytest.mark.parametrize("loss", ["angular", "n_pairs", "proxy_nca"])
def test_losses_without_tiles_say_so(loss):
    settings = {"num_classes": 4} if loss == "proxy_nca" else {}
    with pytest.raises(TypeError, match="has no argument `tile`"):
        losses.LOSSES[loss](tile=4, **settings)


@pytest.mark.slow
def test_memory_grows_with_the_batch_and_not_with_its_square():
    """The dense form of 8,192 has ten matrices of 256 MiB."""
    script = """
import resource, sys
import numpy as np, tensorflow as tf
from mdl_tf.losses import MarginDiscriminateLoss
loss = MarginDiscriminateLoss(tile=64)
def step(x):
    y = tf.range(tf.shape(x)[0]) // 4
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(y, x)
    return tape.gradient(value, x)
step = tf.function(step, [tf.TensorSpec((None, 8))], autograph=False)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
x = np.random.default_rng(0).normal(size=(8192, 8)).astype(np.float32)
step(x[:512])
before = peak()
step(x)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout.split()[-1]) < 100


@pytest.mark.parametrize("row", slow_but(HAS_TILES[:1], HAS_TILES, HAS_TILES))
def test_xla_keeps_no_array_of_all_pairs(row):
    """Nor of all labels with each other: `tf.searchsorted` is that under XLA."""
    size = 320
    labels = tf.constant(np.arange(size) % 30)
    x = tf.constant(RNG.normal(size=(size, 5)).astype(np.float32))

    def arrays_of_pairs(tile):
        loss, variables = make(row, tile)

        @tf.function(jit_compile=True, autograph=False)
        def compiled(labels, x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = loss(labels, x)
            return value, tape.gradient(value, [x, *variables])

        return f"{size},{size}" in compiled.experimental_get_compiler_ir(labels, x)("optimized_hlo")

    assert arrays_of_pairs(None)
    assert not arrays_of_pairs(32)
