"""The networks of `keras.applications`, whichever the installed Keras has."""

import inspect
import os

import keras

from mdl_tf.backbones.fitting import in_short, load_weights

# Sides of the images that networks were trained with, where it is not 224.
SIZES = {
    "efficientnetb1": 240,
    "efficientnetb2": 260,
    "efficientnetb3": 300,
    "efficientnetb4": 380,
    "efficientnetb5": 456,
    "efficientnetb6": 528,
    "efficientnetb7": 600,
    "efficientnetv2b1": 240,
    "efficientnetv2b2": 260,
    "efficientnetv2b3": 300,
    "efficientnetv2s": 384,
    "efficientnetv2m": 480,
    "efficientnetv2l": 480,
    "inceptionresnetv2": 299,
    "inceptionv3": 299,
    "nasnetlarge": 331,
    "xception": 299,
}


def plain(name):
    """A name without what does not tell networks apart: case, `_` and `-`.

    Args:
        name: such as `"EfficientNet_V2-B0"`.
    """
    return name.lower().replace("_", "").replace("-", "")


def names():
    """All networks, in lower case."""
    return sorted(_functions())


def find(name):
    """The function of `keras.applications` that builds a network, or `None`.

    Args:
        name: as it is written there, in any case, with or without `_` and `-`.
    """
    return _functions().get(plain(name))


def _functions():
    functions = vars(keras.applications).items()
    return {plain(name): value for name, value in functions if inspect.isfunction(value)}


def build(function, name, input_shape, weights):
    """A network of `keras.applications` without its top, and its `preprocess_input`.

    Args:
        function: what `find` returned.
        name: as the user wrote it, for the message.
        input_shape: `(H, W, 3)`.
        weights: `None`, `"imagenet"`, or the path of a weight file.

    Returns:
        A `keras.Model`, and a function from RGB in 0..255 to its units.

    Raises:
        ValueError: if Keras cannot build it for this size, or the weights cannot be had.
    """
    published = "imagenet" if weights == "imagenet" else None
    try:
        model = function(include_top=False, weights=published, input_shape=input_shape)
    except Exception as error:
        if "URL fetch failure" in str(error) or isinstance(error, OSError):
            raise ValueError(_not_fetched(error, name)) from error
        height, width, _ = input_shape
        raise ValueError(
            f"`backbone` must be a network that Keras can build for images of {height} x {width} "
            f"(`image_size`). Received: backbone={name!r}, weights={weights!r}, and Keras says: "
            f"{in_short(error)}"
        ) from error
    preprocess = inspect.getmodule(function).preprocess_input
    return load_weights(model, None if published else weights, name), preprocess


def _not_fetched(error, name):
    message = f"`weights` imagenet of backbone={name!r} could not be fetched: {error}."
    if "URL fetch failure" in str(error):
        # Keras names the address, but not the place where it looks first.
        home = os.environ.get("KERAS_HOME", os.path.join("~", ".keras"))
        message += f" Without internet, put that file into {os.path.join(home, 'models')} by hand."
    return message
