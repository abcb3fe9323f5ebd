"""What backbones from elsewhere need to fit: the asked size, and weights from a file."""

import os
import textwrap
import warnings
from pathlib import Path

import keras
import numpy as np

from mdl_tf.checks import check_integer


def check_input_shape(input_shape, least, *, optional=True):
    """Refuse what is no shape of images.

    Args:
        input_shape: `(H, W, 3)`.
        least: smallest H and W.
        optional: whether H and W may be `None`, any size. Defaults to `True`.

    Returns:
        `input_shape` as a tuple of Python integers and `None`s.

    Raises:
        ValueError: if it is something else.
    """
    shape = tuple(input_shape)
    try:
        height, width, _ = (
            None if side is None and optional else check_integer("input_shape", side, least=1)
            for side in shape
        )
    except ValueError:
        height = width = 0
    if any(side is not None and side < least for side in (height, width)) or shape[2] != 3:
        raise ValueError(
            f"`input_shape` must be `(H, W, 3)` with H and W at least {least}"
            f"{' or `None`' if optional else ''}. Received: input_shape={input_shape}"
        )
    return height, width, 3


def accepts(model, input_shape):
    """Whether a model has one input, of this shape or of a size that is not fixed.

    Args:
        model: a `keras.Model`.
        input_shape: `(H, W, 3)`.
    """
    shapes = _shapes(model)
    if len(shapes) != 1:
        return not shapes
    sides = zip(shapes[0], input_shape, strict=False)
    return len(shapes[0]) == 3 and all(side in (None, asked) for side, asked in sides)


def _shapes(model):
    """Of the inputs; empty for a subclassed model, which learns them when it is called."""
    return [tuple(x.shape[1:]) for x in getattr(model, "inputs", None) or ()]


def check_size(model, input_shape, name):
    """Refuse a model that is made for another shape, or has several inputs.

    Args:
        model: a `keras.Model`.
        input_shape: `(H, W, 3)`.
        name: of the backbone, for the message.

    Raises:
        ValueError: if it is.
    """
    if not accepts(model, input_shape):
        shapes = ", ".join(str(shape) for shape in _shapes(model))
        raise ValueError(
            f"`backbone` must have one input of shape {input_shape}, which is `image_size`. "
            f"Received: backbone={name!r} with {shapes}"
        )


def at_size(model, input_shape):
    """A model whose input has exactly this shape: the model, or one around it.

    Args:
        model: a `keras.Model` that accepts the shape.
        input_shape: `(H, W, 3)`.
    """
    if _shapes(model) == [input_shape]:
        return model
    inputs = keras.Input(input_shape, name="image")
    return keras.Model(inputs, model(inputs), name=model.name)


def in_short(error):
    """What an error of Keras says, in one line, without all the layers and their numbers.

    Args:
        error: an exception.
    """
    # A model in a model wraps what happened once for each.
    reason = str(error).rsplit("Exception encountered: ", 1)[-1]
    return textwrap.shorten(reason.split("Full object config")[0], 400, placeholder=" ...")


def load_weights(model, weights, name):
    """A backbone with the weights of a file.

    Args:
        model: a `keras.Model`.
        weights: path of the file, or `None` to leave the model as it is.
        name: of the backbone, for the message.

    Returns:
        The same model.

    Raises:
        ValueError: if there is no such file, or it is not of this model, or has a number that is
            not finite. The model may then hold a part of it.
    """
    if weights is None:
        return model
    is_path = isinstance(weights, str | os.PathLike)
    path = Path(weights).expanduser() if is_path else None
    received = f"Received: weights={str(path) if path else weights!r} with backbone={name!r}"
    if path is None or not path.is_file():
        raise ValueError(
            "`weights` must be None (--weights random), or a weight file of the backbone that "
            f"exists, such as a .weights.h5. {received}"
        )
    try:
        # Of a file of something else Keras warns for every layer.
        with warnings.catch_warnings(record=True) as caught:
            model.load_weights(str(path))
    # h5py and Keras have no error of their own for a file of something else.
    except Exception as error:
        raise ValueError(
            "`weights` must be a weight file of the backbone. "
            f"{received}, and Keras says: {in_short(error)}"
        ) from error
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    for variable in model.weights:
        if not np.isfinite(np.asarray(variable)).all():
            raise ValueError(
                f"`weights` must be finite. {received}, NaN or infinity in {variable.path}"
            )
    return model
