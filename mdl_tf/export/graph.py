"""The network that is exported: bytes of images in, vectors out, all between inside."""

import keras
from keras import ops

from mdl_tf.embedding import outputs, units
from mdl_tf.images import plain


def deployable(model, output=None, input_range=None, *, any_size=False, augment=None):
    """A model as other programs call it.

    Args:
        model: a `keras.Model` of images or features.
        output: name of the output that is the embedding, of a model with several. Defaults to
            `None`: it has one.
        input_range: units of the pixels that the model takes. Defaults to `None`: 0..255.
        any_size: whether it resizes images itself. Defaults to `False`.
        augment: the augmentation of its training, of which some is done in resizing. Defaults to
            `None`.

    Returns:
        A `keras.Model`: `image`, uint8 RGB `(B, H, W, 3)`, or `features`, float32 `(B, F)`, to
        `embedding`, `(B, D)` float32.

    Raises:
        ValueError: if the model has no fixed size of input, several inputs, or not this output; or
            `any_size` is asked of one that takes features.
    """
    model = getattr(model, "embedder", model)
    taken = [tuple(x.shape) for x in getattr(model, "inputs", None) or ()]
    if len(taken) != 1 or len(taken[0]) not in (2, 4) or None in taken[0][1:]:
        raise ValueError(
            "`model` must have one input of one size, images (B, H, W, 3) or features (B, F). "
            f"Received: inputs {taken}"
        )
    outputs.check_output(model, output)
    shape = taken[0][1:]
    if len(shape) == 1:
        if any_size:
            raise ValueError(
                f"`any_size` is of images. Received: a model that takes {shape[0]} features"
            )
        inputs = x = keras.Input(shape, dtype="float32", name="features")
    else:
        if shape[2] != 3:
            raise ValueError(f"`model` must take RGB images. Received: input {taken[0]}")
        given = (None, None, 3) if any_size else shape
        inputs = keras.Input(given, dtype="uint8", name="image")
        x = ops.cast(inputs, "float32")
        x = AnySize(shape[:2], augment)(x) if any_size else x
        x = x if input_range is None else units.scale_pixels(x, input_range)
    vectors = outputs.take_output(model, model(x), output)
    # By name, which is how other programs ask for it.
    vectors = keras.layers.Identity(dtype="float32", name="embedding")(ops.cast(vectors, "float32"))
    return keras.Model(inputs, vectors, name="embedder")


class AnySize(keras.layers.Layer):
    """Images of any size as the network of a run sees them in a test, `images.plain.see`.

    Each axis is one product with a matrix of weights, made of the size alone: every runtime knows
    that, while resizing with antialiasing is known to few, and alike to fewer.

    Args:
        image_size: `(H, W)` that the network sees.
        augment: the augmentation of its training. Defaults to `None`.
        **options: of a layer.
    """

    def __init__(self, image_size, augment=None, **options):
        super().__init__(**options)
        self.image_size, self.augment = tuple(image_size), augment
        self.canvas, self.keep_aspect = plain.canvas(augment, image_size)

    def get_config(self):
        return {**super().get_config(), "image_size": self.image_size, "augment": self.augment}

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.image_size, input_shape[3])

    def call(self, images):
        """(B, h, w, 3) -> (B, H, W, 3), numbers in 0..255."""
        given = [ops.cast(side, "float32") for side in ops.shape(images)[1:3]]
        sizes = [float(side) for side in self.canvas]
        if self.keep_aspect:
            scale = ops.maximum(sizes[0] / given[0], sizes[1] / given[1])
            sizes = [
                ops.clip(ops.round(side * scale), least, plain.LONGEST * least)
                for side, least in zip(given, sizes, strict=True)
            ]
        height, width = self.image_size
        x = _weigh_rows(images, _weights(given[0], sizes[0], height))
        x = ops.transpose(x, (0, 2, 1, 3))
        x = ops.transpose(_weigh_rows(x, _weights(given[1], sizes[1], width)), (0, 2, 1, 3))
        return ops.round(ops.clip(x, 0.0, 255.0))


def _weigh_rows(images, weights):
    """(B, h, w, c), (H, h) -> (B, H, w, c)."""
    shape = ops.shape(images)
    rows = ops.reshape(images, (shape[0], shape[1], shape[2] * 3))
    rows = ops.matmul(weights, rows)
    return ops.reshape(rows, (shape[0], ops.shape(weights)[0], shape[2], 3))


def _weights(given, resized, count):
    """The share of each of `given` rows in `count` rows from the middle of `resized`."""
    scale = given / resized
    reach = ops.maximum(scale, 1.0)
    first = ops.floor((resized - count) / 2)
    centres = (ops.arange(count, dtype="float32") + first + 0.5) * scale
    # In the steps of `images.plain`, where half a level would be rounded the other way: of an image
    # that grows the centre is moved, of others the pixels are.
    moved = ops.cast(scale <= 1.0, "float32") * 0.5
    places = ops.arange(ops.cast(given, "int32"), dtype="int32")
    places = ops.cast(places, "float32") + (0.5 - moved)
    apart = ops.abs(places[None, :] - (centres[:, None] - moved))
    weights = ops.maximum(1.0 - apart / reach, 0.0)
    return weights / ops.sum(weights, axis=1, keepdims=True)
