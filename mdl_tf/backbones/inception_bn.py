"""Inception-BN, the backbone of the paper: one table of ten blocks and one block function.

[Ioffe & Szegedy, 2015](https://arxiv.org/abs/1502.03167), in the Caffe layout of the weights that
the metric-learning papers share. It is not MXNet's Inception-BN (other pools) and not TF-slim's
inception_v2 (other widths).
"""

import keras
import numpy as np
from keras import layers, ops

from mdl_tf.backbones import weights as weight_files
from mdl_tf.backbones.fitting import check_input_shape
from mdl_tf.backbones.head import add_head, check_head

# Subtracted from pixels in [0, 255] in the channel order of the published weights.
IMAGENET_MEAN_BGR = (104.0, 117.0, 128.0)

MINIMUM_SIZE = 32  # at 32 pixels the last maps are 1 x 1

# name: 1x1, (3x3 reduce, 3x3), (double 3x3 reduce, first, second), pool, projection of the pool.
# The two blocks without 1x1 halve the map and hand their pooled input on as it is.  At 224 x 224:
BLOCKS = {
    "3a": (64, (64, 64), (64, 96, 96), "avg", 32),  # 28 x 28 x 256
    "3b": (64, (64, 96), (64, 96, 96), "avg", 64),  # 28 x 28 x 320
    "3c": (None, (128, 160), (64, 96, 96), "max", None),  # 14 x 14 x 576
    "4a": (224, (64, 96), (96, 128, 128), "avg", 128),  # 14 x 14 x 576
    "4b": (192, (96, 128), (96, 128, 128), "avg", 128),  # 14 x 14 x 576
    "4c": (160, (128, 160), (128, 160, 160), "avg", 128),  # 14 x 14 x 608
    "4d": (96, (128, 192), (160, 192, 192), "avg", 128),  # 14 x 14 x 608
    "4e": (None, (128, 192), (192, 256, 256), "max", None),  # 7 x 7 x 1056
    "5a": (352, (192, 320), (160, 224, 224), "avg", 128),  # 7 x 7 x 1024
    "5b": (352, (192, 320), (192, 224, 224), "max", 128),  # 7 x 7 x 1024
}


def preprocess_input(x):
    """RGB pixels in [0, 255] to the units of the published weights: BGR minus the mean.

    Args:
        x: tensor or Keras symbolic tensor, shape `(..., 3)`.

    Returns:
        A tensor of the same shape. On a symbolic tensor the operations become part of the model
        and are saved with it.
    """
    return ops.subtract(ops.flip(x, axis=-1), np.array(IMAGENET_MEAN_BGR, "float32"))


def _conv_bn_relu(x, filters, size, name, relu_name, strides=1):
    if strides > 1:
        # "same" pads strided windows on the right only; the original pads both sides alike.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        kernel_initializer="he_normal",
        name=name,
    )(x)
    # PyTorch's momentum of 0.1 is what Keras calls 0.9.
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=relu_name)(x)


def _max_pool_halving(x, padding, name):
    """3 x 3 maximum with stride 2 whose last windows may hang over the right and lower edge.

    One row of padding is Caffe's rounding up for even and odd sizes alike. Two rows cover the last
    row of an odd map as well, so that the pool matches the convolutions beside it where the
    original fails. Padding with zeros is exact: the inputs come out of a ReLU.
    """
    x = layers.ZeroPadding2D(((0, padding), (0, padding)), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(3, strides=2, padding="valid", name=name)(x)


def _block(x, name, conv_1x1, conv_3x3, double_3x3, pool, projection):
    prefix = f"inception_{name}"
    last_stride = 1 if conv_1x1 else 2

    def conv(x, filters, size, part, strides=1):
        return _conv_bn_relu(
            x, filters, size, f"{prefix}_{part}", f"{prefix}_relu_{part}", strides=strides
        )

    branches = []
    if conv_1x1:
        branches.append(conv(x, conv_1x1, 1, "1x1"))

    y = conv(x, conv_3x3[0], 1, "3x3_reduce")
    branches.append(conv(y, conv_3x3[1], 3, "3x3", last_stride))

    y = conv(x, double_3x3[0], 1, "double_3x3_reduce")
    y = conv(y, double_3x3[1], 3, "double_3x3_1")
    branches.append(conv(y, double_3x3[2], 3, "double_3x3_2", last_stride))

    if not projection:
        y = _max_pool_halving(x, padding=2, name=f"{prefix}_pool")
    elif pool == "avg":
        # The original divides by nine at the borders too; Keras's "same" does not.
        y = layers.ZeroPadding2D(1, name=f"{prefix}_pool_pad")(x)
        y = layers.AveragePooling2D(3, strides=1, padding="valid", name=f"{prefix}_pool")(y)
    else:
        y = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{prefix}_pool")(x)
    branches.append(conv(y, projection, 1, "pool_proj") if projection else y)

    return layers.Concatenate(name=f"{prefix}_output")(branches)


def InceptionBN(
    include_top=False,
    weights=None,
    input_shape=(224, 224, 3),
    pooling=None,
    *,
    classes=1000,
    name="inception_bn",
):
    """Inception-BN, called like the networks of `keras.applications`.

    10,270,240 trainable parameters without top, 11,295,240 with the 1000-way top;
    `count_params()` adds 20,032 moving statistics. Layer names are those of the published weights.
    At every size that the original accepts (224, 227, 256, ...) its maps are the original's; where
    the original fails (odd maps at 3c and 4e: 48, 112, 299) the pool covers the last row.

    Args:
        include_top: whether to end in `global_pool` and the classifier `last_linear`
            (logits). Defaults to `False`.
        weights: `None` for random weights; `"imagenet"` for the published ones, fetched and
            converted once into `$MDL_TF_HOME/models` (or `~/.cache/mdl_tf/models`); or the path of
            that PyTorch file, of the older variant of it, or of a `.weights.h5` file of this
            network. Nothing that is in a PyTorch file is run. Defaults to `None`.
        input_shape: `(H, W, 3)`, each of H and W at least 32 or `None`. The units are those of
            `preprocess_input`. Defaults to `(224, 224, 3)`.
        pooling: without top, `None` for maps `(B, h, w, 1024)`, `"avg"` or `"max"` for features
            `(B, 1024)`. Defaults to `None`.
        classes: size of the top. Defaults to `1000`.
        name: name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if an argument is not one of the above, if a file is another network's or does
            not fit, or if the published one cannot be fetched.
    """
    shape = check_input_shape(input_shape, MINIMUM_SIZE)
    classes = check_head(include_top, weights, pooling, classes)
    inputs = keras.Input(shape, name="image")
    x = _conv_bn_relu(inputs, 64, 7, "conv1_7x7_s2", "conv1_relu_7x7", strides=2)  # 112 x 112 x 64
    x = _max_pool_halving(x, padding=1, name="pool1_3x3_s2")  # 56 x 56 x 64
    x = _conv_bn_relu(x, 64, 1, "conv2_3x3_reduce", "conv2_relu_3x3_reduce")
    x = _conv_bn_relu(x, 192, 3, "conv2_3x3", "conv2_relu_3x3")  # 56 x 56 x 192
    x = _max_pool_halving(x, padding=1, name="pool2_3x3_s2")  # 28 x 28 x 192
    for block, widths in BLOCKS.items():
        x = _block(x, block, *widths)

    x = add_head(x, include_top, pooling, classes, weight_files.TOP)
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        weight_files.load(model, weights)
    return model
