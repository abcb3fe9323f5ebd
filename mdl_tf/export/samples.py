"""Images and features that an exported file is tried on, and how right its vectors are."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf import datasets
from mdl_tf.datasets.own import folder as image_folder
from mdl_tf.images import file as image_file
from mdl_tf.images import plain

_COUNT = 32  # inputs that are compared
_MOST = 5000  # that Recall@1 is measured on
_ROWS = 32  # of them at a time
_REPEATS = 20  # of a measured time


class Samples(NamedTuple):
    """What a model is tried on."""

    images: datasets.ImageSet  # or features
    source: str  # where they are from, for people
    is_labelled: bool  # by a run's own validation or test classes


def find_samples(run, of_images, width=None, folder=None):
    """Inputs for a model: from a folder, from a run's data, or generated.

    Args:
        run: the `Run`; `None` of a file or a model.
        of_images: whether images are wanted, and not features.
        width: F, of features. Defaults to `None`.
        folder: of images. Defaults to `None`.

    Returns:
        `Samples`.

    Raises:
        ValueError: if there are no images in the folder.
    """
    if folder is not None:
        collection = datasets.check(image_folder.read_any(Path(folder)), "skip", singles=True)
        images = collection.images
        return Samples(images, f"{min(len(images), _COUNT)} images of {folder}", False)
    reason = ""
    if run is not None:
        from mdl_tf.runs.data import read_data

        try:
            data = read_data(run.config)
        # Whatever is wrong with the data of a finished run, it can be exported.
        except (ValueError, OSError) as error:
            reason = f", as the run's data cannot be read ({str(error).splitlines()[0]})"
        else:
            name = "test" if data.validation is None else "validation"
            images = data.test if data.validation is None else data.validation
            if (images.features is None) == of_images:
                return Samples(images, f"the run's {name} data", True)
    if of_images:
        images = datasets.load("glyphs")[2]
        return Samples(images, f"generated glyphs{reason}", False)
    features = np.random.default_rng(0).normal(size=(_COUNT, width))
    labels = np.zeros(_COUNT, np.int64)
    images = datasets.ImageSet("random", labels, ("random",), features=features)
    return Samples(images, f"random numbers{reason}", False)


def some_inputs(images):
    """Some images of a set as they are, each of its size; or some features.

    Args:
        images: an `ImageSet`.

    Returns:
        A list of uint8 `(h, w, 3)` or `(h, w)`; or float32 `(n, F)`.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(_COUNT, len(images))).astype(int))
    if images.features is not None:
        return images.features[chosen]
    return [_pixels(images, i) for i in chosen]


def _pixels(images, i):
    pixels = images.images[i] if images.paths is None else image_file.read_again(images.paths[i])
    if images.boxes is None or np.isnan(images.boxes[i]).any():
        return pixels
    left, top, right, bottom = np.rint(images.boxes[i]).astype(int).clip(0)
    return pixels[top : max(top + 1, bottom), left : max(left + 1, right)]


def as_batch(inputs, image_size, augment):
    """Inputs as a network of one size takes them.

    Args:
        inputs: as `some_inputs` gives them.
        image_size: `(H, W)`; not used for features.
        augment: the augmentation of the training.

    Returns:
        uint8 `(n, H, W, 3)`, or float32 `(n, F)`.
    """
    if hasattr(inputs, "shape"):
        return np.asarray(inputs, np.float32)
    return np.stack([plain.see(pixels, image_size, augment) for pixels in inputs])


def as_rgb(pixels):
    """One image as a batch of its own size, uint8 `(1, h, w, 3)`.

    Args:
        pixels: uint8, `(h, w)`, `(h, w, 1)` or `(h, w, 3)`.
    """
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))[None]


def recall(function, images, image_size, augment):
    """Recall@1 of what a function makes of a labelled set.

    Args:
        function: from a batch to vectors.
        images: an `ImageSet`; of a large one whole classes, some 5,000 images.
        image_size: `(H, W)`; not used for features.
        augment: the augmentation of the training.

    Returns:
        Recall@1, and how many images it is of.
    """
    from mdl_tf.metrics import recall_at_k

    counts = np.cumsum(np.bincount(images.labels))
    last = max(2, int(np.searchsorted(counts, _MOST, side="right")))
    images = images.classes(np.arange(min(last, images.num_classes)), images.name)
    vectors = []
    for start in range(0, len(images), _ROWS):
        rows = range(start, min(start + _ROWS, len(images)))
        features = images.features
        part = [_pixels(images, i) for i in rows] if features is None else features[rows]
        batch = as_batch(part, image_size, augment)
        # A new shape would cost more than some rows for nothing.
        full = np.resize(batch, (_ROWS, *batch.shape[1:]))
        vectors.append(function(full)[: len(batch)])
    return float(recall_at_k(np.concatenate(vectors), images.labels, k=1)), len(images)


def measure_time(function, batch):
    """The median time of some calls, in milliseconds.

    Args:
        function: of one argument.
        batch: the argument.
    """
    function(batch)
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        function(batch)
        times.append(time.perf_counter() - begin)
    return float(np.median(times) * 1e3)
