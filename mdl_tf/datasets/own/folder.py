"""Anybody's own images: one subfolder per class of image files, or a folder without classes."""

import math
import os
import warnings
from pathlib import Path

import numpy as np

from mdl_tf.datasets.image_set import Collection, ImageSet, Problem, first_for_training
from mdl_tf.images.file import SUFFIXES


def read(folder):
    """List the images below a folder, class by class in the order of their names.

    Args:
        folder: holds one subfolder per class, each with image files (`image_file.SUFFIXES`). Names
            may have spaces and any letters. Hidden files (`._*` of macOS) are passed over; files
            of other kinds, images beside the subfolders and folders inside them are counted in a
            warning.

    Returns:
        A `Collection`: the first half of the classes by name is for training, the rest for the
        test. Subfolders that hold no image or cannot be read are its `problems`.

    Raises:
        ValueError: if the folder is missing or not readable, or has no subfolders with images.
    """
    folder = _checked(folder)
    paths, labels, names, problems, others = [], [], [], [], []
    for entry in _listed(folder):
        # `os.path`: a folder that may not be looked into is none, and no error here.
        if not os.path.isdir(entry):
            if entry.is_symlink() and not os.path.exists(entry) and not entry.suffix:
                problems.append(Problem(str(entry), "is a link that leads nowhere"))
            elif entry.suffix.lower() in SUFFIXES:
                others.append(entry)  # an image of no class
            continue
        try:
            files = _listed(entry)
        except OSError as error:
            problems.append(Problem(str(entry), f"cannot be read: {error.strerror}"))
            continue
        # A link to nowhere is among them, and found to be missing when files are looked into.
        images = [f for f in files if f.suffix.lower() in SUFFIXES and not os.path.isdir(f)]
        others += sorted(set(files).difference(images))
        if not images:
            problems.append(Problem(str(entry), "holds no images"))
            continue
        labels += [len(names)] * len(images)
        names.append(entry.name)
        paths += [str(f) for f in images]
    if not names:
        raise ValueError(
            f"`data_dir` must hold one subfolder per class with {', '.join(SUFFIXES)} files. "
            f"Received: data_dir={folder}, {len(problems) or 'no'} subfolders, none with images"
        )
    _warn_of(others, folder)
    images = ImageSet(folder.name, np.asarray(labels, np.int64), tuple(names), paths=tuple(paths))
    half = math.ceil(images.num_classes / 2)
    return first_for_training(images, half, problems, by_names=True)


def read_any(folder):
    """List all images below a folder, at any depth, whether it has classes or not.

    Args:
        folder: holds image files, hidden ones left out.

    Returns:
        A `Collection`, all for the test, in the order of the paths; the class of an image is the
        subfolder that it is in (`"."` for the folder itself).

    Raises:
        ValueError: if the folder is missing or not readable, or holds no images.
    """
    folder = _checked(folder)
    paths, problems, others, seen = [], [], [], set()

    def unreadable(error):
        problems.append(Problem(error.filename, f"cannot be read: {error.strerror}"))

    for place, subfolders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to a folder above
            subfolders.clear()
            continue
        seen.add(os.path.realpath(place))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        shown = [Path(place) / name for name in sorted(files) if not name.startswith(".")]
        images = [path for path in shown if path.suffix.lower() in SUFFIXES]
        others += [path for path in shown if path.suffix.lower() not in SUFFIXES]
        paths += images
    if not paths:
        raise ValueError(
            f"The folder must hold {', '.join(SUFFIXES)} files. Received: {folder}, without any"
        )
    _warn_of(others, folder)
    places = [str(path.parent.relative_to(folder)) for path in paths]
    names, labels = np.unique(places, return_inverse=True)
    images = ImageSet(
        folder.name,
        labels.astype(np.int64),
        tuple(names.tolist()),
        paths=tuple(str(path) for path in paths),
    )
    return Collection(images, ("test",) * len(names), tuple(problems))


def _checked(folder):
    if folder is None:
        raise ValueError("`data_dir` must be the folder of your images. Received: data_dir=None")
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"`data_dir` must be a folder that exists. Received: data_dir={folder}")
    try:
        os.listdir(folder)
    except OSError as error:
        raise ValueError(
            f"`data_dir` must be readable. Received: {folder}, {error.strerror}"
        ) from error
    return folder


def _listed(folder):
    return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]


def _warn_of(others, folder):
    if others:
        warnings.warn(
            f"{len(others):,} files or folders below {folder} were left out, such as {others[0]}: "
            f"no images ({', '.join(SUFFIXES)}), or not directly in the subfolder of a class.",
            stacklevel=3,
        )
