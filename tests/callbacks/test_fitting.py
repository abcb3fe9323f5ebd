"""What a callback sees of its `fit`: private in Keras, so these tests name its version."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mdl_tf import batches
from mdl_tf.callbacks import fitting
from mdl_tf.datasets import ImageSet

X = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
Y = np.arange(40)
CHANGED = (
    f"Keras {keras.__version__} calls its callbacks otherwise than `mdl_tf.callbacks.fitting` "
    "expects: look at the local names of `TensorFlowTrainer.fit`"
)


class Spy(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.seen = dict(fitting.find_fit(self.model))


def fit(*arguments, **options):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    spy = Spy()
    model.fit(*arguments, verbose=0, callbacks=[spy], **options)
    return model, spy


def test_a_callback_sees_what_fit_was_given():
    model, spy = fit(X, Y, batch_size=20, shuffle=False, validation_data=(X, Y))
    assert spy.seen, CHANGED
    assert spy.seen["self"] is model
    assert spy.seen["x"] is X and spy.seen["y"] is Y, CHANGED
    assert (spy.seen["batch_size"], spy.seen["shuffle"]) == (20, False), CHANGED
    assert spy.seen["validation_data"][0] is X, CHANGED
    assert spy in spy.seen["callbacks"].callbacks, CHANGED


def test_the_part_that_is_split_off_is_the_validation_data():
    _, spy = fit(X, Y, validation_split=0.25)
    np.testing.assert_array_equal(spy.seen["validation_data"][1], Y[30:], CHANGED)


def test_without_fit_nothing_is_seen():
    spy = Spy()
    spy.set_model(keras.Sequential())
    spy.on_train_begin()
    assert spy.seen == {}


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return X[i * 20 : i * 20 + 20], Y[i * 20 : i * 20 + 20]


def stream(**options):
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(16, **options)


def generator():
    yield X, Y


IMAGE_SET = ImageSet("set", np.repeat(np.arange(4), 10), tuple("abcd"), features=X)


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ({"x": X, "y": Y, "batch_size": 16, "shuffle": True}, [16, 16, 8]),
        ({"x": X, "y": Y[:, None], "batch_size": None}, [32, 8]),
        ({"x": X, "y": X}, []),
        ({"x": X, "y": None}, []),
        ({"x": stream()}, [16, 16, 8]),
        ({"x": stream().map(lambda x, y: x)}, []),
        ({"x": Batches()}, [20, 20]),
        ({"x": generator()}, []),
        ({"x": stream().filter(lambda x, y: True)}, []),  # perhaps of a generator
        ({"x": batches.balanced(IMAGE_SET, 2, 2)}, []),
        ({}, []),
    ],
)
def test_labels_of_the_first_batches(arguments, sizes):
    found = list(fitting.sample_labels(arguments))
    assert [labels.shape for labels in found] == [(size,) for size in sizes]
    assert all(np.isin(labels, Y).all() for labels in found)


def test_arrays_are_shuffled_as_fit_does():
    first = next(fitting.sample_labels({"x": X, "y": Y, "shuffle": True}))
    assert not np.array_equal(first, Y[:32])
    first = next(fitting.sample_labels({"x": X, "y": Y, "shuffle": False}))
    np.testing.assert_array_equal(first, Y[:32])
