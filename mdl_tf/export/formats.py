"""The formats: what a file is called, what writing and reading it needs."""

from typing import NamedTuple

from mdl_tf.config import ConfigError
from mdl_tf.export.runtime import is_installed


class Format(NamedTuple):
    """One way to give a network to another program."""

    module: str  # in this folder: `write(graph, path, facts)` and `load(path)`
    suffix: str
    packages: tuple = ()  # beside those of mdl_tf
    extra: str | None = None
    is_folder: bool = False


FORMATS = {
    "savedmodel": Format("savedmodel", ".savedmodel", is_folder=True),
    "onnx": Format("onnx", ".onnx", ("onnx", "tf2onnx", "onnxruntime"), "onnx"),
    "litert": Format("litert", ".tflite", ("ai_edge_litert",), "litert"),
    "openvino": Format("openvino", ".xml", ("openvino",), "openvino"),
}


def check_format(to):
    """The format of a name.

    Args:
        to: a key of `FORMATS`.

    Returns:
        A `Format`.

    Raises:
        ConfigError: if there is none of this name, or its packages are not installed.
    """
    if to not in FORMATS:
        raise ConfigError(f"`to` must be one of {tuple(FORMATS)}. Received: to={to!r}")
    chosen = FORMATS[to]
    if not is_installed(*chosen.packages):
        raise ConfigError(
            f"`to` {to!r} needs further packages: pip install 'mdl_tf[{chosen.extra}]'. "
            f"Received: an environment without {_missing(chosen.packages)}"
        )
    return chosen


def _missing(packages):
    return ", ".join(name for name in packages if not is_installed(name))
