"""OpenVINO: two files, `.xml` and `.bin`, for Intel's processors and graphics."""

import tempfile

from mdl_tf.export.savedmodel import write_archive

# Some processors reckon in bfloat16 unless told, which is off in the third digit.
PRECISE = {"INFERENCE_PRECISION_HINT": "f32"}


def write(graph, path, facts):
    """Write a model as an `.xml` and a `.bin` file beside it.

    Args:
        graph: a `keras.Model` that `graph.deployable` made.
        path: of the `.xml` file.
        facts: a dict of texts, kept as `rt_info` of the model.
    """
    import openvino
    from openvino.frontend import FrontEndManager

    with tempfile.TemporaryDirectory() as folder:
        write_archive(graph, folder)
        # `openvino.convert_model` does the same and reports to its makers that it was used.
        frontend = FrontEndManager().load_by_framework("tf")
        model = frontend.convert(frontend.load(folder))
    [given], [made] = model.inputs, model.outputs
    given.get_tensor().set_names({graph.inputs[0].name})
    made.get_tensor().set_names({"embedding"})
    for key, value in facts.items():
        model.set_rt_info(str(value), ["mdl_tf", key])
    openvino.save_model(model, path, compress_to_fp16=False)


def load(path):
    """A function from inputs to embeddings, by the runtime of this format.

    Args:
        path: of the `.xml` file.
    """
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", PRECISE)
    return lambda inputs: compiled(inputs)[0]
