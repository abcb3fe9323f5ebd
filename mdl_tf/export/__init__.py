"""A trained network in other programs: SavedModel, ONNX, LiteRT, OpenVINO."""

import lazy_loader

# Lazy, so that the table of formats can be read without TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"exporting": ["Exported", "export"]}
)
