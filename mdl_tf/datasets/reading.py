"""A data set by its name: read, looked into, split."""

import dataclasses
import pkgutil
import warnings
from pathlib import Path

from mdl_tf.checks import DUPLICATES, SPLITS, check_choice, check_integer, check_number
from mdl_tf.datasets.duplicates import drop
from mdl_tf.datasets.papers import official
from mdl_tf.datasets.table import DATASETS, TFDS, TFDS_PREFIX
from mdl_tf.datasets.usable import check


def load(
    name,
    *,
    validation=0.1,
    data_dir=None,
    seed=0,
    crop_to_box=False,
    on_corrupt="error",
    duplicates="keep",
    split_by="names",
    split_seed=0,
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
        duplicates: `"keep"` images that are there twice, or `"drop"` them
            (`mdl_tf.datasets.duplicates.drop` says which), with a warning. Defaults to `"keep"`.
        split_by: which classes are for the test where the data do not say (folder, CSV and npz
            without splits, tfds): `"names"`, the second half, or `"random"`, a half drawn with
            `split_seed`. Defaults to `"names"`.
        split_seed: of that draw. Defaults to `0`.
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
    # Before the data are read, which may take minutes.
    check_number("validation", validation, least=0, below=1)
    check_integer("seed", seed, least=0)
    collection = read(
        name,
        data_dir=data_dir,
        crop_to_box=crop_to_box,
        on_corrupt=on_corrupt,
        duplicates=duplicates,
        split_by=split_by,
        split_seed=split_seed,
        progress=progress,
    )
    collection = _warn_of_problems(collection)
    return collection.split(validation, seed)


def load_all(name, **options):
    """A whole data set, all classes in one `ImageSet`; options and errors as in `load`."""
    return _warn_of_problems(read(name, **options)).images


def read(
    name,
    *,
    data_dir=None,
    crop_to_box=False,
    on_corrupt="error",
    duplicates="keep",
    split_by="names",
    split_seed=0,
    progress=None,
):
    """A whole data set, looked into and not yet split; arguments and errors as in `load`.

    Returns:
        A `Collection`, whose `problems` are the files that were left out.
    """
    check_choice("duplicates", duplicates, DUPLICATES)
    check_choice("split_by", split_by, SPLITS)
    if data_dir is not None:
        data_dir = Path(data_dir).expanduser()
    if isinstance(name, str) and name in DATASETS:
        collection = DATASETS[name].read(data_dir, progress)
    elif str(name).startswith(TFDS_PREFIX):
        reader = pkgutil.resolve_name(TFDS.reader)
        collection = reader(name.removeprefix(TFDS_PREFIX), data_dir, progress)
    else:
        raise ValueError(
            f"`name` must be one of {sorted(DATASETS)} or 'tfds:NAME'. Received: name={name!r}"
        )
    if split_by == "random":
        collection = collection.at_random(split_seed)
    if crop_to_box and collection.images.boxes is None:
        raise ValueError(
            f"`crop_to_box` needs bounding boxes, and {name} has none. Received: crop_to_box=True"
        )
    if not crop_to_box and collection.images.boxes is not None:
        images = dataclasses.replace(collection.images, boxes=None)
        collection = dataclasses.replace(collection, images=images)
    # The papers' data sets are what they are, also where a class has one image.
    collection = check(collection, on_corrupt, progress, singles=name in official.OFFICIAL)
    return drop(collection) if duplicates == "drop" else collection


def _warn_of_problems(collection):
    if collection.problems:
        warnings.warn(
            f"{len(collection.problems):,} images or folders were left out, such as "
            f"{collection.problems[0]}.",
            stacklevel=3,
        )
    return collection
