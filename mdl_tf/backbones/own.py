"""A backbone of the user's own: a function of a module, by name."""

import contextlib
import importlib
import inspect
import traceback
from pathlib import Path

import keras

from mdl_tf.backbones.fitting import at_size, check_size, in_short, load_weights
from mdl_tf.backbones.safe_layers import refuse_unsafe


def is_name(name):
    """Whether a backbone is written as `module:function`.

    Args:
        name: of the backbone.
    """
    module, colon, function = str(name).partition(":")
    if module == "keras_hub":
        return False
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), function])


def build(name, input_shape, weights):
    """The model that a function of the user's own returns, and its preprocessing.

    Args:
        name: `"module:function"`.
        input_shape: `(H, W, 3)`; the function is called with it.
        weights: `None`, or the path of a `.weights.h5` file.

    Returns:
        A `keras.Model`, and a function from RGB in 0..255 to its units, or `None` if those are its
        units.

    Raises:
        ValueError: if there is no such function, it fails, or its model is not for this size or
            cannot be saved.
    """
    if weights == "imagenet":
        raise ValueError(
            "`weights` must be None or the path of a `.weights.h5` file with a backbone of your "
            f"own, whose function knows where its weights are. Received: weights='imagenet' with "
            f"backbone={name!r}"
        )
    function = _function(name)
    with _told(name):
        made = function(input_shape=input_shape)
    model, preprocess = made if isinstance(made, tuple | list) and len(made) == 2 else (made, None)
    if not isinstance(model, keras.Model) or not (preprocess is None or callable(preprocess)):
        kinds = [type(part) for part in (made if isinstance(made, tuple | list) else [made])]
        received = ", ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
        raise ValueError(
            "`backbone` must name a function that returns a `keras.Model`, or a pair of a "
            f"`keras.Model` and a function. Received: backbone={name!r}, which returns {received}"
        )
    check_size(model, input_shape, name)
    with _told(name):
        sized = at_size(model, input_shape)
    load_weights(model, weights, name)
    _check_saving(sized, preprocess, input_shape, name)
    return sized, preprocess


def native_size(name):
    """The size that a function of the user's own has as the default of its `input_shape`.

    Args:
        name: `"module:function"`; its module is imported, the function is not called.

    Returns:
        Pixels of a side, or `None` if it has no default, or none that is square.

    Raises:
        ValueError: if there is no such function, or its module fails.
    """
    function = _function(name)
    try:
        height, width, _ = inspect.signature(function).parameters["input_shape"].default
    except (KeyError, TypeError, ValueError):
        return None
    return height if type(height) is int and height == width else None


def import_layers(name):
    """Import the module of a backbone: Keras must know the layers that it registers.

    Args:
        name: `"module:function"`.

    Raises:
        ValueError: if there is no such module, or it fails.
    """
    _module(name)


def _module(name):
    module = name.partition(":")[0]
    try:
        with _told(name, passes=ModuleNotFoundError):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(_failure(name, error)) from error
        hint = f" Write it without .py: {module[:-3]}." if module.endswith(".py") else ""
        raise ValueError(
            "`backbone` must name a module that is in the working folder, below PYTHONPATH or "
            f"installed.{hint} Received: backbone={name!r}, and there is no module {error.name}"
        ) from error


def _function(name):
    module, _, function = name.partition(":")
    loaded = _module(name)
    value = getattr(loaded, function, None)
    if not callable(value):
        # Another module of that name, which is installed, comes before one in the working folder.
        place = getattr(loaded, "__file__", None) or module
        has = f"of type {type(value).__name__}" if hasattr(loaded, function) else "not"
        raise ValueError(
            f"`backbone` must name a function of its module. Received: backbone={name!r}, and "
            f"{function} is {has} in {place}"
        )
    return value


@contextlib.contextmanager
def _told(name, passes=()):
    """Errors of the user's own code as one message; the traceback stays behind it."""
    try:
        yield
    except passes:
        raise
    # A script that ends itself would end training with success and without a word.
    except (Exception, SystemExit) as error:
        raise ValueError(_failure(name, error)) from error


def _failure(name, error):
    module = name.partition(":")[0].rpartition(".")[2]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).stem == module]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"`backbone` {name} failed with {type(error).__name__}: {in_short(error)}{place}"


def _check_saving(model, preprocess, input_shape, name):
    """What cannot be loaded again would be found out after training."""
    with _told(name):
        inputs = keras.Input(input_shape)
        whole = keras.Model(inputs, model(preprocess(inputs) if preprocess else inputs))
    try:
        config = keras.saving.serialize_keras_object(whole)
        keras.saving.deserialize_keras_object(config)
    except Exception as error:
        raise ValueError(
            "`backbone` must be a model that can be saved and loaded again. "
            f"Received: backbone={name!r}, and Keras says: {in_short(error)}"
        ) from error
    try:
        refuse_unsafe(config)
    except ValueError as error:
        raise ValueError(
            "`backbone` must be a model of layers that run no code of the file that they are saved "
            f"in, or it would not be loaded again. Received: backbone={name!r}, which {error}"
        ) from error
