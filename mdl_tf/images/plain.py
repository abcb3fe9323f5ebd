"""What a network sees of an image in a test, by NumPy and Pillow alone: the pixels of `views`.

A program that answers single questions starts ten times faster without TensorFlow. JPEGs come out
of both decoders alike; shrinking sums in another order, so that one value in some ten thousand is
rounded to the number beside it.
"""

import numpy as np

from mdl_tf.images import file as image_file

# Of a canvas that keeps its proportions, to its shorter side: a strip is squeezed, or it would take
# gigabytes.
LONGEST = 8


def canvas(augment, image_size):
    """To what an augmentation resizes images first, in training and in a test.

    Args:
        augment: as in `views.view`.
        image_size: `(H, W)` that the network sees.

    Returns:
        `(H', W')`, and whether images keep their proportions and just cover it.
    """
    if augment not in ("center", "crop", "paper", "modern"):
        return tuple(image_size), False
    larger = tuple(256 if side == 227 else round(side * 8 / 7) for side in image_size)
    return larger, augment != "paper"


def see(picture, image_size, augment=None):
    """An image as the network of a run sees it in a test.

    Args:
        picture: path of an image file; its bytes; or pixels, uint8 `(h, w)`, `(h, w, 1)` or
            `(h, w, 3)`.
        image_size: `(H, W)` that the network sees.
        augment: the augmentation of its training, as in `views.view`. Defaults to `None`.

    Returns:
        uint8 RGB, shape `(H, W, 3)`.

    Raises:
        OSError: if a file is not there or no image.
        ValueError: for pixels of another kind.
    """
    pixels = picture if hasattr(picture, "shape") else image_file.read(picture)
    size, keep_aspect = canvas(augment, image_size)
    pixels = resize(pixels, size, keep_aspect)
    top, left = ((has - side) // 2 for has, side in zip(pixels.shape, image_size, strict=False))
    return pixels[top : top + image_size[0], left : left + image_size[1]]


def resize(pixels, size, keep_aspect=False):
    """`views.resize` in NumPy.

    Args:
        pixels: uint8, shape `(h, w)`, `(h, w, 1)` or `(h, w, 3)`.
        size: `(H, W)`.
        keep_aspect: whether the image keeps its proportions and just covers `size`. Defaults to
            `False`, stretched.

    Returns:
        uint8 RGB, shape `(H, W, 3)`, or with `keep_aspect` at least as high and as wide.

    Raises:
        ValueError: for pixels of another kind.
    """
    pixels = np.asarray(pixels)
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3))
    if not is_image or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(
            "Pixels must be uint8, of shape (h, w), (h, w, 1) or (h, w, 3). "
            f"Received: shape {pixels.shape}, {pixels.dtype}"
        )
    height, width = pixels.shape[:2]
    if keep_aspect:
        size = cover((height, width), size)
    if height <= size[0] and width <= size[1]:
        pixels = pixels if size == (height, width) else _enlarge(pixels, size)
    else:
        # (h, w, c) -> (H, w, c) -> (w, H, c) -> (W, H, c) -> (H, W, c)
        rows = _weigh_rows(pixels.reshape(height, -1), size[0]).reshape(size[0], width, -1)
        columns = np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(width, -1)
        columns = _weigh_rows(columns, size[1]).reshape(size[1], size[0], -1)
        pixels = _as_bytes(columns.swapaxes(0, 1))
    return np.broadcast_to(pixels.reshape(*size, -1), (*size, 3))


def _as_bytes(pixels):
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)


def cover(given, size):
    """The size of an image that keeps its proportions and just covers another size.

    Args:
        given: `(h, w)` of the image.
        size: `(H, W)` to cover.

    Returns:
        Two integers; of a strip not its proportions, but `LONGEST` times `size` at most.
    """
    # In float32, as TensorFlow reckons.
    given, size = np.array(given, np.float32), np.array(size, np.float32)
    covering = np.rint(given * (size / given).max())
    return tuple(np.clip(covering, size, LONGEST * size).astype(int).tolist())


# Both in float32 and step by step as TensorFlow does it: of an image that grows many values are one
# half, which the smallest difference rounds the other way.


def _enlarge(pixels, size):
    """Bilinear: what lies between two pixels is a mean of them."""
    shares = []
    for axis, count in enumerate(size):
        given = pixels.shape[axis]
        places = np.arange(count, dtype=np.float32) + np.float32(0.5)
        places = places * (np.float32(given) / np.float32(count)) - np.float32(0.5)
        low = np.floor(places)
        before, after = low.clip(0).astype(int), (low + 1).clip(max=given - 1).astype(int)
        shares.append((before, after, (places - low).astype(np.float32)))
    (above, below, down), (left, right, along) = shares
    pixels = pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)
    rows = pixels[:, left] + (pixels[:, right] - pixels[:, left]) * along[:, None]
    return _as_bytes(rows[above] + (rows[below] - rows[above]) * down[:, None, None])


def _weigh_rows(rows, count):
    """Rows `(n, m)` to `(count, m)` float32: each is a mean of rows around its place.

    Weights fall to both sides like a triangle; where rows get fewer it is wider, so that each row
    counts.
    """
    one, half = np.float32(1), np.float32(0.5)
    scale = one / (np.float32(count) / np.float32(len(rows)))
    reach = max(scale, one)
    resized = np.empty((count, rows.shape[1]), np.float32)
    for i in range(count):
        centre = (np.float32(i) + half) * scale
        first = max(0, int(np.ceil(centre - reach - half)))
        last = min(len(rows) - 1, int(np.floor(centre + reach - half)))
        apart = np.abs(np.arange(first, last + 1, dtype=np.float32) + half - centre)
        weights = np.maximum(one - apart * (one / reach), 0)
        resized[i] = (weights / weights.sum()) @ rows[first : last + 1].astype(np.float32)
    return resized
