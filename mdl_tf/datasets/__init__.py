"""Which images and labels there are, and which classes are for training, validation and test.

>>> train, validation, test = datasets.load("glyphs", validation=0.1)
"""

import dataclasses
import warnings
from pathlib import Path

import numpy as np

from mdl_tf.datasets import glyphs
from mdl_tf.datasets.cache import cached_arrays, data_folder
from mdl_tf.datasets.check import CorruptImagesError, check
from mdl_tf.datasets.image_set import Collection, ImageSet, Problem, first_for_training
from mdl_tf.datasets.own import csv_file, folder, npz_file, tfds
from mdl_tf.datasets.own.export import from_dataset
from mdl_tf.datasets.papers import official
from mdl_tf.datasets.papers.official import download

__all__ = [
    "DATASETS",
    "Collection",
    "CorruptImagesError",
    "ImageSet",
    "Problem",
    "check",
    "download",
    "from_dataset",
    "load",
    "load_all",
    "read",
]


def _read_glyphs(data_dir, progress):
    def draw():
        images, labels, names = glyphs.render(progress=progress)
        return {"images": images, "labels": labels, "names": np.asarray(names)}

    path = data_folder(data_dir) / f"glyphs-{glyphs.fingerprint()}.npz"
    stored = cached_arrays(path, draw)
    names = tuple(str(name) for name in stored["names"])
    images = ImageSet("glyphs", stored["labels"], names, images=stored["images"])
    images = images.classes(glyphs.class_order(len(names)), "glyphs")
    return first_for_training(images, glyphs.TRAIN_CLASSES)


def _read_digits(data_dir, progress):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # inks 0 to 16
    labels = digits.target.astype(np.int64)
    return first_for_training(ImageSet("digits", labels, tuple("0123456789"), images=images), 5)


def _official(name):
    return lambda data_dir, progress: official.read(name, data_dir, progress)


# name: a function (data_dir, progress) -> `Collection`
DATASETS = {
    "cars196": _official("cars196"),
    "csv": lambda data_dir, progress: csv_file.read(data_dir),
    "cub200": _official("cub200"),
    "digits": _read_digits,
    "folder": lambda data_dir, progress: folder.read(data_dir),
    "glyphs": _read_glyphs,
    "inshop": _official("inshop"),
    "npz": lambda data_dir, progress: npz_file.read(data_dir),
    "sop": _official("sop"),
}


def load(
    name,
    *,
    validation=0.1,
    data_dir=None,
    seed=0,
    crop_to_box=False,
    on_corrupt="error",
    progress=None,
):
    """Load a data set, split by class.

    - `"glyphs"`: 2,059 characters (letters, numbers, symbols) in 12 to 16 typefaces, 32 x 32
      pixels; 1,000 of them, shuffled once and for all, to train from, 1,059 for the test. Drawn in
      seconds at the first call, then cached.
    - `"digits"`: scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; 0 to 4 to train from, 5 to
      9 for the test.
    - `"cub200"`, `"cars196"`, `"sop"`, `"inshop"`: the data sets of the papers, both official
      halves merged and split by class (`official.OFFICIAL` has counts and sources); `data_dir`
      holds the original archives or what was in them.
    - `"folder"`: `data_dir` with one subfolder per class of image files; the first half of the
      classes by name to train from, the rest for the test.
    - `"csv"`: `data_dir` is a CSV file with columns `path`, `label` and, if you like, `split` and a
      box (`csv_file.read`).
    - `"npz"`: `data_dir` is an `.npz` file with `images` or `features`, and `labels`
      (`npz_file.read`).
    - `"tfds:NAME"`: any builder of tensorflow-datasets with images and labels (`tfds.read`).

    Every file is looked into first (`check`): once, as long as it does not change.

    Args:
        name: one of the above.
        validation: share of the training classes that is taken out for validation (at least two).
            0 is the papers' protocol, which has no validation. Defaults to `0.1`.
        data_dir: where the data are, as above; else where drawn images are cached. Defaults to
            `$MDL_TF_HOME` or `~/.cache/mdl_tf`.
        seed: of the draw of validation classes. Defaults to `0`.
        crop_to_box: whether to cut the images to the bounding boxes that the data set has. Defaults
            to `False`, as in the papers' main tables.
        on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used, with a warning.
            Defaults to `"error"`.
        progress: a function of (done, total), called while a set is drawn, unpacked, or looked
            into. Defaults to `None`.

    Returns:
        train, validation, test: `ImageSet`s of disjoint classes, labels contiguous int64 in each;
        validation is `None` if `validation` is 0.

    Raises:
        CorruptImagesError: a ValueError that lists the files that cannot be used.
        ValueError: if the name is unknown, the data are not as described, or a set would have
            fewer than two classes.
    """
    options = {"crop_to_box": crop_to_box, "on_corrupt": on_corrupt, "progress": progress}
    collection = _warned(read(name, data_dir=data_dir, **options))
    return collection.split(validation, seed)


def load_all(name, **options):
    """A whole data set, all classes in one `ImageSet`; options and errors as in `load`."""
    return _warned(read(name, **options)).images


def read(name, *, data_dir=None, crop_to_box=False, on_corrupt="error", progress=None):
    """A whole data set, looked into and not yet split; arguments and errors as in `load`.

    Returns:
        A `Collection`, whose `problems` are the files that were left out.
    """
    if data_dir is not None:
        data_dir = Path(data_dir).expanduser()
    if isinstance(name, str) and name in DATASETS:
        collection = DATASETS[name](data_dir, progress)
    elif str(name).startswith("tfds:"):
        collection = tfds.read(name.removeprefix("tfds:"), data_dir, progress)
    else:
        raise ValueError(
            f"`name` must be one of {sorted(DATASETS)} or 'tfds:NAME'. Received: name={name!r}"
        )
    if crop_to_box and collection.images.boxes is None:
        raise ValueError(
            f"`crop_to_box` needs bounding boxes, and {name} has none. Received: crop_to_box=True"
        )
    if not crop_to_box and collection.images.boxes is not None:
        images = dataclasses.replace(collection.images, boxes=None)
        collection = dataclasses.replace(collection, images=images)
    # The papers' data sets are what they are, also where a class has one image.
    return check(collection, on_corrupt, progress, singles=name in official.OFFICIAL)


def _warned(collection):
    if collection.problems:
        first = collection.problems[0]
        warnings.warn(
            f"{len(collection.problems):,} images or folders were left out, such as {first.path}, "
            f"which {first.reason}.",
            stacklevel=3,
        )
    return collection
