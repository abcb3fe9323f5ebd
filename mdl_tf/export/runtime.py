"""ONNX Runtime: a model that is loaded in a tenth of a second and needs no TensorFlow."""

import importlib.util

import numpy as np

_ROWS = 64  # at a time


def is_installed(*names):
    """Whether packages can be imported; nothing is.

    Args:
        *names: of the packages.
    """
    return all(importlib.util.find_spec(name) is not None for name in names)


class OnnxModel:
    """An ONNX file of an embedder; threads may share it.

    Args:
        path: of the file.

    Raises:
        ValueError: if ONNX Runtime cannot read it.
    """

    def __init__(self, path):
        import onnxruntime

        # It warns of what it improves.
        onnxruntime.set_default_logger_severity(3)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        # Its kinds of errors are not public.
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"`path` must be an ONNX file that can be read. Received: {path}, {reason}"
            ) from error
        [self._input] = self._session.get_inputs()

    @property
    def facts(self):
        """The metadata of the file, a dict of texts."""
        return self._session.get_modelmeta().custom_metadata_map

    @property
    def input_shape(self):
        """What it takes, `(None, H, W, 3)` or `(None, F)`."""
        return (None, *self._input.shape[1:])

    def embed(self, inputs):
        """The embeddings of some images or features.

        Args:
            inputs: uint8 `(n, H, W, 3)`, or float32 `(n, F)`.

        Returns:
            `(n, D)` float32.
        """
        parts = [
            self._session.run(None, {self._input.name: inputs[start : start + _ROWS]})[0]
            for start in range(0, len(inputs), _ROWS)
        ]
        return np.concatenate(parts)
