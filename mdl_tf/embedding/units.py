"""Networks that are no embedders, and pixels that are not in the units of a network."""

import keras
import numpy as np
from keras import layers

from mdl_tf.checks import INPUT_RANGES

# What a network may expect of pixels: the factor and the offset from 0..255.
RANGES = dict(zip(INPUT_RANGES, ((1.0, 0.0), (1 / 255, 0.0), (1 / 127.5, -1.0)), strict=True))
# Names of the last layer of the networks of `keras.applications` with their top.
_TOPS = ("predictions", "_head_dense")
# Layers that leave the units of pixels as they are.
_MOVING = ("ZeroPadding2D", "Cropping2D", "CenterCrop", "Resizing", "Permute", "Identity")
_SCALING = (layers.Rescaling, layers.Normalization)
# A variance 200 times what a layer learned is no matter of other images; 255 squared is 65,025.
_FAR, _NEAR = np.log(200.0), np.log(20.0)


def find_classifier(model):
    """How a model ends, if it ends in classes and not in features.

    Args:
        model: a `keras.Model`.

    Returns:
        A few words on its last layer, or `None`.
    """
    model = getattr(model, "embedder", model)
    last = (getattr(model, "layers", None) or [None])[-1]
    if isinstance(last, keras.Model):
        return find_classifier(last)
    kind = f"{type(last).__name__} {getattr(last, 'name', '')!r}"
    activation = getattr(last, "activation", None)
    if isinstance(last, layers.Softmax) or activation is keras.activations.softmax:
        return f"the probabilities of classes (softmax, {kind})"
    if isinstance(last, layers.Dense) and last.name.endswith(_TOPS):
        return f"the scores of classes ({kind})"
    return None


def scale_pixels(pixels, input_range):
    """Pixels in 0..255 in the units of a network.

    Args:
        pixels: an array or tensor, floats.
        input_range: a key of `RANGES`.
    """
    factor, offset = RANGES[input_range]
    return pixels if input_range == "0..255" else pixels * factor + offset


def doubt_units(model, pixels):
    """What speaks against giving a model pixels in 0..255.

    Its first batch normalisation knows how far its inputs were apart in training. Without one, a
    network that scales nothing itself could have been trained on anything.

    Args:
        model: a `keras.Model` of images.
        pixels: some images in 0..255, floats, `(B, H, W, 3)`.

    Returns:
        A sentence, or `None` if nothing does.
    """
    model = getattr(model, "embedder", model)
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        return None
    norm = next((x for x in model.layers if isinstance(x, layers.BatchNormalization)), None)
    if norm is not None and not np.all(np.asarray(norm.moving_variance) == 1):
        probe = keras.Model(model.inputs, norm.input)
        misfits = {
            name: _measure_misfit(norm, probe.predict_on_batch(scale_pixels(pixels, name)))
            for name in RANGES
        }
        # Of pale and of vivid images both small ranges may fit.
        fitting = [name for name in sorted(misfits, key=misfits.get) if misfits[name] < _NEAR]
        if misfits["0..255"] > _FAR and fitting:
            return (
                f"is given pixels in 0..255 and was trained on {' or '.join(fitting)}, as it "
                f"seems: the inputs of its layer {norm.name!r} are far from the mean and variance "
                "of the training"
            )
        return None
    return None if _scales(model) else "takes pixels in 0..255 as they are and scales nothing"


def _measure_misfit(norm, values):
    """How far a batch is from what a normalisation learned: logarithm of variance, and mean."""
    axes = tuple(axis for axis in range(values.ndim) if axis != norm.axis % values.ndim)
    values = np.asarray(values, np.float64)
    learned = np.asarray(norm.moving_variance, np.float64) + norm.epsilon
    apart = np.abs(np.log((values.var(axis=axes) + norm.epsilon) / learned))
    shift = np.abs(values.mean(axis=axes) - np.asarray(norm.moving_mean)) / np.sqrt(learned)
    return float(np.median(apart + np.minimum(shift, 2)))


def _scales(model):
    """Whether the first layers of a model bring pixels into its units."""
    # Unlike the layers these have Keras operations among them.
    for layer in getattr(model, "operations", model.layers):
        name = type(layer).__name__
        stays = name in _MOVING or name.startswith("Random") or "Pooling" in name
        if isinstance(layer, layers.InputLayer) or stays:
            continue
        if isinstance(layer, keras.Model):
            return _scales(layer)
        # A Keras operation, such as a division, is what `preprocess_input` is made of.
        return (
            isinstance(layer, _SCALING)
            or not isinstance(layer, layers.Layer)
            or (".ops." in type(layer).__module__)
        )
    return False
