"""What an `ImageSet` may hold, each kind with its rule: one place, whatever the data come from."""

import os

import numpy as np

_FEW = 5  # indices in a message


def check_images(images):
    """Pixels as a set keeps them.

    Args:
        images: `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)` uint8.

    Returns:
        An array `(N, H, W)` or `(N, H, W, 3)` uint8.

    Raises:
        ValueError: for other shapes and numbers, with the way to what is allowed.
    """
    images = _as_array("images", images)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    right_shape = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not right_shape or not images.size:
        raise ValueError(
            "`images` must be (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8, pixels 0 to 255"
            f"{_way_to_pixels(images, right_shape)}. "
            f"Received: shape {images.shape}, {images.dtype}{_range(images)}"
        )
    return images


def _way_to_pixels(images, right_shape):
    """What makes pixels of these numbers, as far as they tell; empty if they do not."""
    if images.ndim == 4 and images.shape[3] == 4:
        return "; put what is transparent on white first"
    if images.ndim == 4 and not right_shape and images.shape[1] in (1, 3):
        return "; put the colours last: numpy.moveaxis(images, 1, -1)"
    if not right_shape or images.dtype.kind not in "iuf" or not images.size:
        return ""
    least, most = images.min(), images.max()
    if not np.isfinite([least, most]).all():
        return ""
    if images.dtype.kind == "f" and least >= 0 and most <= 1:
        return ": numpy.uint8(numpy.rint(images * 255))"
    if images.dtype.kind == "f" and least >= -1 and most <= 1:
        return ": numpy.uint8(numpy.rint((images + 1) * 127.5))"
    if least >= 0 and most <= 255:
        return ": numpy.uint8(numpy.rint(images))"
    if images.dtype == np.uint16:
        return ": numpy.uint8(images // 257)"
    return ""


def _range(images):
    if images.dtype.kind not in "iuf" or not images.size:
        return ""
    return f", {images.min():g} to {images.max():g}"


def check_features(features, name="features"):
    """Vectors as a set keeps them.

    Args:
        features: `(N, F)` floats, finite.
        name: what to call them in errors. Defaults to `"features"`.

    Returns:
        An array `(N, F)` float32.

    Raises:
        ValueError: for other shapes and numbers.
    """
    features = _as_array(name, features)
    # bfloat16 is of no kind that NumPy knows.
    is_float = features.dtype.kind == "f" or features.dtype.name == "bfloat16"
    if features.ndim != 2 or not is_float or not features.size:
        raise ValueError(
            f"`{name}` must be (N, F) floats. Received: shape {features.shape}, {features.dtype}"
        )
    with np.errstate(over="ignore"):  # seen just below
        features = features.astype(np.float32, copy=False)
    wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"`{name}` must be finite in float32. "
            f"Received: NaN or infinity in {len(wrong):,} rows, such as {wrong[:_FEW].tolist()}"
        )
    return features


def check_paths(paths):
    """Paths as a set keeps them.

    Args:
        paths: N texts or `Path`s, each of a file.

    Returns:
        A tuple of N texts.

    Raises:
        ValueError: if they are something else, or one path in place of many.
    """
    rule = "`paths` must be N paths of image files, texts or `Path`s. Received: "
    if isinstance(paths, str | bytes | os.PathLike):
        raise ValueError(f"{rule}{paths!r} alone")
    try:
        paths = tuple(paths)
    except TypeError:
        raise ValueError(f"{rule}{type(paths).__name__}") from None
    if not set(map(type, paths)) <= {str}:
        try:
            paths = tuple(str(os.fsdecode(path)) for path in paths)
        except TypeError as error:
            raise ValueError(f"{rule}{error}") from None
    wrong = [i for i, path in enumerate(paths) if not path or "\0" in path]
    if wrong:
        raise ValueError(f"{rule}{paths[wrong[0]]!r} at index {wrong[0]}")
    return paths


def check_boxes(boxes):
    """Boxes as a set keeps them.

    Args:
        boxes: `(N, 4)` numbers: left, top, right, bottom; a row of NaN for a whole image.

    Returns:
        An array `(N, 4)` float32.

    Raises:
        ValueError: for other shapes, and for a box without an inside.
    """
    boxes = _as_array("boxes", boxes)
    rule = (
        "`boxes` must be (N, 4) numbers: left, top, right, bottom, with left < right and "
        "top < bottom, or four NaN for the whole image. Received: "
    )
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iuf":
        raise ValueError(f"{rule}shape {boxes.shape}, {boxes.dtype}")
    with np.errstate(over="ignore"):
        boxes = boxes.astype(np.float32, copy=False)
    left, top, right, bottom = boxes.T
    fits = np.isfinite(boxes).all(axis=1) & (left < right) & (top < bottom)
    wrong = np.flatnonzero(~(fits | np.isnan(boxes).all(axis=1)))
    if len(wrong):
        raise ValueError(f"{rule}{boxes[wrong[0]].tolist()} at index {wrong[0]}")
    return boxes


def check_labels(labels):
    """Class ids as a set keeps them.

    Args:
        labels: `(N,)` or `(N, 1)` integers, as Keras's own data sets have them.

    Returns:
        An array `(N,)` int64.

    Raises:
        ValueError: if they are something else.
    """
    labels = _as_array("labels", labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            "`labels` must be (N,) integers (of one-hot rows take the argmax; of "
            "names numpy.unique(names, return_inverse=True)). "
            f"Received: shape {labels.shape}, {labels.dtype}"
        )
    return labels.astype(np.int64, copy=False)


def check_class_names(class_names):
    """Names of classes as a set keeps them.

    Args:
        class_names: C texts, each another.

    Returns:
        A tuple of C texts.

    Raises:
        ValueError: if they are something else, or two are equal.
    """
    rule = "`class_names` must be C texts, each another. Received: "
    if isinstance(class_names, str | bytes) or not hasattr(class_names, "__iter__"):
        raise ValueError(f"{rule}{class_names!r}")
    names = tuple(class_names)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(f"{rule}{wrong[0]!r}")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{rule}twice {', '.join(map(repr, twice[:_FEW]))}")
    return tuple(str(name) for name in names)


def check_queries(queries):
    """Which images are queries, as a set keeps it.

    Args:
        queries: `(N,)` bool.

    Returns:
        An array `(N,)` bool.

    Raises:
        ValueError: if it is something else.
    """
    queries = _as_array("queries", queries)
    if queries.ndim != 1 or queries.dtype != bool:
        raise ValueError(
            "`queries` must be (N,) bool, True for a query. "
            f"Received: shape {queries.shape}, {queries.dtype}"
        )
    return queries


def _as_array(name, values):
    """Values as an array of numbers; rows of several lengths are none."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array. Received: {type(values).__name__}, {error}"
        ) from None
