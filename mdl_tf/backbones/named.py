"""A backbone by name and the units of its input: this library's, Keras's, KerasHub's or your own.

>>> backbone, preprocess = build("resnet50", (224, 224, 3), weights="imagenet")
>>> model = embedding_model(backbone, preprocess, embedding_dim=128)
"""

import difflib
import inspect

from mdl_tf.backbones import applications, conv4, hub, own
from mdl_tf.backbones.conv4 import Conv4
from mdl_tf.backbones.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from mdl_tf.backbones.features import Features
from mdl_tf.backbones.fitting import check_input_shape, load_weights
from mdl_tf.backbones.inception_bn import InceptionBN

# Those with published weights; the file of each has its `preprocess_input`.
PUBLISHED = {
    "inception_bn": InceptionBN,
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "efficientnet_lite2": EfficientNetLite2,
}
OURS = (*PUBLISHED, "conv4", "none")
SIZE = 224  # what networks that do not say otherwise are made for


def build(name, input_shape, weights=None):
    """A backbone and its preprocessing, as `embedding_model` takes them.

    Args:
        name: `"inception_bn"`, `"conv4"`, or `"none"`, which hands features on;
            `"efficientnet_lite0"`, `1` or `2`, in any case, with or without `_` and `-`;
            a network of `keras.applications` in any case, with or without `_` and `-`, such as
            `"resnet50"` or `"EfficientNetV2B0"`;
            `"keras_hub:PRESET"`, any preset of KerasHub with an image backbone, by name or folder
            (needs the package keras-hub);
            `"module:function"`, a function of your own, called with `input_shape=(H, W, 3)`, that
            returns a `keras.Model` which takes RGB in 0..255, or a pair of a model and its
            preprocessing.
        input_shape: `(H, W, 3)` in pixels; for `"none"` `(F,)`, numbers in a feature vector.
        weights: `None` for random weights; `"imagenet"` for the published ones, which are fetched
            once (those of EfficientNet-Lite come with a package instead; with KerasHub those of the
            preset, whatever they were trained on); or the path of a weight file of this backbone,
            such as a `.weights.h5` (not with KerasHub, where a preset folder brings them). Defaults
            to `None`.

    Returns:
        A `keras.Model` from images `(B, H, W, 3)` to maps, tokens or features, and a function from
        RGB in 0..255 to its units, in Keras operations, or `None` if it takes RGB in 0..255.

    Raises:
        ValueError: if there is no such backbone, or it cannot be built for that size with those
            weights.
    """
    if name == "none":
        return _features(tuple(input_shape), weights), None
    try:
        shape = check_input_shape(input_shape, 1, optional=False)
    except ValueError:
        raise ValueError(
            "`input_shape` must be `(H, W, 3)`, or `(F,)` with backbone='none'. "
            f"Received: input_shape={input_shape} with backbone={name!r}"
        ) from None
    builder = _published(name)
    if builder is not None:
        preprocess = inspect.getmodule(builder).preprocess_input
        return builder(input_shape=shape, weights=weights), preprocess
    if name == "conv4":
        return load_weights(Conv4(shape), weights, name), conv4.preprocess_input
    if hub.is_name(name):
        return hub.build(name, shape, weights)
    if own.is_name(name):
        return own.build(name, shape, weights)
    function = applications.find(str(name))
    if function is None:
        raise ValueError(_unknown(name))
    return applications.build(function, name, shape, weights)


def native_size(name):
    """Of what size the images are that a backbone is made for; nothing is built or fetched.

    Args:
        name: as `build` takes it.

    Returns:
        Pixels of a side: what the published weights were trained with, as far as that is known, or
        the default of the function that builds it, else 224. `None` for `"none"`.

    Raises:
        ValueError: if there is no such backbone.
    """
    if name == "none":
        return None
    if hub.is_name(name):
        return hub.native_size(name) or SIZE
    if own.is_name(name):
        return own.native_size(name) or SIZE
    builder = Conv4 if name == "conv4" else _published(name)
    if builder is not None:
        return inspect.signature(builder).parameters["input_shape"].default[0]
    if applications.find(str(name)) is None:
        raise ValueError(_unknown(name))
    return applications.SIZES.get(applications.plain(name), SIZE)


def _published(name):
    """What builds a network of this library with published weights, or `None`."""
    plain = applications.plain(str(name))
    if plain.startswith("efficientnetlite"):
        return next((PUBLISHED[n] for n in PUBLISHED if applications.plain(n) == plain), None)
    return PUBLISHED.get(name)


def _features(shape, weights):
    if len(shape) != 1:
        raise ValueError(
            "`input_shape` must be `(F,)` with backbone='none', which takes features. "
            f"Received: input_shape={shape}"
        )
    if weights is not None:
        raise ValueError(
            f"`weights` must be None with backbone='none'. Received: weights={str(weights)!r}"
        )
    return Features(shape[0])


def _unknown(name):
    known = {applications.plain(known): known for known in (*OURS, *applications.names())}
    near = difflib.get_close_matches(applications.plain(str(name)), known, 4)
    hint = f" Did you mean {', '.join(known[plain] for plain in near)}?" if near else ""
    return (
        f"`backbone` must be {', '.join(OURS)}, a network of keras.applications such as resnet50, "
        "keras_hub:PRESET, or module:function of your own."
        f"{hint} Received: backbone={name!r}"
    )
