"""What a distance means in an index: its calibration, and the thresholds that follow."""

import numpy as np

from mdl_tf.index import sources
from mdl_tf.index.changes import embed_contents
from mdl_tf.index.store import as_vectors
from mdl_tf.metrics.calibration import Calibration, calibrate


def read_calibration(store):
    """The calibration that is kept in a store, or `None`.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        text = store.read_calibration()
        return None if text is None else Calibration.from_json(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"{error} File: {store.calibration_place}") from error


def threshold_at(store, far):
    """The largest distance to call the same, for a false accept rate.

    Raises:
        ValueError: if the store is not calibrated, or the calibration cannot tell.
    """
    calibration = read_calibration(store)
    if calibration is None:
        raise ValueError(
            "The index must be calibrated, by `calibrate` or by a run with validation classes. "
            f"Received: {store.place}, without calibration; or give `threshold`"
        )
    return calibration.point(far).threshold


def settle(store, embedder, source, labels=None, on_corrupt="error", progress=None):
    """Calibrate a store, as `Index.calibrate` says.

    Args:
        store: a `Store`, or another of the same calls.
        embedder: an `Embedder`, or `None`.
        source: a folder with a subfolder for each class; or vectors with `labels`.
        labels: of vectors. Defaults to `None`, a folder.
        on_corrupt: as for `Index.add`. Defaults to `"error"`.
        progress: a function of (images done, images). Defaults to `None`.

    Returns:
        A `Calibration`.
    """
    if hasattr(source, "shape"):
        vectors, told = as_vectors(source, store.width), f"{len(source):,} vectors"
    else:
        contents = sources.read_folder(source, on_corrupt, progress)
        labels = contents.labels
        if None in labels:
            raise ValueError(
                "`source` must have a subfolder for each class. Received: "
                f"{source}, with {contents.names[labels.index(None)]} outside of them"
            )
        vectors = embed_contents(embedder, contents, progress=progress)
        told = f"{len(labels):,} images of {contents.root}"
    if labels is None or len(labels) != len(vectors):
        raise ValueError(
            "`labels` must be as many as the vectors. "
            f"Received: {0 if labels is None else len(labels):,} labels, {len(vectors):,} "
            "vectors"
        )
    _, numbers = np.unique(np.asarray(labels), return_inverse=True)
    calibration = calibrate(vectors, numbers, source=told)
    store.keep_calibration(calibration.to_json())
    return calibration
