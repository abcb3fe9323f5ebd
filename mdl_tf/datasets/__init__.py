"""Which images and labels there are, and which classes are for training, validation and test.

>>> train, validation, test = datasets.load("glyphs", validation=0.1)
"""

import math

import numpy as np

from mdl_tf.datasets import folder as _folder
from mdl_tf.datasets import glyphs as _glyphs
from mdl_tf.datasets.cache import cached_arrays, data_folder
from mdl_tf.datasets.image_set import ImageSet, split_by_class

__all__ = ["DATASETS", "ImageSet", "load", "load_all"]


def _load_glyphs(data_dir, progress):
    def draw():
        images, labels, names = _glyphs.render(progress=progress)
        return {"images": images, "labels": labels, "names": np.asarray(names)}

    path = data_folder(data_dir) / f"glyphs-{_glyphs.fingerprint()}.npz"
    stored = cached_arrays(path, draw)
    names = tuple(str(name) for name in stored["names"])
    images = ImageSet("glyphs", stored["labels"], names, images=stored["images"])
    images = images.classes(_glyphs.class_order(len(names)), "glyphs")
    return images, _glyphs.TRAIN_CLASSES


def _load_digits(data_dir, progress):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # inks 0 to 16
    labels = digits.target.astype(np.int64)
    return ImageSet("digits", labels, tuple("0123456789"), images=images), 5


def _load_folder(data_dir, progress):
    images = _folder.read(data_dir)
    return images, math.ceil(images.num_classes / 2)


# name: a function (data_dir, progress) -> (all images, number of classes not for the test)
DATASETS = {"digits": _load_digits, "folder": _load_folder, "glyphs": _load_glyphs}


def load(name, *, validation=0.1, data_dir=None, seed=0, progress=None):
    """Load a data set, split by class.

    - `"glyphs"`: 2,059 characters (letters, numbers, symbols) in 12 to 16 typefaces, 32 x 32
      pixels; 1,000 of them, shuffled once and for all, to train from, 1,059 for the test. Drawn in
      seconds at the first call, then cached.
    - `"digits"`: scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; 0 to 4 to train from, 5 to
      9 for the test.
    - `"folder"`: `data_dir` with one subfolder per class of JPEG or PNG files; the first half of
      the classes by name to train from, the rest for the test.

    Args:
        name: one of the above.
        validation: share of the training classes that is taken out for validation (at least two).
            0 is the papers' protocol, which has no validation. Defaults to `0.1`.
        data_dir: for `"folder"` the folder of images; else where drawn images are cached.
            Defaults to `$MDL_TF_HOME` or `~/.cache/mdl_tf`.
        seed: of the draw of validation classes. Defaults to `0`.
        progress: a function of (done, total), called while a set is drawn. Defaults to `None`.

    Returns:
        train, validation, test: `ImageSet`s of disjoint classes, labels contiguous int64 in each;
        validation is `None` if `validation` is 0.

    Raises:
        ValueError: if the name is unknown, the folder is not as described, or a set would have
            fewer than two classes.
    """
    images, train_classes = _read(name, data_dir, progress)
    return split_by_class(images, train_classes, validation, seed)


def load_all(name, *, data_dir=None, progress=None):
    """A whole data set, all classes in one `ImageSet`; arguments and errors as in `load`."""
    return _read(name, data_dir, progress)[0]


def _read(name, data_dir, progress):
    if name not in DATASETS:
        raise ValueError(f"`name` must be one of {sorted(DATASETS)}. Received: name={name!r}")
    return DATASETS[name](data_dir, progress)
