"""Exports: what other programs get is the network, also without mdl_tf around it."""

import json
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from mdl_tf import cli
from mdl_tf.backbones import build
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.embedding import embed, embedding_model
from mdl_tf.export import export
from mdl_tf.export.formats import FORMATS
from mdl_tf.images import plain
from mdl_tf.runs import Run

SUFFIXES = {"savedmodel": "", "onnx": ".onnx", "litert": ".tflite", "openvino": ".xml"}


def small_network():
    keras.utils.set_random_seed(0)
    backbone, preprocess = build("conv4", (32, 24, 3))
    return embedding_model(backbone, preprocess, embedding_dim=16)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on digits that nobody has trained."""
    folder = tmp_path_factory.mktemp("runs")
    config = TrainConfig(
        dataset="digits", backbone="conv4", image_size=24, validation=0.4, augment="modern"
    )
    run = Run.create(config, folder, "small")
    backbone, preprocess = build("conv4", (24, 24, 3))
    embedding_model(backbone, preprocess, embedding_dim=16).save(run.model)
    return run.folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of odd sizes, larger and smaller than a network."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i, (height, width) in enumerate([(16, 90), (131, 47), (24, 24), (301, 200)]):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        coarse.resize((width, height)).save(folder / f"{i}.png")
    return folder


# --------------------------------------------------------------------------- before any work


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "tflite"}, "`to` must be one of ('savedmodel', 'onnx', 'litert', 'openvino')."),
        ({"to": "savedmodel", "int8": True}, "`int8` is of 'litert' only."),
        ({"to": "savedmodel", "path": "there"}, "which exists"),
        ({"to": "savedmodel", "path": "there", "overwrite": True}, "a folder of something else"),
        ({"to": "savedmodel", "path": "file", "overwrite": True}, "must be a folder to be"),
    ],
)
def test_what_is_refused_before_anything_is_loaded(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError) as raised:
        export("no such run", **options)
    assert message in str(raised.value)
    assert (tmp_path / "there" / "mine.txt").read_text() == "mine"


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(FORMATS, "onnx", FORMATS["onnx"]._replace(packages=("no_such_package",)))
    with pytest.raises(ConfigError) as raised:
        export("no such run", to="onnx")
    assert "pip install 'mdl_tf[onnx]'" in str(raised.value)
    assert "without no_such_package" in str(raised.value)


def test_the_command_says_it_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "nothing", "--to", "savedmodel"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_networks_that_cannot_be_exported(tmp_path):
    inputs = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    with pytest.raises(ValueError, match="one input of one size"):
        export(keras.Model(inputs, pooled), "savedmodel", tmp_path / "a")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    with pytest.raises(ValueError, match="`any_size` is of images"):
        export(model, "savedmodel", tmp_path / "a", any_size=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_converter_does_not_know_is_one_message(tmp_path, photos, monkeypatch):
    from mdl_tf.export import savedmodel

    def write(*_):
        raise KeyError("no such operation\nand more")

    monkeypatch.setattr(savedmodel, "write", write)
    with pytest.raises(ConfigError, match="`to` must be a format that knows.*no such operation"):
        export(small_network(), "savedmodel", tmp_path / "there", images=photos)
    assert not (tmp_path / "there").exists()


# --------------------------------------------------------------------------- every format


def open_by_its_runtime(to, path):
    """A function from a batch to vectors, as a program without mdl_tf would have it."""
    if to == "savedmodel":
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))
        function = loaded.signatures["serving_default"]

        def embed(batch):
            return function(image=tf.constant(batch))["embedding"].numpy()

        embed.loaded = loaded
        return embed
    if to == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(["embedding"], {session.get_inputs()[0].name: batch})[0]
    if to == "openvino":
        import openvino

        compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda batch: compiled(batch)["embedding"]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    [given], [made] = interpreter.get_input_details(), interpreter.get_output_details()

    def embed(batch):
        interpreter.resize_tensor_input(given["index"], batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    return embed


def read_facts(to, path):
    if to == "savedmodel":
        return json.loads((path / "assets.extra" / "embedder.json").read_text())
    if to == "litert":
        return json.loads(zipfile.ZipFile(path).read("embedder.json"))
    if to == "onnx":
        import onnx

        return {p.key: p.value for p in onnx.load(path).metadata_props}
    import openvino

    facts = openvino.Core().read_model(path).get_rt_info(["mdl_tf"]).astype(dict)
    return {key: value if isinstance(value, str) else value.value for key, value in facts.items()}


@pytest.mark.slow
@pytest.mark.parametrize("to", SUFFIXES)
def test_every_format_gives_the_vectors_of_keras(to, tmp_path, photos):
    model = small_network()
    path = tmp_path / f"network{SUFFIXES[to]}"
    exported = export(model, to, path, images=photos)
    assert exported.difference < 1e-5 and exported.compared == f"4 images of {photos}"
    assert "uint8 RGB (n, 32, 24, 3)" in exported.takes and "of unit length" in exported.gives
    facts = read_facts(to, path)
    assert (facts["takes"], facts["gives"]) == (exported.takes, exported.gives)
    function = open_by_its_runtime(to, path)
    for count in (1, 7):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 24, 3), np.uint8)
        expected, _ = embed(model, pixels.astype(np.float32))
        vectors = function(pixels)
        np.testing.assert_allclose(vectors, expected, atol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(ConfigError, match="which exists"):
        export(model, to, path, images=photos)


@pytest.mark.parametrize(
    "to",
    [
        pytest.param("onnx", marks=pytest.mark.slow),
        *(pytest.param(to, marks=pytest.mark.longest) for to in SUFFIXES if to != "onnx"),
    ],
)
def test_any_size_is_resized_as_for_training(to, tmp_path, run):
    path = tmp_path / f"network{SUFFIXES[to]}"
    exported = export(run, to, path, any_size=True)
    assert "of any size" in exported.takes and "the run's validation data" in exported.compared
    function = open_by_its_runtime(to, path)
    model = keras.saving.load_model(run / "model.keras")
    rng = np.random.default_rng(0)
    for height, width, count in ((16, 90, 1), (131, 47, 2), (24, 24, 3), (301, 200, 1)):
        pixels = np.stack(
            [
                np.asarray(
                    Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize(
                        (width, height)
                    )
                )
                for _ in range(count)
            ]
        )
        seen = np.stack([plain.see(one, (24, 24), "modern") for one in pixels])
        expected, _ = embed(model, seen.astype(np.float32))
        # A pixel in some ten thousand is rounded to the number beside it.
        np.testing.assert_allclose(function(pixels), expected, atol=1e-3)


@pytest.mark.slow
def test_the_model_of_a_run_is_tried_on_its_data(tmp_path, run):
    exported = export(run / "model.keras", "savedmodel", tmp_path / "network")
    assert "the run's validation data" in exported.compared


@pytest.mark.slow
def test_features_are_exported_too(tmp_path):
    inputs = keras.Input((5,))
    outputs = keras.layers.UnitNormalization()(keras.layers.Dense(3)(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "features.keras")
    exported = export(tmp_path / "features.keras", "onnx", tmp_path / "features.onnx")
    assert exported.takes == "features, float32 (n, 5)"
    features = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    expected, _ = embed(keras.saving.load_model(tmp_path / "features.keras"), features)
    vectors = open_by_its_runtime("onnx", tmp_path / "features.onnx")(features)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.slow
def test_int8_says_what_it_costs(tmp_path, run, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(run), "--to", "litert"]) == 0
    exported = []

    def watch(*args, **options):
        exported.append(export(*args, **options))
        return exported[0]

    monkeypatch.setattr("mdl_tf.export.export", watch)
    assert cli.main(["export", str(run), "--to", "litert", "--int8", "-o", "int8.tflite"]) == 0
    shown = capsys.readouterr().out
    assert "Recall@1 of" in shown and " before, " in shown and " after" in shown
    sizes = [(tmp_path / name).stat().st_size for name in ("int8.tflite", "small.tflite")]
    assert sizes[0] < 0.4 * sizes[1]
    [exported] = exported
    assert exported.recall_images > 100
    assert abs(exported.recall - exported.recall_before) < 0.05
    assert 1e-5 < exported.difference < 0.1


@pytest.mark.slow
def test_a_file_that_differs_is_not_kept(tmp_path, photos, monkeypatch):
    from mdl_tf.export import onnx

    model, path = small_network(), tmp_path / "network.onnx"
    path.write_bytes(b"mine")
    load = onnx.load
    monkeypatch.setattr(onnx, "load", lambda path: lambda batch: load(path)(batch) + 0.01)
    with pytest.raises(ValueError, match="must be those of Keras, within 0.0001"):
        export(model, "onnx", path, images=photos, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["network.onnx"]
    assert path.read_bytes() == b"mine"
    monkeypatch.undo()
    export(model, "onnx", path, images=photos, overwrite=True)
    assert path.stat().st_size > 1000
