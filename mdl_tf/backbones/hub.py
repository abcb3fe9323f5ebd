"""The image backbones of KerasHub, an optional package, with the units of their presets."""

import difflib
import importlib
import os
import re
from pathlib import Path

import keras
import numpy as np
from keras import ops

from mdl_tf.backbones.fitting import accepts, at_size, check_size, in_short
from mdl_tf.reading import read_json

PREFIX = "keras_hub:"
# Sides that names of presets end in or hold, such as `vit_base_patch16_384_imagenet`; other numbers
# there are depths.
SIZES = {192, 224, 240, 256, 288, 299, 336, 378, 384, 448, 512, 518}


def is_name(name):
    """Whether a backbone is one of KerasHub.

    Args:
        name: of the backbone.
    """
    return str(name).startswith(PREFIX)


def build(name, input_shape, weights):
    """The backbone of a preset, and the scale and offset of its image converter.

    Args:
        name: `"keras_hub:"` and a name or a folder of a preset.
        input_shape: `(H, W, 3)`.
        weights: `None` for random ones, or `"imagenet"` for those of the preset.

    Returns:
        A `keras.Model`, and a function from RGB in 0..255 to its units, or `None` if those are its
        units.

    Raises:
        ValueError: if there is no such preset or package, or it is not for images of this size.
    """
    if weights not in (None, "imagenet"):
        raise ValueError(
            "`weights` must be None (random) or 'imagenet' (those that the preset brings, whatever "
            "they were trained on) with a backbone of KerasHub; your own are a preset folder. "
            f"Received: weights={str(weights)!r} with backbone={name!r}"
        )
    keras_hub = _library(name)
    preset = _preset(keras_hub, name)
    height, width, _ = input_shape
    try:
        # Images come in the right size, whatever the preset would make of them.
        converter = keras_hub.layers.ImageConverter.from_preset(preset, image_size=None)
        backbone = _backbone(keras_hub, preset, input_shape, weights == "imagenet")
    except Exception as error:
        raise ValueError(
            "`backbone` must be a preset of KerasHub with a backbone and a converter for images of "
            f"{height} x {width} (`image_size`). Received: backbone={name!r}, weights={weights!r}, "
            f"and KerasHub says: {type(error).__name__}: {in_short(error)}"
        ) from error
    check_size(backbone, input_shape, name)
    return at_size(backbone, input_shape), _preprocess(converter, input_shape, name)


def native_size(name):
    """The size of the images that a preset is made for, by its name or its folder.

    Args:
        name: `"keras_hub:"` and a name or a folder of a preset.

    Returns:
        Pixels of a side, or `None` if neither tells.
    """
    preset = os.path.expanduser(name.removeprefix(PREFIX))
    if not os.path.isdir(preset):
        numbers = {int(number) for number in re.findall(r"(?<!\d)\d{3}(?!\d)", preset)}
        return next(iter(numbers & SIZES), None)
    try:
        height, width = read_json(Path(preset) / "image_converter.json")["config"]["image_size"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return height if type(height) is int and height == width else None


def _library(name):
    try:
        return importlib.import_module("keras_hub")
    except ModuleNotFoundError as error:
        # What KerasHub itself misses is not mended by installing KerasHub.
        if error.name != "keras_hub":
            raise
        raise ValueError(
            f"`backbone` {name} needs the package keras-hub: pip install keras-hub"
        ) from error


def _preset(keras_hub, name):
    preset = os.path.expanduser(name.removeprefix(PREFIX))
    known = keras_hub.models.Backbone.presets
    if preset in known or "://" in preset or os.path.isdir(preset):
        return preset
    near = difflib.get_close_matches(preset, known, 4)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise ValueError(
        "`backbone` must be keras_hub: and the name of a preset, or a folder that `save_to_preset` "
        f"wrote.{hint} Received: backbone={name!r}"
    )


def _backbone(keras_hub, preset, input_shape, load):
    backbone = keras_hub.models.Backbone.from_preset(preset, load_weights=load)
    # Most take any size. Transformers are made for one, and some of them again for another.
    if len(backbone.inputs) == 1 and not accepts(backbone, input_shape):
        backbone = keras_hub.models.Backbone.from_preset(
            preset, load_weights=load, image_shape=input_shape
        )
    if len(backbone.inputs) == len(backbone.outputs) == 1:
        # Without the dict of one tensor that some take.
        return keras.Model(backbone.inputs[0], backbone.outputs[0], name=backbone.name)
    return backbone


def _preprocess(converter, input_shape, name):
    """What a converter does to pixels, as operations that are saved with the model."""
    scale = np.array(1.0 if converter.scale is None else converter.scale, "float32")
    offset = np.array(0.0 if converter.offset is None else converter.offset, "float32")

    def preprocess(x):
        return ops.add(ops.multiply(x, scale), offset)

    pixels = np.random.default_rng(0).integers(0, 256, (1, *input_shape)).astype("float32")
    expected = np.asarray(converter(pixels), "float32")
    # The converter may compute in half precision; another unit is further away than this.
    tolerance = 0.01 * np.abs(expected).max()
    if expected.shape != pixels.shape or not np.allclose(
        preprocess(pixels), expected, atol=tolerance
    ):
        raise ValueError(
            "`backbone` must have an image converter that only resizes, scales and adds an offset. "
            f"Received: backbone={name!r} with {type(converter).__name__}"
        )
    return None if np.all(scale == 1) and np.all(offset == 0) else preprocess
