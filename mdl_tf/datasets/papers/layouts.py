"""The forms in which a data set circulates, and what their readers share."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf.datasets.image_set import Collection, ImageSet


class Part(NamedTuple):
    """A file or folder that a layout needs, under the names it may have below the root.

    `archives` are the files that hold it, `remark` what to know about it when it is missing.
    """

    paths: tuple
    archives: tuple = ()
    remark: str = ""

    def find(self, root):
        """Its path below `root`, or `None`."""
        return _first_there(root, self.paths)

    def find_archive(self, root):
        """The path of an archive below `root` that holds it, or `None`."""
        return _first_there(root, self.archives)


class Layout(NamedTuple):
    """A form in which a data set circulates: `Part`s, and a function root -> `Collection`."""

    parts: tuple
    read: object


def rows(path, columns, header=0, separator=None):
    """The columns of a text file.

    Args:
        path: of a UTF-8 file with one record a line; empty lines do not count.
        columns: how many fields a line has; the last may hold separators.
        header: how many lines to pass over at the top. Defaults to `0`.
        separator: between fields. Defaults to `None`: runs of blanks.

    Returns:
        `columns` tuples of strings, each as long as there are records.

    Raises:
        ValueError: if the file cannot be read, or a line has too few fields.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`data_dir` must hold text files that can be read. Received: {path}, {error}"
        ) from error
    lines = [line.strip() for line in text.split("\n")[header:]]
    records = [line.split(separator, columns - 1) for line in lines if line]
    for record in records:
        if len(record) < columns:
            raise ValueError(
                f"`data_dir` must hold text files as in the original, here with {columns} fields "
                f"in each line. Received: {' '.join(record)!r} in {path}"
            )
    return list(zip(*records, strict=True)) or [()] * columns


def numbers(fields, path, dtype=np.int64):
    """Fields of a text file as an array.

    Args:
        fields: strings, in any nesting.
        path: of the file, for the error.
        dtype: of the array. Defaults to `np.int64`.

    Returns:
        An array.

    Raises:
        ValueError: if a field is no number.
    """
    try:
        return np.array(fields, dtype)
    except ValueError as error:
        raise ValueError(
            "`data_dir` must hold text files with numbers where the original has them. "
            f"Received: {error}, in {path}"
        ) from error


def collected(name, paths, classes, sides, class_names, boxes=None, queries=None):
    """A `Collection` of images whose class has an id of its own in the data set.

    Args:
        name: of the data set.
        paths: N paths.
        classes: `(N,)` class ids of the data set, numbers or strings.
        sides: N times `"train"` or `"test"`, what each image is for.
        class_names: a dict from class id to name; it may hold more than there are images of.
        boxes: `(N, 4)` float32, as in `ImageSet`. Defaults to `None`.
        queries: `(N,)` bool, as in `ImageSet`. Defaults to `None`.

    Returns:
        A `Collection`, its classes in the order of their ids.

    Raises:
        ValueError: if a class is on both sides or has no name.
    """
    ids, first, labels = np.unique(classes, return_index=True, return_inverse=True)
    ids, labels = ids.tolist(), labels.astype(np.int64)
    sides = np.asarray(sides, str)
    nameless = [i for i in ids if i not in class_names]
    if nameless:
        raise ValueError(
            f"`data_dir` must hold a name for each class of {name}. Received: no name for the "
            f"classes {nameless[:5]}"
        )
    mixed = np.flatnonzero(sides != sides[first][labels])
    if len(mixed):
        raise ValueError(
            "`data_dir` must hold classes that are either for training or for the test. "
            f"Received: class {ids[labels[mixed[0]]]!r} of {name}, which is for both"
        )
    images = ImageSet(
        name=name,
        labels=labels,
        class_names=tuple(class_names[i] for i in ids),
        paths=tuple(paths),
        boxes=boxes,
        queries=queries,
    )
    return Collection(images, tuple(sides[first].tolist()))


def _first_there(root, names):
    # Not `Path.exists`, which raises in a folder that may not be read.
    return next((root / name for name in names if os.path.exists(root / name)), None)
