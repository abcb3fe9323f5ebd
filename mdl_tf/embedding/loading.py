"""A saved model and all that it needs, in a fresh process."""

import contextlib
import importlib
import json
from pathlib import Path

import keras

from mdl_tf.backbones import fitting, own

_REGISTERING = (
    "mdl_tf.embedding.batch_norm",
    "mdl_tf.losses.anchors",
    "mdl_tf.losses.metric_model",
    "mdl_tf.losses.weighted_sum",
    "mdl_tf.optimizers",
)


def load_model(path, *, compile=True):
    """Load a `.keras` file that holds parts of this library, also in a fresh process.

    If Keras does not know a class, and the run has a backbone `module:function`, that module is
    imported, which registers its layers.

    Args:
        path: of the file, or of a run folder that holds `model.keras`.
        compile: whether to restore loss and optimizer as well. Defaults to `True`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if there is no such file, it is HDF5 (`.h5`), or it holds a class that Keras
            does not know, also after the module of the backbone was imported, or that module cannot
            be.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.keras"
    if not path.is_file():
        raise ValueError(f"`path` must be a `.keras` file that exists. Received: path={path}")
    if _is_hdf5(path):
        raise ValueError(
            "`path` must be a `.keras` file: HDF5 (.h5) keeps neither the losses nor the layers of "
            f"this library. Save again by model.save('model.keras'). Received: path={path}"
        )
    _register_classes()
    try:
        return keras.saving.load_model(path, compile=compile)
    except TypeError as error:
        backbone = _backbone_of_run(path)
        unknown = (
            "`path` must hold a model whose classes Keras knows; import the module that registers "
            f"them first. Received: path={path}, and Keras says: {fitting.in_short(error)}"
        )
    if not own.is_name(backbone):
        raise ValueError(unknown)
    own.import_layers(backbone)
    try:
        return keras.saving.load_model(path, compile=compile)
    except TypeError as error:
        raise ValueError(unknown) from error


def _is_hdf5(path):
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n" or path.suffix in (".h5", ".hdf5")


def _register_classes():
    """Import what defines serialisable classes: Keras finds a saved class only after that."""
    for module in _REGISTERING:
        importlib.import_module(module)
    losses = importlib.import_module("mdl_tf.losses")
    tuple(losses.LOSSES.values())


def _backbone_of_run(path):
    """What the run that a model belongs to has as its backbone, or `None` if there is no run."""
    for folder in path.absolute().parents[:2]:  # of model.keras, and of resume/epoch-0001.keras
        with contextlib.suppress(OSError, ValueError):
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            return settings.get("backbone") if isinstance(settings, dict) else None
    return None
