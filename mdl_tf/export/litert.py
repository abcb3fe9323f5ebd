"""LiteRT (TensorFlow Lite): one file for telephones and small machines."""

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from mdl_tf.export.savedmodel import FACTS, write_archive


def write(graph, path, facts, *, int8=False):
    """Write a model as a `.tflite` file.

    Args:
        graph: a `keras.Model` that `graph.deployable` made.
        path: of the file, which is replaced.
        facts: a dict of texts; kept in a ZIP behind the model, where LiteRT keeps what belongs to
            a file.
        int8: whether weights are kept in 8 bits, and products with them reckoned in 8 bits.
            Defaults to `False`.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_archive(graph, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        Path(path).write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FACTS, json.dumps(facts, indent=1) + "\n")


def load(path):
    """A function from inputs to embeddings, by the runtime of this format.

    Args:
        path: of the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    [given], [made] = interpreter.get_input_details(), interpreter.get_output_details()

    def embed(inputs):
        inputs = np.ascontiguousarray(inputs)
        if tuple(interpreter.get_input_details()[0]["shape"]) != inputs.shape:
            interpreter.resize_tensor_input(given["index"], inputs.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], inputs)
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    interpreter.allocate_tensors()
    return embed
