"""Files to ask an index about: images, folders of them, or features, as vectors with names."""

from pathlib import Path

import numpy as np

from mdl_tf.datasets.own import folder as image_folder
from mdl_tf.index import sources

_PART = 256  # images at a time


def list_images(paths):
    """Image files, and those below folders, in their order.

    Args:
        paths: of files and folders.

    Returns:
        A list of texts.

    Raises:
        ValueError: if a folder has no images.
    """
    files = []
    for path in paths:
        folder = Path(path).expanduser()
        files += image_folder.read_any(folder).images.paths if folder.is_dir() else [str(path)]
    return files


def embed_files(index, paths, progress=None):
    """The vectors of files, by the model of an index.

    Args:
        index: an `Index`.
        paths: image files and folders of them, as a list; or one `.npz` file of features.
        progress: a function of (images done, images). Defaults to `None`.

    Returns:
        `(names, vectors)`: n texts, and `(n, D)` float32.

    Raises:
        ValueError: if a file cannot be used, or is not of what the model takes.
    """
    if any(str(path).lower().endswith(".npz") for path in paths):
        if len(paths) > 1:
            raise ValueError(
                "An .npz file of features must be the only query. "
                f"Received: {len(paths)} files, {paths[0]} first"
            )
        contents = sources.read_npz(paths[0])
        features = np.asarray(contents.features, np.float32)
        embedder = index._embedder
        return contents.names, embedder.embed_features(features) if embedder else features
    names = list_images(paths)
    if not index.takes_images:
        raise ValueError(
            "The queries must be features in an .npz file: the index has no model for images. "
            f"Received: {len(names):,} images"
        )
    images, parts = sources.read_queries(names), []
    for start in range(0, len(names), _PART):
        part = np.arange(start, min(start + _PART, len(names)))
        parts.append(index._embedder.embed_queries(images.unlabelled(part)))
        if progress:
            progress(int(part[-1]) + 1, len(names))
    return names, np.concatenate(parts)
