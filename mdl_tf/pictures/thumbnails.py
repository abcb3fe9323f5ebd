"""Images of a set as small pictures, to be looked at."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mdl_tf.images import file as image_file

_GREY = 224


def small(image_set, i, side=160):
    """A small copy of one image of a set, cut to its box.

    Args:
        image_set: an `ImageSet` of images, in memory or in files.
        i: which image.
        side: pixels of the longer side, at most. Defaults to `160`.

    Returns:
        uint8, shape `(h, w, 3)`, or `(h, w)` for grey images in memory.
    """
    box = None if image_set.boxes is None else image_set.boxes[i]
    if image_set.paths is None:
        return image_file.shrink(image_set.images[i], side, box)
    return image_file.thumbnail(image_set.paths[i], side, box)


def tile(image_set, i, side):
    """One image of a set in a square, enlarged or shrunk in proportion, white around it.

    Args:
        image_set: an `ImageSet` of images.
        i: which image.
        side: pixels of the square.

    Returns:
        uint8 RGB, shape `(side, side, 3)`; grey if the image cannot be read any more.
    """
    from PIL import Image

    try:
        picture = Image.fromarray(small(image_set, i, side)).convert("RGB")
    except Exception:  # each format has errors of its own, and a picture is not worth a run's end
        return missing(side)
    scale = side / max(picture.size)
    picture = picture.resize([max(1, round(scale * length)) for length in picture.size])
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square)


def missing(side):
    """What stands for an image that cannot be read any more: grey.

    Args:
        side: pixels of the square.

    Returns:
        uint8 RGB, shape `(side, side, 3)`.
    """
    return np.full((side, side, 3), _GREY, np.uint8)


def tiles(image_set, indices, side):
    """Several images of a set, as `tile` shows them; files are read in parallel.

    Args:
        image_set: an `ImageSet` of images.
        indices: which images.
        side: pixels of a square.

    Returns:
        uint8 RGB, shape `(n, side, side, 3)`.
    """
    with ThreadPoolExecutor() as threads:
        return np.stack(list(threads.map(lambda i: tile(image_set, i, side), indices)))
