"""What the files of users share: where they are, labels to ids and names, what classes are for."""

import math
from pathlib import Path

import numpy as np

from mdl_tf.datasets.image_set import SIDES, Collection, ImageSet, first_for_training
from mdl_tf.words import first_few

# What an image may be for, and the side that its class is then on.
SPLITS = {side: side for side in SIDES} | {"query": "test", "gallery": "test"}
SHOWN = 5  # classes in a message


def find_file(data_dir, suffix):
    """The one file of a kind that `data_dir` is or holds.

    Args:
        data_dir: a file, or a folder with exactly one file of that kind; hidden files do not count.
        suffix: such as `".csv"`.

    Returns:
        A `Path`.

    Raises:
        ValueError: if it is not there, or there are several.
    """
    rule = f"`data_dir` must be a {suffix} file, or a folder with exactly one. Received: "
    if data_dir is None:
        raise ValueError(f"{rule}data_dir=None")
    path = Path(data_dir)
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{rule}data_dir={path}, which does not exist")
    try:
        names = sorted(file.name for file in path.iterdir() if file.suffix.lower() == suffix)
    except OSError as error:
        raise ValueError(f"{rule}data_dir={path}, {error.strerror}") from error
    names = [name for name in names if not name.startswith(".")]
    if len(names) != 1:
        listed = f" ({', '.join(names[:SHOWN])})" if names else ""
        raise ValueError(f"{rule}data_dir={path}, which holds {len(names)}{listed}")
    return path / names[0]


def as_text(values, name):
    """Integers or strings, one for each image, as strings.

    Args:
        values: `(N,)` or `(N, 1)`, integers, strings or UTF-8 bytes.
        name: of the argument, for errors.

    Returns:
        A list of N strings without blanks at either end.

    Raises:
        ValueError: if there are none, they are of another kind or shape, or one is empty.
    """
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    bytes_inside = values.dtype.kind == "O" and all(isinstance(v, bytes) for v in values.flat)
    if values.ndim != 1 or not len(values) or not (values.dtype.kind in "iuSU" or bytes_inside):
        raise ValueError(
            f"`{name}` must be (N,) integers or strings, at least one (of one-hot rows take the "
            f"argmax). Received: shape {values.shape}, {values.dtype}"
        )
    try:
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
    except UnicodeDecodeError as error:
        raise ValueError(f"`{name}` must be UTF-8. Received: {error.object[:50]!r}") from error
    texts = [text.strip() for text in texts]
    if "" in texts:
        raise ValueError(f"`{name}` must not be empty. Received: '' at index {texts.index('')}")
    return texts


def numbered(class_names):
    """A dict from label to name, the label the index of the name, as a string."""
    return {str(i): str(name).strip() for i, name in enumerate(class_names)}


def check_named(labels, names):
    """Refuse labels that are no index of `class_names`.

    Args:
        labels: strings.
        names: the dict of `numbered`.

    Raises:
        ValueError: if a label is not in `names`.
    """
    strays = sorted(set(labels) - set(names))[:SHOWN]
    if strays:
        raise ValueError(
            "`labels` must be indices of `class_names`. "
            f"Received: labels {', '.join(strays)}; {len(names):,} class_names"
        )


def collection(name, labels, *, class_names=None, splits=None, **content):
    """A `Collection` from the label, and perhaps the split, of each image.

    Classes are in the order of their labels: of numbers if all are integers, else of text.

    Args:
        name: of the data set.
        labels: N strings, none empty.
        class_names: a dict from label to the name of the class. Defaults to `None`: the labels.
        splits: N of `"train"`, `"validation"`, `"test"`, `"query"`, `"gallery"`; the last two
            instead of `"test"`. Defaults to `None`: the first half of the classes, the greater
            one, is for training and the rest for the test.
        **content: the other fields of the `ImageSet`.

    Returns:
        A `Collection`. With queries and a gallery `images.queries` is True for all other images.

    Raises:
        ValueError: if a class is in two sides, a split is unknown, queries have no gallery, or two
            classes have one name.
    """
    present = _in_order(set(labels))
    id_of = {label: i for i, label in enumerate(present)}
    ids = np.fromiter((id_of[label] for label in labels), np.int64, len(labels))
    names = tuple((class_names or {}).get(label, label) for label in present)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})[:SHOWN]
        raise ValueError(f"Each class must have a name of its own. Received twice: {twice}")
    if splits is None:
        images = ImageSet(name, ids, names, **content)
        return first_for_training(images, math.ceil(len(names) / 2), by_names=True)
    splits = [split.lower() for split in splits]
    queries = _queries(splits)
    sides = _sides(ids, names, splits)
    return Collection(ImageSet(name, ids, names, queries=queries, **content), sides)


def _in_order(labels):
    try:
        # "1" and "01" are two labels, in an order that does not depend on the rows.
        return sorted(labels, key=lambda label: (int(label), label))
    except ValueError:
        return sorted(labels)


def _sides(ids, names, splits):
    sides = [set() for _ in names]
    for i, split in zip(ids, splits, strict=True):
        sides[i].add(SPLITS[split])
    mixed = [
        f"{name!r} ({', '.join(sorted(of_class))})"
        for name, of_class in zip(names, sides, strict=True)
        if len(of_class) > 1
    ]
    if mixed:
        raise ValueError(
            "`split` must give all images of a class to one side: the test is on classes never "
            "trained on. Move the classes as a whole, or leave `split` out, which takes the first "
            f"half of the classes for training. Received: {first_few(mixed, SHOWN)}"
        )
    return tuple(of_class.pop() for of_class in sides)


def _queries(splits):
    present = set(splits)
    if not present <= set(SPLITS):
        unknown = sorted(present - set(SPLITS))[:SHOWN]
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}. Received: {unknown}")
    if not present & {"query", "gallery"}:
        return None
    # An image of a plain test is query and gallery at once, which has no meaning beside the two.
    if "test" in present or not present >= {"query", "gallery"}:
        raise ValueError(
            "`split` must give the test either as 'test' or as both 'query' and 'gallery'. "
            f"Received: {sorted(present & {'test', 'query', 'gallery'})}"
        )
    return np.asarray([split != "gallery" for split in splits])
