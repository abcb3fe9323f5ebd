"""One image: decode, resize, augment. Pixels are RGB in 0..255 throughout."""

import tensorflow as tf


def decode(path, image_size):
    """Read a JPEG or PNG file.

    Args:
        path: string tensor, shape `()`.
        image_size: `(H, W)`.

    Returns:
        float32 RGB in 0..255, shape `(H, W, 3)`.
    """
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    return resize(image, image_size)


def resize(image, image_size):
    """Bring an image to RGB of one size, without keeping its aspect ratio, as the papers do.

    Args:
        image: numbers in 0..255, shape `(h, w)` or `(h, w, 3)`.
        image_size: `(H, W)`.

    Returns:
        float32 RGB in 0..255, shape `(H, W, 3)`.
    """
    image = tf.convert_to_tensor(image)
    if image.shape.rank == 2:
        image = tf.repeat(image[..., None], 3, axis=-1)
    # Without antialiasing a large photograph would be sampled at a few of its pixels.
    image = tf.image.resize(image, image_size, antialias=True)
    return tf.ensure_shape(tf.clip_by_value(image, 0.0, 255.0), (*image_size, 3))


def flip(image, seed):
    """Mirror an image left to right in half of the cases.

    Args:
        image: shape `(H, W, 3)`.
        seed: two integers, shape `(2,)`, that decide.

    Returns:
        Shape `(H, W, 3)`.
    """
    return tf.image.stateless_random_flip_left_right(image, seed)


def crop_flip(image, seed):
    """Enlarge by 256/227, cut out a random window of the old size, mirror in half of the cases.

    The proportions of Song et al. 2016.

    Args:
        image: shape `(H, W, 3)`.
        seed: two integers, shape `(2,)`, that decide.

    Returns:
        Shape `(H, W, 3)`.
    """
    height, width, channels = image.shape
    larger = tf.image.resize(image, (round(height * 256 / 227), round(width * 256 / 227)))
    window = tf.image.stateless_random_crop(larger, (height, width, channels), seed)
    # Another seed: with the same one the mirroring would depend on the place of the window.
    return flip(window, seed + 1)


AUGMENTATIONS = {"none": None, "flip": flip, "crop_flip": crop_flip}
