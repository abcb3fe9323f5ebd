"""What people have their images in, as batches of images and labels."""

import keras
import numpy as np

ROWS = 64  # of an array, in a batch


def read_batches(images, name="images"):
    """Batches of images and labels, whatever they came in.

    Args:
        images: an iterable of batches, each of (images, labels), of (images, labels, weights), of
            images alone, or of a dict with `image` and `label`; a `keras.utils.PyDataset`; one
            array `(N, ...)`; or a pair of arrays `(N, ...)` and `(N,)`, perhaps with weights. In
            the place of images there may be whatever the model takes, such as a dict of arrays.
        name: of the argument, for messages.

    Yields:
        images as NumPy arrays, and their labels `(B,)`, int64 or strings, or `None`.

    Raises:
        ValueError: for an endless stream, what cannot be iterated, and labels that are none.
    """
    check_finite(images, name)
    for batch in _batches(images, name):
        pixels, labels = _split(batch)
        pixels = keras.tree.map_structure(np.asarray, pixels)
        if labels is not None:
            labels = as_class_ids(labels, name)
            _check_lengths(pixels, labels, name)
        yield pixels, labels


def count_images(pixels):
    """How many images a batch holds.

    Args:
        pixels: an array `(B, ...)`, or arrays in dicts or lists.
    """
    arrays = keras.tree.flatten(pixels)
    return len(arrays[0]) if arrays and arrays[0].ndim else 0


def check_finite(images, name="images"):
    """Refuse what does not end, or cannot be iterated.

    Args:
        images: as for `read_batches`.
        name: of the argument, for the message.

    Raises:
        ValueError: if it does not end, as far as it can be seen, or cannot be iterated.
    """
    cardinality = getattr(images, "cardinality", None)
    length = getattr(images, "num_batches", 0)
    endless = callable(cardinality) and int(cardinality()) == -1
    if endless or (isinstance(images, keras.utils.PyDataset) and length is None):
        raise ValueError(
            f"`{name}` must come to an end: `batches.ordered`, not `batches.balanced`. "
            "Received: an endless stream"
        )
    can_be_read = hasattr(images, "__iter__") or isinstance(images, keras.utils.PyDataset)
    if not can_be_read or isinstance(images, str | bytes):
        raise ValueError(
            f"`{name}` must be batches of (images, labels), such as `batches.ordered(validation)`, "
            f"or a pair of arrays. Received: {name}={type(images).__name__}"
        )


def is_used_up_by_reading(images):
    """Whether something can be read only once, as a generator.

    Args:
        images: as for `read_batches`.
    """
    return hasattr(images, "__next__")


def as_class_ids(labels, name="images"):
    """Labels of a batch as one id for each image.

    Args:
        labels: integers, whole numbers or strings `(B,)` or `(B, 1)`, or one-hot `(B, C)`.
        name: of the argument that they came in, for the message.

    Returns:
        `(B,)`, int64 or strings.

    Raises:
        ValueError: for anything else.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "biuf":
        is_one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
        labels = labels.argmax(axis=1) if is_one_hot else labels
    elif labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1 and labels.dtype.kind in "OSU":
        return np.array([x.decode() if isinstance(x, bytes) else str(x) for x in labels.tolist()])
    whole = labels.dtype.kind in "biu" or (
        labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
    )
    if labels.ndim != 1 or not whole:
        raise ValueError(
            f"The labels of `{name}` must be one class for each image: integers or strings of "
            f"shape `(B,)` or `(B, 1)`, or one-hot `(B, C)`. Received: labels with "
            f"shape={labels.shape}, dtype={labels.dtype}"
        )
    return labels.astype(np.int64)


def _check_lengths(pixels, labels, name):
    if len(labels) != count_images(pixels):
        raise ValueError(
            f"`{name}` must have a label for each image. Received: {count_images(pixels):,} images "
            f"and {len(labels):,} labels"
        )


def _batches(images, name):
    if hasattr(images, "shape"):
        return _slices(images)
    if isinstance(images, tuple | list) and _is_pair(images):
        pixels = keras.tree.map_structure(np.asarray, images[0])
        labels = as_class_ids(images[1], name)
        _check_lengths(pixels, labels, name)
        return zip(_slices(pixels), _slices(labels), strict=True)
    if isinstance(images, keras.utils.PyDataset):
        return (images[i] for i in range(images.num_batches))
    if isinstance(images, dict):
        return _slices(images)
    return images


def _slices(arrays):
    """Parts of an array, or of all arrays in a dict or list."""
    total = len(keras.tree.flatten(arrays)[0])
    for i in range(0, total, ROWS):
        yield keras.tree.map_structure(lambda array, i=i: array[i : i + ROWS], arrays)


def _is_pair(images):
    """Whether a tuple or list is (images, labels), and not a list of batches."""
    if len(images) not in (2, 3) or isinstance(images[0], tuple | list):
        return False
    try:
        labels = np.asarray(images[1])
    except ValueError:  # rows of several lengths
        return False
    if labels.ndim != 2:
        return labels.ndim == 1 and labels.dtype != object or _are_names(labels)
    # A second batch of features is as wide as the first.
    first = keras.tree.flatten(images[0])[0]
    return tuple(first.shape[1:]) != labels.shape[1:]


def _are_names(labels):
    return labels.ndim == 1 and all(isinstance(name, str | bytes) for name in labels.tolist())


def _split(batch):
    """Images and labels of a batch, or `None`."""
    if isinstance(batch, dict) and {"image", "label"} <= set(batch):
        return batch["image"], batch["label"]
    if isinstance(batch, tuple | list):
        return batch[0], batch[1] if len(batch) > 1 else None
    return batch, None
