"""A model on disk, looked at without TensorFlow: what it takes, and its copy for ONNX Runtime."""

import contextlib
import json
import zipfile
from importlib import metadata

from mdl_tf.files import data_folder

MODEL, ONNX = "model.keras", "model.onnx"
_MOST_CONFIG = 2**26  # bytes; that of Inception-BN has 200,000


def read_input_shape(path):
    """What the model in a `.keras` file takes.

    Args:
        path: of the file.

    Returns:
        `(None, H, W, 3)` or `(None, F)`; `None` of what is no functional model with one input,
        which has to be loaded to know.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _MOST_CONFIG:
                return None
            config = json.loads(archive.read("config.json"))
        if config["class_name"] != "Functional":
            return None
        layers = [x for x in config["config"]["layers"] if x["class_name"] == "InputLayer"]
        [shape] = [layer["config"]["batch_shape"] for layer in layers]
        return tuple(shape)
    # Whatever is wrong with it is told where it is loaded.
    except Exception:
        return None


def copy_places(path, digest):
    """Where a copy may be: beside the model of a run or an index, else where caches are.

    Args:
        path: of the `.keras` file.
        digest: of the embedder.

    Returns:
        A list of paths, the best first.
    """
    cached = data_folder() / "onnx" / f"{digest}.onnx"
    return [path.with_name(ONNX), cached] if path.name == MODEL else [cached]


def failure_note(digest):
    """Where it is noted that a model cannot be converted, by the packages of now.

    Args:
        digest: of the embedder.

    Returns:
        A path.
    """
    packages = "-".join(metadata.version(name) for name in ("tf2onnx", "onnxruntime"))
    return data_folder() / "onnx" / f"{digest}-{packages}.failed"


def open_copy(path, digest):
    """The copy of a model for ONNX Runtime.

    Args:
        path: of the `.keras` file.
        digest: of the embedder; a copy with another one is of another model.

    Returns:
        An `OnnxModel`; `None` if there is none, it is damaged, or ONNX Runtime is not installed.
    """
    from mdl_tf.export.runtime import OnnxModel, is_installed

    if is_installed("onnxruntime"):
        for place in copy_places(path, digest):
            # One that is damaged is made again.
            with contextlib.suppress(ValueError):
                runtime = OnnxModel(place) if place.is_file() else None
                if runtime and runtime.facts.get("digest") == digest:
                    return runtime
    return None
