"""Networks that nobody needs to train."""

import keras


def average_colour():
    """An embedder that nobody needs to train: (r, g, b) / 255."""
    inputs = keras.Input((16, 16, 3))
    outputs = keras.layers.Rescaling(1 / 255)(keras.layers.GlobalAveragePooling2D()(inputs))
    return keras.Model(inputs, outputs)
