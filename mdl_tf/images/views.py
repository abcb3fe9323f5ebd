"""One image: decode, cut out its box, resize, augment. Pixels are RGB in 0..255 throughout.

An image takes two steps. The first depends on the file alone and can be cached: decoded and resized
to a canvas, uint8. The second is drawn anew each time in training: from the canvas to what the
network sees, float32.
"""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mdl_tf.checks import AUGMENTATIONS
from mdl_tf.images import file as image_file
from mdl_tf.images.plain import LONGEST, canvas

# Of random resized crops: share of the area, and width through height.
CROP_AREA = (0.16, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)


def decode(path, slow=None):
    """Read an image file; what TensorFlow refuses is read by Pillow, as where it was examined.

    Args:
        path: string tensor, shape `()`.
        slow: bool tensor, shape `()`: whether it needs the slow way (`image_file.examine`).
            Defaults to `None`: no.

    Returns:
        uint8 RGB, shape `(h, w, 3)`.

    Raises:
        tf.errors.InvalidArgumentError: if neither can read it, with its path and the reason.
    """

    def quickly():
        # An error of TensorFlow's does not say which file it is about, and cannot be caught in a
        # graph, but left out of a stream: the second element is asked for if there is no first.
        files = tf.data.Dataset.from_tensors(path)
        images = files.map(_decode_quickly).ignore_errors()
        return images.concatenate(files.map(slowly)).take(1).get_single_element()

    def slowly(path=path):
        return tf.ensure_shape(
            tf.numpy_function(_read, [path], tf.uint8, stateful=False), (None, None, 3)
        )

    image = quickly() if slow is None else tf.cond(slow, slowly, quickly)
    return tf.ensure_shape(image, (None, None, 3))


def _decode_quickly(path):
    # The default for JPEG is a coarser transform, whose pixels differ from Pillow's. It reads PNG,
    # too.
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, (None, None, 3))


def _read(path):
    # Bytes in a graph, text in eager mode.
    return image_file.read_again(os.fsdecode(np.asarray(path).item()))


def cut_out(image, box):
    """The part of an image inside a box.

    Args:
        image: shape `(h, w, ...)`.
        box: left, top, right, bottom in pixels, shape `(4,)` float32; whatever is beyond the rim
            is left out. NaN: the whole image.

    Returns:
        Shape `(h', w', ...)`, at least one pixel.
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    whole = tf.cast(tf.stack([0, 0, width, height]), tf.float32)
    left, top, right, bottom = tf.unstack(tf.where(tf.math.is_nan(box), whole, tf.round(box)))
    left = tf.clip_by_value(tf.cast(left, tf.int32), 0, width - 1)
    top = tf.clip_by_value(tf.cast(top, tf.int32), 0, height - 1)
    right = tf.clip_by_value(tf.cast(right, tf.int32), left + 1, width)
    bottom = tf.clip_by_value(tf.cast(bottom, tf.int32), top + 1, height)
    return image[top:bottom, left:right]


def resize(image, size, keep_aspect=False):
    """Bring an image to RGB of one size.

    Args:
        image: numbers in 0..255, shape `(h, w)` or `(h, w, 3)`.
        size: `(H, W)`.
        keep_aspect: whether the image keeps its proportions and just covers `size`, as today's
            papers do it; else it is stretched to it, as the early ones did. Defaults to `False`.

    Returns:
        uint8 RGB, shape `(H, W, 3)`, or with `keep_aspect` at least as high and as wide.
    """
    image = tf.convert_to_tensor(image)
    if image.shape.rank == 2:
        image = tf.repeat(image[..., None], 3, axis=-1)
    target, shape = tf.constant(size), (*size, 3)
    if keep_aspect:
        given = tf.cast(tf.shape(image)[:2], tf.float32)
        scale = tf.reduce_max(tf.cast(target, tf.float32) / given)
        covering = tf.cast(tf.round(given * scale), tf.int32)
        target = tf.clip_by_value(covering, target, LONGEST * target)
        shape = (None, None, 3)
    # Without antialiasing a large photograph would be sampled at a few of its pixels. Where an
    # image only grows there is nothing to average, and the plain way takes a third of the time.
    image = tf.cond(
        tf.reduce_all(tf.shape(image)[:2] <= target),
        lambda: tf.image.resize(image, target),
        lambda: tf.image.resize(image, target, antialias=True),
    )
    image = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)
    return tf.ensure_shape(image, shape)


def flip(image, seed):
    """Mirror an image left to right in half of the cases.

    Args:
        image: shape `(H, W, 3)`.
        seed: two integers, shape `(2,)`, that decide.

    Returns:
        Shape `(H, W, 3)`.
    """
    return tf.image.stateless_random_flip_left_right(image, seed)


def random_crop(image, seed, size):
    """A window of one size at a random place, mirrored in half of the cases (Song et al. 2016).

    Args:
        image: shape `(h, w, 3)`, at least as large.
        seed: two integers, shape `(2,)`, that decide.
        size: `(H, W)` of the window.

    Returns:
        Shape `(H, W, 3)`.
    """
    window = tf.image.stateless_random_crop(image, (*size, 3), seed)
    # Another seed, so that place and mirror are not drawn from the same bits.
    return flip(window, seed + 1)


def random_resized_crop(image, seed, size):
    """A random window of 0.16 to 1 of the area, resized, mirrored in half of the cases.

    As with today's losses (Wang et al. 2019): width through height between 3/4 and 4/3.

    Args:
        image: shape `(h, w, 3)`.
        seed: two integers, shape `(2,)`, that decide.
        size: `(H, W)` of the result.

    Returns:
        uint8, shape `(H, W, 3)`.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=CROP_RATIO,
        area_range=CROP_AREA,
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.slice(image, begin, tf.concat([extent[:2], [3]], axis=0))
    return flip(resize(window, size), seed + 1)


def centre_crop(image, size):
    """The window of one size in the middle.

    Args:
        image: shape `(h, w, 3)`, at least as large.
        size: `(H, W)` of the window.

    Returns:
        Shape `(H, W, 3)`.
    """
    top, left = (tf.shape(image)[0] - size[0]) // 2, (tf.shape(image)[1] - size[1]) // 2
    return tf.ensure_shape(image[top : top + size[0], left : left + size[1]], (*size, 3))


class View(NamedTuple):
    """How images become what the network sees, in training and in test.

    Args:
        canvas: `(H, W)` to which images are resized first.
        keep_aspect: whether they keep their proportions then.
        train: function (canvas image, seed) to an image `(*image_size, 3)`.
        test: function of a canvas image to an image `(*image_size, 3)`.
    """

    canvas: tuple
    keep_aspect: bool
    train: object
    test: object


def view(augment, image_size):
    """What `augment` means at an image size.

    Args:
        augment: `None` or `"none"`: resized to `image_size`, stretched. `"flip"`: the same,
            mirrored in half of the cases. `"center"`: resized to cover 256 x 256 (at 224 and 227;
            in proportion at other sizes), the window in the middle, which is how networks are
            measured on ImageNet; in training the same. `"crop"`: a random window of that size,
            mirrored in half of the cases; in test the one in the middle. `"paper"`: the same, but
            resized to 256 x 256, stretched. `"modern"`: as `"crop"`, with a random window of 0.16
            to 1 of the area, resized. Or a function of an image `(H, W, 3)` float32 in 0..255 and
            a seed `(2,)` in TensorFlow operations.
        image_size: `(H, W)` that the network sees.

    Returns:
        A `View`.

    Raises:
        ValueError: if `augment` is not one of the above.
    """

    def same(image, seed=None):
        return image

    def own(image, seed):
        return augment(tf.cast(image, tf.float32), seed)

    def middle(image):
        return centre_crop(image, image_size)

    if augment is None or augment == "none":
        return View(image_size, False, same, same)
    if augment == "flip":
        return View(image_size, False, flip, same)
    if augment == "center":
        return View(*canvas(augment, image_size), lambda i, seed: middle(i), middle)
    if augment in ("crop", "paper"):
        return View(
            *canvas(augment, image_size), lambda i, seed: random_crop(i, seed, image_size), middle
        )
    if augment == "modern":
        return View(
            *canvas(augment, image_size),
            lambda i, seed: random_resized_crop(i, seed, image_size),
            middle,
        )
    if callable(augment):
        return View(image_size, False, own, same)
    raise ValueError(
        f"`augment` must be a function or one of {AUGMENTATIONS}. Received: augment={augment!r}"
    )
