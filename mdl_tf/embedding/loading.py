"""A saved model and all that it needs, in a fresh process."""

import contextlib
import importlib
import json
from pathlib import Path

import keras

from mdl_tf.backbones import fitting, own
from mdl_tf.embedding.archive import check_archive

_REGISTERING = (
    "mdl_tf.embedding.batch_norm",
    "mdl_tf.losses.metric_model",
    "mdl_tf.optimizers",
)


def load_model(path, *, compile=True):
    """Load a `.keras` file that holds parts of this library, also in a fresh process.

    If Keras does not know a class, and the run has a backbone `module:function`, that module is
    imported, which registers its layers.

    Args:
        path: of the file, or of a run folder that holds `model.keras`.
        compile: whether to restore loss and optimizer as well. Defaults to `True`.

    Nothing of a stranger's file is run: a model with layers that hold code or open other files
    (`Lambda`, `TFSMLayer`), and any `.h5` file, is refused before it is built.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if there is no such file, it is damaged or refused, or it holds a class that
            Keras does not know, also after the module of the backbone was imported, or that module
            cannot be.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.keras"
    try:
        check_archive(path)
    except FileNotFoundError:
        raise ValueError(
            f"`path` must be a `.keras` file that exists. Received: path={path}"
        ) from None
    except ValueError as error:
        raise ValueError(_describe_refusal(path, error)) from error
    _register_classes()
    try:
        return _load(path, compile)
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
        return _load(path, compile)
    except TypeError as error:
        raise ValueError(unknown) from error


def _load(path, compile):
    """What Keras makes of a file; a class that it does not know is a `TypeError`."""
    try:
        return keras.saving.load_model(path, compile=compile, safe_mode=True)
    except (KeyboardInterrupt, TypeError):
        raise
    # Keras, h5py and zipfile have many kinds for a damaged file.
    except Exception as error:
        reason = f"cannot be loaded ({fitting.in_short(error)})"
        raise ValueError(_describe_refusal(path, reason)) from error


def _describe_refusal(path, reason):
    return (
        f"`path` must be a whole `.keras` file of layers that run no code of their own: restore it "
        f"from a copy, or train again. Received: path={path}, which {reason}"
    )


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
