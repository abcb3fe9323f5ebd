"""An embedding model in two parts: the network that makes features, and the layer after it."""

import keras
from keras import layers

from mdl_tf.embedding.outputs import check_single


def embedding_layer(model):
    """The dense layer that makes the embeddings of a model.

    Args:
        model: a `keras.Model`, such as `embedding_model` builds.

    Returns:
        Its last layer, or the last but one before a `UnitNormalization`.

    Raises:
        ValueError: if that is no `Dense` layer without activation, with a bias, or the model has
            several outputs.
    """
    check_single(model)
    found = list(getattr(model, "layers", ()))
    if found and isinstance(found[-1], layers.UnitNormalization):
        found.pop()
    layer = found[-1] if found else None
    linear = getattr(layer, "activation", None) is keras.activations.linear
    if not (isinstance(layer, layers.Dense) and linear and layer.use_bias):
        kind = "nothing" if layer is None else f"{type(layer).__name__} {layer.name!r}"
        raise ValueError(
            "`model` must end in a Dense layer without activation, with a bias, and perhaps a "
            f"UnitNormalization, as `embedding_model` builds it. Received: a model that ends in "
            f"{kind}"
        )
    return layer


def normalizes(model):
    """Whether a model scales its embeddings to unit length as its last step."""
    return isinstance(model.layers[-1], layers.UnitNormalization)


def feature_model(model):
    """The network before the embedding layer, with the weights that the model has.

    Args:
        model: as for `embedding_layer`.

    Returns:
        A `keras.Model`, images `(B, H, W, 3)` to features `(B, F)`.

    Raises:
        ValueError: as `embedding_layer`.
    """
    return keras.Model(model.inputs[0], embedding_layer(model).input, name="features")


def head_model(model):
    """A copy of what comes after the features: the embedding layer, and unit length.

    Args:
        model: as for `embedding_layer`.

    Returns:
        A functional `keras.Model`, features `(B, F)` to embeddings `(B, D)`, with weights of its
        own that have the same values.

    Raises:
        ValueError: as `embedding_layer`.
    """
    dense = embedding_layer(model)
    inputs = keras.Input((dense.kernel.shape[0],), name="features")
    copy = type(dense).from_config(dense.get_config())
    outputs = copy(inputs)
    copy.set_weights(dense.get_weights())
    if normalizes(model):
        last = model.layers[-1]
        outputs = type(last).from_config(last.get_config())(outputs)
    return keras.Model(inputs, outputs, name=model.name)
