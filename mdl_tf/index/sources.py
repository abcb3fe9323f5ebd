"""What can be put into an index or looked for in it: images and vectors, as one form."""

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf import datasets
from mdl_tf.datasets.own import folder as image_folder
from mdl_tf.datasets.own import npz_file
from mdl_tf.datasets.usable import check_files
from mdl_tf.images import file as image_file


class Contents(NamedTuple):
    """Images or features to be put in, n of them."""

    root: str  # folder of the files, an absolute path; empty if they are none
    names: list
    labels: list  # texts or None
    digests: list  # of what each holds
    images: datasets.ImageSet | None  # exactly one of these two
    features: np.ndarray | None
    problems: tuple = ()  # files that cannot be used
    model: str | None = None  # digest of the model whose vectors the features are already


def read_source(source, names=None, labels=None, on_corrupt="error", progress=None):
    """What `Index.add` takes.

    Args:
        source: a folder of images, an `.npz` file of features or of `mdl-tf embed`, or `(n, F)`
            floats.
        names: as for `read_features`, of floats only. Defaults to `None`.
        labels: as for `read_features`, of floats only. Defaults to `None`.
        on_corrupt: as for `read_folder`. Defaults to `"error"`.
        progress: as for `read_folder`. Defaults to `None`.

    Returns:
        `Contents`.

    Raises:
        ValueError: if it is something else.
    """
    if not isinstance(source, str | Path):
        if not hasattr(source, "shape"):
            raise ValueError(
                "`source` must be a folder of images, an .npz file of features, or (n, F) floats. "
                f"Received: {type(source).__name__}"
            )
        return read_features(source, names, labels)
    for name, value in (("names", names), ("labels", labels)):
        if value is not None:
            raise ValueError(
                f"`{name}` must be given with floats only. Received: {name} with {str(source)!r}"
            )
    if Path(source).suffix == ".npz":
        return read_vectors(source) if _is_embedded(source) else read_npz(source)
    return read_folder(source, on_corrupt, progress)


def read_folder(folder, on_corrupt="error", progress=None):
    """All images below a folder, at any depth; the label of each is the subfolder that it is in.

    Args:
        folder: of images.
        on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used. Defaults to
            `"error"`.
        progress: a function of (files done, files). Defaults to `None`.

    Returns:
        `Contents`.

    Raises:
        ValueError: as `datasets.check`, or if there are no images.
    """
    folder = Path(folder).expanduser()
    collection = image_folder.read_any(folder)
    collection = datasets.check(collection, on_corrupt, progress, singles=True)
    images, root = collection.images, Path(os.path.abspath(folder))
    names = [Path(os.path.abspath(path)).relative_to(root).as_posix() for path in images.paths]
    places = [images.class_names[label] for label in images.labels]
    labels = [None if place == "." else place for place in places]
    digests = [digest.decode() for digest in images.digests.tolist()]
    return Contents(str(root), names, labels, digests, images, None, collection.problems)


def read_features(features, names=None, labels=None):
    """Vectors in memory.

    Args:
        features: `(n, F)` floats.
        names: n texts, each another. Defaults to `None`: their numbers.
        labels: n texts, or integers. Defaults to `None`: none.

    Returns:
        `Contents`.

    Raises:
        ValueError: if lengths differ, or names are not texts or not each another.
    """
    count = len(features)
    names = [str(i) for i in range(count)] if names is None else list(names)
    labels = [None] * count if labels is None else list(labels)
    for what, values in (("names", names), ("labels", labels)):
        if len(values) != count:
            raise ValueError(
                f"`{what}` must be as many as the vectors. "
                f"Received: {len(values):,} {what}, {count:,} vectors"
            )
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < count:
        raise ValueError("`names` must be texts, each another. Received: names=" + repr(names[:5]))
    digests = [image_file.digest(np.ascontiguousarray(row).tobytes()) for row in features]
    labels = [label if label is None else str(label) for label in labels]
    return Contents("", names, labels, digests, None, np.asarray(features))


def _is_embedded(path):
    """Whether a file is one that `mdl-tf embed` wrote."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {"embeddings", "names", "folder", "model"} <= set(file.files)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False  # `read_npz` tells it


def read_vectors(path):
    """Vectors in a file that `mdl-tf embed` wrote.

    Args:
        path: of the file.

    Returns:
        `Contents`, with the digest of the model.

    Raises:
        ValueError: if it is no such file.
    """
    from mdl_tf.search import Vectors

    vectors = Vectors.load(path)
    contents = read_features(vectors.embeddings, vectors.names)
    places = [Path(name).parent.as_posix() for name in vectors.names]
    return contents._replace(
        root=vectors.folder,
        labels=[None if place == "." else place for place in places],
        # Of the files, so that `add` and `sync` of the folder embed what has changed alone.
        digests=list(vectors.digests) or contents.digests,
        model=vectors.model,
    )


def read_npz(path):
    """Features in an `.npz` file, as `--dataset npz` takes them.

    Args:
        path: of the file.

    Returns:
        `Contents`; the name of a row is that of the file and its number.

    Raises:
        ValueError: if it is no such file, or has images.
    """
    collection = npz_file.read(path)
    images = collection.images
    if images.features is None:
        raise ValueError(
            f"`source` must be an .npz file with features. Received: {path}, with images: put "
            "them into files"
        )
    names = [f"{Path(path).stem}/{i}" for i in range(len(images))]
    labels = [images.class_names[label] for label in images.labels]
    return read_features(images.features, names, labels)


def read_queries(queries):
    """Image files, or pixels, as an `ImageSet`; or `None` for vectors.

    Args:
        queries: paths or one path; `(n, H, W, 3)` uint8; or `(n, D)` floats.

    Returns:
        An `ImageSet` of n images, checked; `None` for a matrix of floats.

    Raises:
        ValueError: if one cannot be used.
    """
    if hasattr(queries, "shape"):
        if len(queries.shape) == 2 and np.asarray(queries).dtype.kind == "f":
            return None
        return datasets.ImageSet(
            "queries", np.zeros(len(queries), np.int64), ("query",), images=np.asarray(queries)
        )
    return check_files(queries, "queries")
