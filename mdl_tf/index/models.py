"""The model of an index: kept in its folder, or found where an index on a server says it is."""

import contextlib
import tempfile
from pathlib import Path

from mdl_tf.index.embedder import CALIBRATION, open_embedder


def keep_model(folder, model, **chosen):
    """Put a model into the folder of an index.

    Args:
        folder: of the index, a `Path`.
        model: as for `Index.build`.
        **chosen: as for `open_embedder`.

    Returns:
        The `Embedder` of the copy; `None` without a model.

    Raises:
        ValueError: if it is no model.
    """
    if model is None:
        return None
    if isinstance(model, str | Path):
        open_embedder(model, **chosen).keep(folder)
    elif hasattr(model, "save") and hasattr(model, "input_shape"):
        model.save(folder / "model.keras")
        open_embedder(folder / "model.keras", **chosen).keep(folder)
    else:
        raise ValueError(
            "`model` must be a run folder, a .keras file, a keras.Model or None. "
            f"Received: model={model!r}"
        )
    return open_embedder(folder)


def find_model(store, model, create):
    """The model of an index on a server, which is made where there is none yet.

    Args:
        store: a `Postgres`.
        model: as for `Index.connect`.
        create: whether to make the index if it is not there.

    Returns:
        An `Embedder` or `None`, and the temporary folder of a model that was in memory or `None`.

    Raises:
        ValueError: as `Index.connect`.
    """
    temporary = None
    if model is not None and not isinstance(model, str | Path):
        temporary = tempfile.mkdtemp(prefix="mdl_tf-model-")
        embedder = keep_model(Path(temporary), model)
    else:
        embedder = None if model is None else open_embedder(model)
    if not store.exists():
        if not create:
            raise ValueError(
                "`name` must be of an index that is there, or `create` be True. Received: "
                f"name={store.name!r} at {store.place}"
            )
        calibration = embedder and embedder.path.with_name(CALIBRATION)
        store.create(
            embedder and embedder.digest,
            str(Path(model).absolute()) if isinstance(model, str | Path) else None,
            calibration.read_text() if calibration and calibration.is_file() else None,
        )
    if embedder is None and store.source is not None:
        # Moved, or on another machine: then vectors can be searched, and it can be told.
        with contextlib.suppress(ValueError, OSError):
            embedder = open_embedder(store.source)
        if embedder is not None and embedder.digest != store.model:
            embedder = None
    if embedder is not None and embedder.digest != store.model:
        raise ValueError(
            "`model` must be the one that the vectors of the index come from; those of another "
            "need an index of another name, made from the images. "
            f"Received: {model!s} with {store.name!r} at {store.place}"
        )
    return embedder, temporary
