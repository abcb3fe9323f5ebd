"""What every loss function gets from its decorator."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
from helpers.batches import mixed_batch

from mdl_tf import losses
from mdl_tf.checks import check_number
from mdl_tf.losses.guard import guard

LABELS, EMBEDDINGS = mixed_batch(0)
CALLS = []


@pytest.fixture(autouse=True)
def forget_calls():
    CALLS.clear()


@guard(lambda scale: check_number("scale", scale, above=0))
def plain_loss(labels, embeddings, *, scale=2.0):
    """A formula."""
    CALLS.append((labels, embeddings, scale))
    return scale * tf.reduce_sum(embeddings, axis=1)


@guard(lambda: None, weights="(C, D)")
def class_loss(labels, embeddings, proxies):
    """A formula with weights."""
    CALLS.append((labels, embeddings, proxies))
    return tf.zeros_like(embeddings[:, 0])


def test_the_formula_gets_checked_tensors():
    losses_of_images = plain_loss(LABELS[:, None].astype("uint8"), EMBEDDINGS.astype("float16"))
    labels, embeddings, scale = CALLS.pop()
    assert (labels.dtype, labels.shape, scale) == (tf.int64, (10,), 2.0)
    assert embeddings.dtype == tf.float32
    np.testing.assert_allclose(losses_of_images, 2 * embeddings.numpy().sum(axis=1), rtol=1e-6)
    class_loss(np.array([0, 2]), EMBEDDINGS[:2].astype("float32"), np.ones((3, 6)))
    labels, embeddings, proxies = CALLS.pop()
    assert (labels.dtype, proxies.dtype, proxies.shape) == (tf.int32, tf.float32, (3, 6))


def test_it_looks_as_it_was_written():
    assert str(inspect.signature(plain_loss)) == "(labels, embeddings, *, scale=2.0)"
    assert (plain_loss.__name__, plain_loss.__doc__) == ("plain_loss", "A formula.")
    by_keyword = plain_loss(embeddings=EMBEDDINGS, labels=LABELS, scale=3.0)
    np.testing.assert_array_equal(by_keyword, plain_loss(LABELS, EMBEDDINGS, scale=3.0))


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((LABELS,), {}, "plain_loss() missing a required argument: 'embeddings'"),
        ((LABELS, EMBEDDINGS, 3.0), {}, "plain_loss() too many positional arguments"),
        (
            (LABELS, EMBEDDINGS),
            {"scal": 1},
            "plain_loss() got an unexpected keyword argument 'scal'",
        ),
    ],
)
def test_arguments_that_do_not_fit(arguments, settings, message):
    with pytest.raises(TypeError) as raised:
        plain_loss(*arguments, **settings)
    assert str(raised.value) == message


def test_settings_are_refused_before_labels_and_labels_before_weights():
    one_hot, wrong = np.eye(10, dtype=int), np.ones((3, 5))
    with pytest.raises(ValueError, match="`scale` must be a number, above 0. Received: scale=0"):
        plain_loss(one_hot, EMBEDDINGS, scale=0)
    with pytest.raises(ValueError, match="One-hot labels?"):
        class_loss(one_hot, EMBEDDINGS, wrong)
    with pytest.raises(ValueError, match="`proxies` must have a known shape `.C, D.`"):
        class_loss(LABELS, EMBEDDINGS, wrong)
    with pytest.raises(ValueError, match="below num_classes=3. Received: 7 among the labels"):
        class_loss(np.array([0, 7]), EMBEDDINGS[:2], np.ones((3, 6)))
    assert not CALLS


@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "jit"])
def test_what_is_not_finite_is_seen(jit):
    def step(embeddings, proxies):
        labels = tf.zeros_like(embeddings[:, 0], tf.int32)
        return class_loss(labels, embeddings, proxies)

    if jit is not None:
        step = tf.function(step, jit_compile=jit)
    ones = np.ones((3, 6))
    for value in (np.nan, np.inf, -np.inf):
        wrong = np.where(np.arange(18).reshape(3, 6) == 7, value, ones)
        assert np.isnan(step(wrong, ones)).all()
        assert np.isnan(step(ones, wrong)).all()
    assert not np.isnan(step(ones, ones)).any()


def test_a_graph_that_gets_the_loss_as_an_argument_is_guarded_too():
    """TensorFlow takes the `__wrapped__` of such an argument, if it has one."""

    @tf.function
    def step(loss, embeddings):
        return loss(LABELS, embeddings)

    wrong = np.where(EMBEDDINGS > 0.5, np.nan, EMBEDDINGS)
    assert np.isnan(step(losses.contrastive_loss, wrong)).all()
    assert not hasattr(losses.contrastive_loss, "__wrapped__")
