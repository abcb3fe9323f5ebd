"""The copy of a model that answers single questions: ONNX, made once, kept beside the model."""

import contextlib

import numpy as np

from mdl_tf.export import onnx
from mdl_tf.export.graph import deployable
from mdl_tf.export.runtime import OnnxModel
from mdl_tf.files import replacing

_TOLERANCE = 1e-4  # of numbers of unit vectors


def make_copy(embedder, places, note):
    """Make an ONNX file of the model of an embedder, if its vectors come out the same.

    Args:
        embedder: an `Embedder`.
        places: paths; the first that can be written has the file.
        note: path of a text about a failure.

    Returns:
        Why there is none, a text; empty if there is one now.
    """
    try:
        graph = deployable(embedder.model, embedder.output, embedder.input_range)
        reason = _write(graph, embedder.digest, places)
    # Converters have many kinds of errors for what they do not know; Keras answers then.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
    if reason:
        # Else each search would try in vain.
        with contextlib.suppress(OSError), replacing(note) as temporary:
            temporary.write_text(f"{reason}\n", encoding="utf-8")
    return reason


def _write(graph, digest, places):
    for path in places:
        try:
            with replacing(path) as temporary:
                onnx.write(graph, temporary, {"digest": digest})
                difference = _compare(graph, temporary)
                if not difference <= _TOLERANCE:
                    raise ValueError(f"its vectors in ONNX Runtime are off by {difference:.1e}")
        except OSError as error:
            reason = str(error)
        else:
            return ""
    return reason


def _compare(graph, path):
    shape = (3, *graph.inputs[0].shape[1:])
    rng = np.random.default_rng(0)
    # Noise, and something flat.
    sample = rng.integers(0, 256, shape).astype(graph.inputs[0].dtype)
    sample[0] = 100
    expected, vectors = graph.predict_on_batch(sample), OnnxModel(path).embed(sample)
    longest = max(1.0, float(np.linalg.norm(expected, axis=1).max()))
    return float(np.abs(vectors - expected).max()) / longest
