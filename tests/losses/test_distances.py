"""Distances against direct differences."""

import numpy as np
import pytest
import tensorflow as tf

from mdl_tf.losses.distances import DISTANCES, cosine, euclidean, squared_euclidean


def direct(a, b, kind):
    a, b = a.astype(np.float64), b.astype(np.float64)
    if kind == "cosine":
        a = a / np.linalg.norm(a, axis=1, keepdims=True)
        b = b / np.linalg.norm(b, axis=1, keepdims=True)
        return 1 - a @ b.T
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    return squared if kind == "squared_euclidean" else np.sqrt(squared)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_two_different_sets(kind, dtype, tolerance):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 5)).astype(dtype), rng.normal(size=(4, 5)).astype(dtype)
    found = DISTANCES[kind](a, b)
    assert found.shape == (7, 4)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, direct(a, b, kind), atol=tolerance)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(kind, dtype):
    x = tf.cast(np.random.default_rng(0).normal(size=(6, 300)), dtype)
    found = DISTANCES[kind](x, x)
    assert found.dtype == tf.float32
    expected = direct(tf.cast(x, tf.float64).numpy(), tf.cast(x, tf.float64).numpy(), kind)
    off_diagonal = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(found.numpy()[off_diagonal], expected[off_diagonal], rtol=1e-5)


@pytest.mark.parametrize("distance", [euclidean, squared_euclidean])
@pytest.mark.parametrize("dim", [2, 64, 130, 512])
@pytest.mark.parametrize("length", [1e-4, 1.0, 3e3])
def test_duplicates_are_at_distance_zero_with_gradient_zero(distance, dim, length):
    rng = np.random.default_rng(dim)
    x = rng.normal(size=(40, dim))
    x = (length * x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    x = tf.constant(np.concatenate([x, x]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        d = distance(x, x)
        twins = tf.linalg.diag_part(d[:40, 40:])
    assert (twins.numpy() == 0).all()
    assert (tf.linalg.diag_part(d).numpy() == 0).all()
    assert (tape.gradient(twins, x).numpy() == 0).all()
    others = d.numpy()[~np.tile(np.eye(40, dtype=bool), (2, 2))]
    assert (others > 0).all()


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_an_embedding_close_to_collapse_keeps_its_distances(offset):
    x = (offset + 1e-3 * np.random.default_rng(0).normal(size=(20, 16))).astype(np.float32)
    expected = direct(x, x, "euclidean")
    found = euclidean(x, x).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_cosine_of_a_zero_vector_is_one_with_gradient_zero():
    x = tf.constant([[0.0, 0.0], [3.0, 4.0], [1e-13, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        d = cosine(x, x)
    gradient = tape.gradient(d, x).numpy()
    np.testing.assert_array_equal(d.numpy()[0], 1)
    assert np.isfinite(gradient).all()
    assert (gradient[[0, 2]] == 0).all()
