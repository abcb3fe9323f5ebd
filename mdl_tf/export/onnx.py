"""ONNX: one file for ONNX Runtime, which answers without TensorFlow."""

import warnings

from mdl_tf.export.runtime import OnnxModel
from mdl_tf.progress import quiet

OPSET = 18


def write(graph, path, facts):
    """Write a model as an ONNX file.

    Args:
        graph: a `keras.Model` that `graph.deployable` made.
        path: of the file, which is replaced.
        facts: a dict of texts, kept as the file's metadata.
    """
    import numpy as np
    import onnx
    import tensorflow as tf

    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # of NumPy 2, about what is patched here
        import tf2onnx
        from keras.src.export.tf2onnx_lib import patch_tf2onnx

        patch_tf2onnx()
    [given] = graph.inputs
    # A model that was just loaded traces wrong before its first call.
    graph(np.zeros([side or 1 for side in given.shape], given.dtype))
    spec = tf.TensorSpec((None, *given.shape[1:]), given.dtype, name=given.name)

    @tf.function(input_signature=[spec])
    def embed(inputs):
        return tf.identity(graph(inputs, training=False), name="embedding")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _ = tf2onnx.convert.from_function(embed, input_signature=[spec], opset=OPSET)
    _name_ends(model.graph, given.name)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=str(value))
    model.doc_string = facts.get("takes", "")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _name_ends(graph, name):
    """Call input and output what they are, whatever the converter called them."""
    names = {graph.input[0].name: name, graph.output[0].name: "embedding"}
    graph.input[0].name, graph.output[0].name = name, "embedding"
    for node in graph.node:
        node.input[:] = [names.get(old, old) for old in node.input]
        node.output[:] = [names.get(old, old) for old in node.output]


def load(path):
    """A function from inputs to embeddings, by the runtime of this format.

    Args:
        path: of the file.
    """
    return OnnxModel(path).embed
