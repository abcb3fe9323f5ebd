"""The copy of a model that answers single questions: ONNX, made once, kept beside the model."""

import numpy as np

from mdl_tf.export import onnx
from mdl_tf.export.graph import deployable
from mdl_tf.export.runtime import OnnxModel
from mdl_tf.files import replacing

_TOLERANCE = 1e-4  # of numbers of unit vectors


def keep_quick_copy(embedder, places):
    """Make an ONNX file of the model of an embedder, if its vectors come out the same.

    Args:
        embedder: an `Embedder`.
        places: paths; the first that can be written has the file.

    Returns:
        Whether there is one now.
    """
    try:
        graph = deployable(embedder.model, embedder.output, embedder.input_range)
    except ValueError:
        return False
    for path in places:
        try:
            with replacing(path) as temporary:
                onnx.write(graph, temporary, {"digest": embedder.digest})
                if not _is_equal(graph, temporary):
                    return False
            return True
        except OSError:
            continue
    return False


def _is_equal(graph, path):
    shape = (3, *graph.inputs[0].shape[1:])
    rng = np.random.default_rng(0)
    # Noise, and something flat.
    sample = rng.integers(0, 256, shape).astype(graph.inputs[0].dtype)
    sample[0] = 100
    expected, vectors = graph.predict_on_batch(sample), OnnxModel(path).embed(sample)
    longest = max(1.0, float(np.linalg.norm(expected, axis=1).max()))
    return bool(np.abs(vectors - expected).max() <= _TOLERANCE * longest)
