"""What learns is put back as it was, for layers shared, nested, and loaded again."""

import json

import keras
import numpy as np
import pytest

from mdl_tf.embedding.trainable import flags, freeze_all_but, put_back


@keras.saving.register_keras_serializable(package="test_trainable")
class Pair(keras.layers.Layer):
    """Somebody's own layer with two others inside, of which Keras stores nothing."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = keras.layers.Dense(4), keras.layers.Dense(4)

    def build(self, shape):
        self.first.build(shape)
        self.second.build(shape)

    def call(self, x):
        return self.second(self.first(x))


def network(on_two_levels=False):
    """A model in a model, a Sequential, and all kinds of frozen things.

    Keras does not load a layer that is on two levels.
    """
    shared = keras.layers.Dense(4, name="shared")
    inner = keras.Input((4,))
    inner = keras.Model(inner, keras.layers.Dense(4, name="deep")(shared(inner)), name="inner")
    row = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a"), Pair(name="pair")])
    inputs = keras.Input((4,))
    x = row(inner(shared(inputs) if on_two_levels else inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="embedding")(x), name="embedder")
    inner.trainable = False
    shared.trainable = True  # inside what is frozen
    row.layers[-1].second.trainable = False
    row.layers[0].bias.trainable = False
    inner.layers[-1].bias.trainable = True
    return model


def learning(model):
    return [weight.trainable for weight in model.weights]


@pytest.mark.parametrize("on_two_levels", [False, True])
def test_put_back_after_a_warm_up(on_two_levels):
    model = network(on_two_levels)
    before, kept = learning(model), flags(model)
    assert 0 < sum(before) < len(before)
    freeze_all_but(model, "embedding")
    assert [w.path for w in model.trainable_variables] == ["embedding/kernel", "embedding/bias"]
    put_back(model, kept)
    assert learning(model) == before
    assert flags(model) == kept
    model.get_layer("inner").trainable = True
    assert flags(model) != kept, "flags tell it"


def test_a_frozen_layer_in_two_models_that_learn():
    """Both hand their flags on to it."""
    shared = keras.layers.Dense(4, trainable=False)
    ends = [keras.Input((4,)) for _ in range(2)]
    first, second = (keras.Model(end, shared(end)) for end in ends)
    inputs = keras.Input((4,))
    x = second(first(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="embedding")(x))
    kept = flags(model)
    freeze_all_but(model, "embedding")
    put_back(model, kept)
    assert not shared.trainable
    assert flags(model) == kept


@pytest.mark.parametrize("frozen", [False, True])
def test_put_back_after_loading_whatever_keras_stored(tmp_path, frozen):
    model = network()
    before, kept = learning(model), json.loads(json.dumps(flags(model)))
    if frozen:
        freeze_all_but(model, "embedding")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    put_back(again, kept)
    assert learning(again) == before
    assert [row[1:] for row in flags(again)] == [row[1:] for row in kept]
    for found, wanted in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_of_another_model():
    inputs = keras.Input((4,))
    other = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError) as raised:
        put_back(other, flags(network()))
    assert str(raised.value) == (
        "`kept` must be what `flags` returned for this model. Received: 13 layers for a model of 3"
    )
