"""Conv4, the small backbone of few-shot learning: four convolutions, seconds instead of minutes.

[Vinyals et al., 2016](https://arxiv.org/abs/1606.04080).
"""

import keras
from keras import layers, ops

from mdl_tf.backbones.fitting import check_input_shape
from mdl_tf.checks import check_integer

MINIMUM_SIZE = 16  # four halvings


def preprocess_input(x):
    """RGB pixels in [0, 255] to [-1, 1].

    Args:
        x: tensor or Keras symbolic tensor, shape `(..., 3)`.

    Returns:
        A tensor of the same shape; on a symbolic tensor, operations that are saved with the model.
    """
    return ops.subtract(ops.divide(x, 127.5), 1.0)


def Conv4(input_shape=(32, 32, 3), filters=64, *, name="conv4"):
    """Four times 3 x 3 convolution, batch normalisation, ReLU, 2 x 2 maximum; 112,576 weights.

    Args:
        input_shape: `(H, W, 3)`, each of H and W at least 16 or `None`, in the units of
            `preprocess_input`. Defaults to `(32, 32, 3)`.
        filters: width of every layer. Defaults to `64`.
        name: name of the model.

    Returns:
        A `keras.Model` with maps `(B, H/16, W/16, filters)`.

    Raises:
        ValueError: if `input_shape` is too small or not `(H, W, 3)`, or `filters` below 1.
    """
    shape = check_input_shape(input_shape, MINIMUM_SIZE)
    filters = check_integer("filters", filters, least=1)
    inputs = x = keras.Input(shape, name="image")
    for number in range(1, 5):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"conv{number}_bn")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return keras.Model(inputs, x, name=name)
