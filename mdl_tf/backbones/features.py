"""No network: features that another network made, as they are."""

import keras
from keras import layers

from mdl_tf.checks import check_integer


def Features(size):
    """A backbone that hands on features.

    Args:
        size: F, numbers in a feature vector.

    Returns:
        A `keras.Model` from features `(B, F)` to the same.

    Raises:
        ValueError: if `size` is no integer from 1 on.
    """
    size = check_integer("size", size, least=1)
    inputs = keras.Input((size,), name="features")
    return keras.Model(inputs, layers.Identity(name="unchanged")(inputs), name="features")
