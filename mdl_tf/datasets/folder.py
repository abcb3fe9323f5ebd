"""Anybody's own images: one subfolder per class of JPEG or PNG files."""

import os
import warnings
from pathlib import Path

import numpy as np

from mdl_tf.datasets.image_set import ImageSet

SUFFIXES = (".jpg", ".jpeg", ".png")


def read(folder):
    """List the images below a folder, class by class in the order of their names.

    Args:
        folder: holds one subfolder per class, each with `.jpg`, `.jpeg` or `.png` files. Names
            may have spaces and any letters. Hidden files (`._*` of macOS) are passed over, files
            of other kinds are counted in a warning.

    Returns:
        An `ImageSet` with paths.

    Raises:
        ValueError: if the folder is missing or not readable, has no subfolders, or one of them
            holds no image.
    """
    if folder is None:
        raise ValueError("`data_dir` must be the folder of your images. Received: data_dir=None")
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"`data_dir` must be a folder that exists. Received: data_dir={folder}")
    paths, labels, names, empty, others = [], [], [], [], 0
    for entry in _listed(folder):
        if not entry.is_dir():
            continue
        files = [file for file in _listed(entry) if file.is_file()]
        found = [str(file) for file in files if file.suffix.lower() in SUFFIXES]
        others += len(files) - len(found)
        if not found:
            empty.append(entry.name)
            continue
        labels += [len(names)] * len(found)
        names.append(entry.name)
        paths += found
    if empty or not names:
        wrong = f"none in {empty[:5]}" if empty else "no subfolders"
        raise ValueError(
            "`data_dir` must hold one subfolder per class with .jpg, .jpeg or .png files. "
            f"Received: data_dir={folder}, {wrong}"
        )
    if others:
        warnings.warn(
            f"{others} files below {folder} are not .jpg, .jpeg or .png and were left out.",
            stacklevel=2,
        )
    return ImageSet(
        name=folder.name,
        labels=np.asarray(labels, np.int64),
        class_names=tuple(names),
        paths=tuple(paths),
    )


def _listed(folder):
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise ValueError(
            f"`data_dir` must be readable. Received: {folder}, {error.strerror}"
        ) from error
    return [folder / name for name in names]
