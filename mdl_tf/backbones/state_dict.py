"""Weights from a file of PyTorch that holds a state dict, or of Keras, into a network of ours."""

import hashlib
import os
from pathlib import Path

import keras
import numpy as np

from mdl_tf.backbones import torch_file
from mdl_tf.backbones.fitting import load_weights
from mdl_tf.words import clean, first_few

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")


def load(model, weights, name, take):
    """Set all weights of a network from a file.

    Args:
        model: a `keras.Model`.
        weights: path of a `.weights.h5` file or of a PyTorch file.
        name: of the backbone, for messages.
        take: function of the path of a PyTorch file that sets the weights.

    Raises:
        ValueError: if there is no such file, or it does not fit. After a `.weights.h5` that does
            not fit the model may hold a part of it.
    """
    path = Path(weights).expanduser() if isinstance(weights, str | os.PathLike) else None
    if path is None or not path.is_file():
        raise ValueError(
            "`weights` must be None, 'imagenet', or a file that exists. "
            f"Received: weights={weights if path is None else str(weights)!r}"
        )
    if path.name.endswith(".weights.h5"):
        load_weights(model, path, name)
    elif path.suffix in KERAS_SUFFIXES:
        raise ValueError(
            "`weights` must be a PyTorch file, or a file of Keras that is named NAME.weights.h5. "
            f"Received: weights={str(path)!r}"
        )
    else:
        take(path)


def read(path):
    """The arrays of a PyTorch file, without running anything that is in it.

    Both forms of `torch.save`. Counters of batches, which no network here uses, are left out.

    Args:
        path: of a file that holds a state dict.

    Returns:
        A dict from names such as `_blocks.0._bn1.weight` to arrays in PyTorch's order of axes.

    Raises:
        ValueError: if it is no such file.
    """
    try:
        values = torch_file.read(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"`weights`: {error}") from error
    return {
        name: _floats(value, name, path)
        for name, value in values.items()
        if not name.endswith(".num_batches_tracked")
    }


def _floats(value, name, path):
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value
    what = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
    hint = "; save that alone" if isinstance(value, dict) else ""
    raise ValueError(
        "`weights` must be a file of a state dict: names of layers and arrays of floats "
        f"alone. Received: {path}, with the {what} {clean(name, 100)!r}{hint}"
    )


def assign(model, arrays, path, *, network, published, top):
    """Set all weights of a network from the arrays of a PyTorch file.

    Args:
        model: a `keras.Model`; without top, arrays of the top are passed over.
        arrays: what `read` returns.
        path: of the file, for messages.
        network: what the network is called, for messages.
        published: function of the name of a layer that gives its name in the file.
        top: name of the classifier in the file.

    Raises:
        ValueError: if names are missing or superfluous, if a shape is wrong, or a number not
            finite. The model is then as it was.
    """
    wanted = {layer: _names(layer, published) for layer in model.layers if layer.weights}
    names = [name for group in wanted.values() for name in group]
    missing = [name for name in names if name not in arrays]
    known = {*names, f"{top}.weight", f"{top}.bias"}
    extra = [name for name in arrays if name not in known]
    if missing or extra:
        parts = [
            f"{how} {first_few([clean(name, 100) for name in some], 3)}"
            for how, some in (("without", missing), ("with", extra))
            if some
        ]
        raise ValueError(
            f"`weights` must hold the weights of {network} and nothing else. Received: {path}, "
            f"{' and '.join(parts)}"
        )
    # All are looked at before the first is set.
    values = {
        layer: [
            _fitting(arrays[name], name, layer, tuple(weight.shape), path)
            for name, weight in zip(group, layer.weights, strict=True)
        ]
        for layer, group in wanted.items()
    }
    for layer, arrays_of_layer in values.items():
        layer.set_weights(arrays_of_layer)


def _names(layer, published):
    """The names of a layer's weights in the file, in Keras's order."""
    kinds = ["weight", "bias"][: len(layer.weights)]
    if isinstance(layer, keras.layers.BatchNormalization):
        kinds += ["running_mean", "running_var"]
    return [f"{published(layer.name)}.{kind}" for kind in kinds]


def _fitting(array, name, layer, shape, path):
    # PyTorch keeps kernels as (out, in, height, width) and (out, in). Those of single channels are
    # (channels, 1, height, width) there and (height, width, channels, 1) in Keras.
    single = isinstance(layer, keras.layers.DepthwiseConv2D)
    to_keras = {4: (2, 3, 0, 1) if single else (2, 3, 1, 0), 2: (1, 0)}
    value = np.transpose(array, to_keras.get(array.ndim))
    if value.shape != shape:
        order = np.argsort(to_keras.get(len(shape), range(len(shape))))
        expected = tuple(shape[axis] for axis in order)
        raise ValueError(
            f"`weights` must hold {name} in the shape {expected}. "
            f"Received: {path}, with the shape {array.shape}"
        )
    if not np.isfinite(value).all():
        raise ValueError(f"`weights` must be finite. Received: {path}, NaN or infinity in {name}")
    return value


def sha256(path):
    """The SHA-256 of a file, hexadecimal.

    Args:
        path: of the file.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
