"""Anybody's own images, or features made of them, as arrays in a NumPy .npz file."""

import warnings

from mdl_tf.datasets.content import check_features, check_images
from mdl_tf.datasets.own.labelling import as_text, check_named, collection, find_file, numbered
from mdl_tf.reading import list_arrays, read_arrays

CONTENTS = ("images", "features", "embeddings")
KEYS = (*CONTENTS, "labels", "class_names", "split")
# What `mdl-tf embed` writes besides.
SEARCH_KEYS = ("names", "folder", "model", "output", "input_range", "digests")


def read(path):
    """Read images or features with labels from an .npz file.

    - `images`: `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)` uint8; or else
    - `features` or `embeddings`: `(N, F)` floats, finite; they become float32.
    - `labels`: `(N,)` integers or strings.
    - `class_names` (optional): strings, `class_names[label]` the name of a class.
    - `split` (optional): `(N,)` strings, train, validation, test, or instead of test: query and
      gallery. All images of a class are on one side. Without it the first half of the classes (in
      the order of their labels) is for training, the rest for the test.

    Args:
        path: the .npz file, or a folder with exactly one.

    Returns:
        A `Collection` of images in memory, or of features.

    Raises:
        ValueError: if the file is damaged or not as described.
    """
    path = find_file(path, ".npz")
    arrays = _arrays(path)
    contents = [key for key in CONTENTS if key in arrays]
    if len(contents) != 1 or "labels" not in arrays:
        raise ValueError(
            "`data_dir` must be an .npz file with labels and exactly one of images, features and "
            f"embeddings. Received: data_dir={path}, with {', '.join(arrays) or 'no arrays'}"
        )
    content = _checked(path, contents[0], arrays[contents[0]])
    labels = as_text(arrays["labels"], "labels")
    splits = as_text(arrays["split"], "split") if "split" in arrays else None
    for name, values in (("labels", labels), ("split", splits)):
        if values is not None and len(values) != len(content):
            raise ValueError(
                f"`{name}` must be as many as the {contents[0]}. "
                f"Received: {len(values):,} {name}, {len(content):,} {contents[0]}"
            )
    names = None
    if "class_names" in arrays:
        names = numbered(as_text(arrays["class_names"], "class_names"))
        check_named(labels, names)
    kind = "images" if contents == ["images"] else "features"
    return collection(path.stem, labels, class_names=names, splits=splits, **{kind: content})


def _checked(path, name, content):
    try:
        return check_images(content) if name == "images" else check_features(content, name)
    except ValueError as error:
        raise ValueError(f"{error}; data_dir={path}") from error


def _arrays(path):
    try:
        arrays = read_arrays(path, KEYS)
        others = [key for key in list_arrays(path) if key not in KEYS + SEARCH_KEYS]
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            "`data_dir` must be a complete .npz file of numbers and strings, not of Python objects "
            f"(save names by `numpy.asarray(names, str)`). Received: data_dir={path}, which {error}"
        ) from error
    if others:
        warnings.warn(f"Not used of {path}: arrays {', '.join(others)}", stacklevel=3)
    return arrays
