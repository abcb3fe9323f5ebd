"""Anybody's own `tf.data.Dataset` of (image, label), as a data set to split by class."""

import atexit
import dataclasses
import io
import os
import shutil
import tempfile
from collections import deque
from itertools import chain
from pathlib import Path

import numpy as np

from mdl_tf.datasets.own import csv_file, index
from mdl_tf.datasets.own.labelling import as_text, check_named, collection, numbered

# A photograph in 0..255 is never so dark that all of its pixels are 0 or 1, let alone so many.
ENOUGH_TO_TELL_UNITS = 100


def from_dataset(dataset, name="dataset", class_names=None, folder=None, progress=None):
    """Read a `tf.data.Dataset` of (image, label), once.

    Images of one shape stay in memory; otherwise they are written to files, and no more of them
    is in memory than came before the first of another shape. The first half of the classes (in
    the order of their labels) is for training, the rest for the test.

    Args:
        dataset: finite, batched or not. Images `(H, W, 3)`, `(H, W, 1)` or `(H, W)`, uint8, or
            floats in 0..255, which are rounded; labels integers or strings, one each.
        name: what to call it in reports. Defaults to `"dataset"`.
        class_names: strings, the name of label i at index i. Defaults to `None`: the labels.
        folder: where to write images of several shapes, new or empty. Defaults to `None`: a
            temporary folder that is removed when Python ends.
        progress: a function of (done, total) in elements of the dataset, called if it knows how
            many it has. Defaults to `None`.

    Returns:
        A `Collection` of images in memory, or of paths.

    Raises:
        ValueError: if the dataset is not as described, or the folder not empty.
    """
    _check_spec(dataset)
    if folder is not None and Path(folder).exists() and any(Path(folder).iterdir()):
        raise ValueError(f"`folder` must be new or empty. Received: folder={folder}")
    names = None if class_names is None else numbered(class_names)
    images = _images(dataset, names, progress)
    held, other = _while_of_one_shape(images)
    if not held:
        raise ValueError("`dataset` must hold at least one image. Received: an empty dataset")
    if other is None:
        labels = [label for _, label in held]
        return collection(
            name, labels, class_names=names, images=np.stack([image for image, _ in held])
        )
    folder = folder or os.path.join(_until_exit(), "images")
    images = chain(_taken_from(held), [other], images)
    listed = csv_file.read(index.write(folder, _as_files(images, names or {})))
    return dataclasses.replace(listed, images=dataclasses.replace(listed.images, name=name))


def _check_spec(dataset):
    import tensorflow as tf

    rule = "`dataset` must be a finite tf.data.Dataset of (image, label). Received: "
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(f"{rule}{type(dataset).__name__}")
    spec = dataset.element_spec
    pair = isinstance(spec, tuple) and len(spec) == 2
    if not pair or not all(isinstance(part, tf.TensorSpec) for part in spec):
        raise ValueError(f"{rule}{spec}")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{rule}one without end (leave out repeat(), or end it with take(n))")
    image, label = spec
    if not (image.dtype == tf.uint8 or image.dtype.is_floating):
        raise ValueError(
            "`dataset` must have images of uint8, or floats in 0..255. "
            f"Received: {image.dtype.name}"
        )
    if not (label.dtype == tf.string or label.dtype.is_integer):
        raise ValueError(
            "`dataset` must have labels that are integers or strings, one each (of one-hot rows "
            f"take the argmax). Received: {label.dtype.name}"
        )


def _images(dataset, names, progress):
    """(image, label) one by one: uint8 `(H, W)` or `(H, W, 3)`, a string."""
    total = int(dataset.cardinality())
    floats = dataset.element_spec[0].dtype.is_floating
    count, brightest = 0, 0.0
    for done, element in enumerate(dataset.as_numpy_iterator(), 1):
        images, labels = _batch(*element)
        labels = as_text(labels, "labels")
        if names is not None:
            check_named(labels, names)
        for image, label in zip(images, labels, strict=True):
            if floats:
                image = image.astype(np.float32)
                brightest = max(brightest, image.max())
            yield _pixels(image, count), label
            count += 1
            if count == ENOUGH_TO_TELL_UNITS:
                _check_units(floats, brightest)
        if progress and total > 0:
            progress(done, total)
    if count:
        _check_units(floats, brightest)


def _batch(image, label):
    image, label = np.asarray(image), np.asarray(label)
    colours_last = image.ndim == 3 and image.shape[-1] in (1, 3)
    of_one = label.ndim == 0 or image.ndim == 2 or colours_last
    images, labels = (image[None], label[None]) if of_one else (image, label)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    right = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)
    if not right or not images.size or len(images) != len(labels):
        raise ValueError(
            "`dataset` must have images (H, W, 3), (H, W, 1) or (H, W), or batches of them, with "
            f"a label each. Received: image {image.shape}, label {label.shape}"
        )
    return images, labels


def _pixels(image, position):
    # Written so that NaN is refused, too.
    if not (image.min() >= 0 and image.max() <= 255):
        raise ValueError(
            "`dataset` must have pixels in 0..255. "
            f"Received: {image.min()} to {image.max()} in image {position}"
        )
    return np.rint(image).astype(np.uint8)


def _check_units(floats, brightest):
    if floats and brightest <= 1:
        raise ValueError(
            "`dataset` must have pixels in 0..255: multiply images in 0..1 by 255. "
            f"Received: floats of at most {brightest}"
        )


def _while_of_one_shape(images):
    """The images up to the first that has another shape, and that one or `None`."""
    held = deque()
    for image, label in images:
        if held and image.shape != held[0][0].shape:
            return held, (image, label)
        held.append((image, label))
    return held, None


def _taken_from(held):
    while held:
        yield held.popleft()


def _as_files(images, names):
    from PIL import Image

    for count, (image, label) in enumerate(images):
        file = io.BytesIO()
        # The lightest compression: several times faster, and files little greater.
        Image.fromarray(image).save(file, "PNG", compress_level=1)
        yield index.Example(f"{count:07d}.png", file.getvalue(), label, names.get(label, ""))


def _until_exit():
    folder = tempfile.mkdtemp(prefix="mdl_tf_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
