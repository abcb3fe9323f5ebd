"""Which output of a network is the embedding, and whether it is one."""

import weakref

import keras
import numpy as np
import tensorflow as tf

# Of models on several replicas what runs them on one.
_ON_ONE = weakref.WeakKeyDictionary()
_POOLING = {
    3: "tokens (B, T, c) that are not pooled: put keras.layers.GlobalAveragePooling1D() on top",
    4: "maps (B, h, w, c) that are not pooled: put keras.layers.GlobalAveragePooling2D() on top",
}


def embed_batch(model, pixels, output=None):
    """The embeddings of a batch.

    Args:
        model: the `keras.Model`.
        pixels: an array `(B, ...)`, or whatever the model takes.
        output: as for `take_output`. Defaults to `None`.

    Returns:
        An array `(B, D)`.

    Raises:
        ValueError: if the model takes arrays of another shape, or as `take_output`.
    """
    check_taken(model, pixels)
    return take_output(model, _predict(model, pixels), output)


def _predict(model, pixels):
    """What a model gives for a batch, as arrays."""
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return model.predict_on_batch(pixels)
    # Keras would have every replica embed the whole batch, and several workers wait for each other.
    if model not in _ON_ONE:
        alive = weakref.ref(model)
        call = tf.function(lambda batch: alive()(batch, training=False), reduce_retracing=True)
        _ON_ONE[model] = call
    return keras.tree.map_structure(np.asarray, _ON_ONE[model](pixels))


def check_taken(model, pixels):
    """Refuse images that are not of the shape that a model takes.

    Args:
        model: the `keras.Model`.
        pixels: an array `(B, ...)`; whatever else it takes is not looked at.

    Raises:
        ValueError: if they are not.
    """
    inputs = getattr(model, "inputs", None) or getattr(
        getattr(model, "embedder", None), "inputs", 0
    )
    if not inputs or len(inputs) != 1 or isinstance(pixels, dict | list | tuple):
        return
    wanted, have = tuple(inputs[0].shape), tuple(pixels.shape)
    sides = zip(wanted[1:], have[1:], strict=False)
    if len(wanted) != len(have) or any(side not in (None, got) for side, got in sides):
        raise ValueError(
            f"The images must be of the shape that the model takes, {_words(wanted)}. "
            f"Received: {_words(have)} for the model {model.name!r}"
        )


def take_output(model, predicted, output=None):
    """The embeddings among what a model gives.

    Args:
        model: the `keras.Model`.
        predicted: what it gave: an array, or a list or dict of arrays.
        output: name of an output, its number in a list, or `None` if there is only one. Defaults to
            `None`.

    Returns:
        An array `(B, D)`.

    Raises:
        ValueError: if the model has several outputs and none is named, there is no such one, or it
            is not `(B, D)`.
    """
    names = name_outputs(model, predicted)
    if output is None and len(names) == 1:
        [taken] = names.values()
    elif output in names:
        taken = names[output]
    elif type(output) is int and not isinstance(predicted, dict) and 0 <= output < len(names):
        taken = list(names.values())[output]
    else:
        shown = ", ".join(f"{name!r} {_shape(value)}" for name, value in names.items())
        # What looks like an embedding, as the example.
        example = next(
            (n for n, value in names.items() if len(value.shape) == 2), next(iter(names))
        )
        raise ValueError(
            f"`output` must name the output that is the embedding, such as output={example!r}. "
            f"Received: output={output!r}, and a model {model.name!r} with the outputs {shown}"
        )
    check_embeddings(model, taken.shape)
    return taken


def check_output(model, output=None):
    """Refuse what `take_output` would, before anything is embedded; if the model tells its outputs.

    Args:
        model: the `keras.Model`.
        output: as for `take_output`. Defaults to `None`.

    Raises:
        ValueError: as `take_output`.
    """
    # A subclassed model does not.
    if getattr(model, "outputs", None):
        take_output(model, model.output, output)


def check_single(model, name="model"):
    """Refuse a model with several outputs where none can be named.

    Args:
        model: the `keras.Model`.
        name: of the argument, for the message.

    Raises:
        ValueError: if it has.
    """
    if len(getattr(model, "outputs", None) or [None]) > 1:
        names = list(name_outputs(model, model.output))
        raise ValueError(
            f"`{name}` must have one output, the embedding. Of several take one: "
            f"keras.Model(model.inputs, model.get_layer({names[-1]!r}).output). Received: a model "
            f"{model.name!r} with the outputs {', '.join(map(repr, names))}"
        )


def name_outputs(model, predicted):
    """Outputs by name.

    Args:
        model: the `keras.Model`.
        predicted: what it gave, or the symbolic tensors that it gives.

    Returns:
        A dict from names (numbers for the outputs of a model that has no names) to arrays.
    """
    if isinstance(predicted, dict):
        return predicted
    values = keras.tree.flatten(predicted)
    names = getattr(model, "output_names", None) or range(len(values))
    return (
        dict(zip(names, values, strict=True))
        if len(names) == len(values)
        else dict(enumerate(values))
    )


def check_embeddings(model, shape):
    """Refuse what is not `(B, D)`.

    Args:
        model: the `keras.Model`, for the message.
        shape: of what it gives.

    Raises:
        ValueError: if it is of another rank.
    """
    if len(shape) != 2:
        advice = _POOLING.get(len(shape), "")
        if advice:
            advice = f", {advice}, or make it by mdl_tf.embedding.embedding_model(backbone)"
        raise ValueError(
            "`model` must give embeddings of shape `(B, D)`. "
            f"Received: a model {model.name!r} that gives {_words(shape)}{advice}"
        )


def _shape(value):
    return _words(value.shape)


def _words(shape):
    return f"({', '.join(['B', *map(str, tuple(shape)[1:])])})" if len(shape) else "a number"
