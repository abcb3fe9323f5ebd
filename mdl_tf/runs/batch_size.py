"""How many classes and images a batch has where a config leaves it open."""

import contextlib
import dataclasses
import math

import numpy as np
import tensorflow as tf

from mdl_tf import checks
from mdl_tf.runs.replicas import count_replicas

# Where there is enough of everything: 32 classes of 4 images. Of few classes more images each, as
# far as that helps.
CLASSES, IMAGES, MOST_IMAGES = 32, 4, 8
# Of the outputs of all layers: they are kept for the backward pass, which has some of its own.
_COPIES = 1.5
_SHARE = 0.5  # of the memory, for a batch


def settle_batches(config, class_sizes, network=None, report=None):
    """A config that leaves nothing open about its batches.

    Classes: 32, or as many as there are, or as fit into memory. Images of each: 4, fewer where most
    classes have fewer, up to 8 where there are fewer than 32 classes. Classes that are smaller then
    repeat their images. What the config says stays.

    Args:
        config: the `TrainConfig`.
        class_sizes: images of each training class, `(C,)`.
        network: the embedder, whose layers tell the memory that an image takes. Defaults to `None`:
            memory is not looked at.
        report: a function that prints a line, called if something else than 32 classes of 4 images
            is chosen. Defaults to `None`.

    Returns:
        A `TrainConfig`.
    """
    if None not in (config.classes_per_batch, config.images_per_class, config.short_classes):
        return config
    sizes, limit = np.asarray(class_sizes), ""
    classes, images = config.classes_per_batch, config.images_per_class
    if images is None:
        wanted = IMAGES
        if classes is None and len(sizes):
            wanted = min(MOST_IMAGES, max(IMAGES, CLASSES * IMAGES // len(sizes)))
        images = int(np.clip(np.median(sizes) if len(sizes) else wanted, 2, wanted))
    short = config.short_classes
    if short is None:
        # What nobody has asked for must not be an error.
        short = "error" if config.images_per_class is not None else "repeat"
    if classes is None:
        there = int((sizes >= images).sum()) if short == "drop" else len(sizes)
        classes = max(2, min(CLASSES, there))
        # Of micro-batches memory is looked after.
        fitting = _fitting_classes(None if config.micro_batch else network, images)
        if fitting < classes:
            classes, limit = max(2, fitting), ", as memory allows"
        # Replicas take equal shares.
        replicas = count_replicas(config)
        classes -= classes % (replicas // math.gcd(replicas, images)) if classes > 2 else 0
    repeated = int((sizes < images).sum()) if short == "repeat" else 0
    if short == "repeat" and not repeated and config.short_classes is None:
        short = "error"
    if report and (classes, images) != (CLASSES, IMAGES) or (report and repeated):
        said = f"Batches of {classes} classes x {images} images{limit or ', as the data allow'}"
        if repeated:
            said += f"; {repeated:,} of {len(sizes):,} classes have fewer, and repeat theirs"
        report(f"{said} (--classes-per-batch, --images-per-class, --short-classes).")
    return dataclasses.replace(
        config, classes_per_batch=classes, images_per_class=images, short_classes=short
    )


def _fitting_classes(network, images):
    """Classes of so many images that fit into memory at once; a GPU does not tell its own."""
    if network is None or tf.config.list_physical_devices("GPU"):
        return CLASSES
    return int(_SHARE * checks.memory_limit() / max(1.0, images * _image_memory(network)))


def _image_memory(network):
    """Bytes that one image takes in a training step."""
    numbers = 0
    for layer in network._flatten_layers(include_self=False):
        # Some layers have several outputs, or none that is known.
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            numbers += int(np.prod(layer.output.shape[1:]))
    return 4 * _COPIES * numbers
