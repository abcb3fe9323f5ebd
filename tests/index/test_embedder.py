"""The opener of models, and the quick way by ONNX Runtime."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.commands import run as run_command
from helpers.models import average_colour
from PIL import Image

from mdl_tf import search
from mdl_tf.backbones import build
from mdl_tf.config import TrainConfig
from mdl_tf.datasets.usable import check_files
from mdl_tf.embedding import embedding_model
from mdl_tf.index import Index
from mdl_tf.index.embedder import Embedder, open_embedder
from mdl_tf.index.model_file import ONNX, read_input_shape
from mdl_tf.runs import Run


def two_outputs(path):
    """A network of (r, g, b) as it is given, and of their doubles."""
    inputs = keras.Input((16, 16, 3))
    colour = keras.layers.GlobalAveragePooling2D(name="colour")(inputs)
    double = keras.layers.Rescaling(2.0, name="double")(colour)
    keras.Model(inputs, [colour, double]).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Pictures of several sizes, one lying on its side, one see-through, one grey."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    for i, (height, width) in enumerate(rng.integers(9, 150, (6, 2)).tolist()):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((width, height)).save(folder / f"{i}.jpg", exif=turned if i == 1 else b"")
    coarse.convert("L").resize((33, 21)).save(folder / "grey.png")
    coarse.putalpha(Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)))
    coarse.resize((50, 41)).save(folder / "alpha.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run = Run.create(TrainConfig(dataset="digits", augment="modern"), folder, "small")
    keras.utils.set_random_seed(0)
    backbone, preprocess = build("conv4", (32, 32, 3))
    embedding_model(backbone, preprocess, embedding_dim=16).save(run.model)
    return run.folder


def test_output_and_units_of_a_network_stay_with_the_index(tmp_path, photos):
    path = two_outputs(tmp_path / "two.keras")
    chosen = {"output": "double", "input_range": "0..1"}
    index = Index.build(path, photos, **chosen)
    index.save(tmp_path / "double.index")
    vectors = search.embed_images(path, photos, **chosen)
    assert vectors.embeddings.max() <= 2
    for opened in (index, Index.open(tmp_path / "double.index")):
        [[hit]] = opened.search(photos / "3.jpg", k=1)
        assert hit.name == "3.jpg" and hit.distance < 1e-5
        [[hit]] = opened.search(vectors.embeddings[:1], k=1)
        assert hit.name == vectors.names[0] and hit.distance < 1e-5
    # An index of 0.1.0 tells neither.
    settings = tmp_path / "double.index" / "model.json"
    told = json.loads(settings.read_text())
    settings.write_text(json.dumps({"augment": told["augment"]}))
    with pytest.raises(ValueError, match="the model that its vectors come from"):
        Index.open(tmp_path / "double.index")


def test_an_output_that_is_not_there(tmp_path, photos):
    path = two_outputs(tmp_path / "two.keras")
    for output in (None, "other"):
        with pytest.raises(ValueError, match="`output` must name the output"):
            Index.build(path, photos, output=output)
    with pytest.raises(ValueError, match="`input_range` must be one of"):
        open_embedder(path, output="colour", input_range="0..2")


def test_the_command_takes_output_and_units(tmp_path, photos):
    path = two_outputs(tmp_path / "two.keras")
    from mdl_tf import cli

    flags = ["--model-output", "colour", "--input-range", "0..1"]
    index = str(tmp_path / "colour.index")
    assert cli.main(["index", "build", str(path), str(photos), "-o", index, *flags]) == 0
    told = json.loads((tmp_path / "colour.index" / "model.json").read_text())
    assert (told["output"], told["input_range"]) == ("colour", "0..1")


def test_pictures_in_memory_are_their_files(run, photos):
    embedder, paths = open_embedder(run), sorted(photos.iterdir())
    expected = embedder.embed_images(check_files(paths))
    vectors = embedder.embed_pictures([path.read_bytes() for path in paths])
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in paths[2:4]]
    np.testing.assert_allclose(embedder.embed_pictures(pixels), expected[2:4], atol=1e-4)
    with pytest.raises(OSError):
        embedder.embed_pictures([b"text"])


def test_a_model_of_features_takes_no_pictures(tmp_path):
    inputs = keras.Input((5,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save(tmp_path / "features.keras")
    embedder = open_embedder(tmp_path / "features.keras")
    with pytest.raises(ValueError, match="takes features, 5 numbers"):
        embedder.embed_pictures([np.zeros((4, 4, 3), np.uint8)])


def test_what_a_model_takes_is_read_from_its_file(tmp_path, run):
    assert read_input_shape(run / "model.keras") == (None, 32, 32, 3)
    assert read_input_shape(two_outputs(tmp_path / "two.keras")) == (None, 16, 16, 3)
    (tmp_path / "text.keras").write_text("text")
    assert read_input_shape(tmp_path / "text.keras") is None
    inputs = [keras.Input((5,)), keras.Input((5,))]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(tmp_path / "pair.keras")
    assert read_input_shape(tmp_path / "pair.keras") is None


# --------------------------------------------------------------------------- ONNX Runtime


@pytest.mark.slow
def test_the_quick_way_gives_the_vectors_of_keras(run, photos, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    embedder, paths = open_embedder(copied), sorted(photos.iterdir())
    images = check_files(paths)
    expected = embedder.embed_images(images)
    told = []
    assert embedder.prepare(told.append) and told == ["Prepare model.keras for quick answers, once"]
    assert (copied / ONNX).is_file()
    assert embedder.prepare(told.append) and len(told) == 1
    np.testing.assert_allclose(embedder.embed_queries(images), expected, atol=1e-4)
    vectors = embedder.embed_pictures([path.read_bytes() for path in paths])
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    many, results = [paths[0].read_bytes()], []
    threads = [
        threading.Thread(target=lambda: results.append(embedder.embed_pictures(many)))
        for _ in range(8)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(results) == 8
    np.testing.assert_allclose(np.concatenate(results), np.repeat(vectors[:1], 8, 0), atol=1e-6)


@pytest.mark.slow
def test_a_copy_of_another_model_or_a_damaged_one_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    run = Run.create(TrainConfig(dataset="digits"), tmp_path, "colours")
    average_colour().save(run.model)
    assert Embedder(run.model).prepare()
    pixels = [np.full((16, 16, 3), 100, np.uint8)]
    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    keras.Model(inputs, keras.layers.Rescaling(1 / 100)(pooled)).save(run.model)
    stale = Embedder(run.model)
    assert stale.runtime is None
    np.testing.assert_allclose(stale.embed_pictures(pixels), 1, atol=1e-6)
    assert stale.prepare()
    np.testing.assert_allclose(stale.embed_pictures(pixels), 1, atol=1e-6)
    (run.folder / ONNX).write_bytes(b"damaged")
    assert Embedder(run.model).runtime is None
    assert Embedder(run.model).prepare()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cannot be written", "differs"])
def test_a_model_that_cannot_be_copied_is_tried_once(tmp_path, monkeypatch, fault):
    from mdl_tf.export import onnx, quick

    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    run = Run.create(TrainConfig(dataset="digits"), tmp_path, "colours")
    average_colour().save(run.model)
    calls = []

    def fail(*_):
        calls.append(1)
        raise KeyError("no such operation")

    if fault == "differs":
        monkeypatch.setattr(quick, "_compare", lambda *_: calls.append(1) or 0.5)
    else:
        monkeypatch.setattr(onnx, "write", fail)
    told = []
    for _ in range(2):
        embedder = Embedder(run.model)
        assert not embedder.prepare(told.append)
        vectors = embedder.embed_pictures([np.full((16, 16, 3), 51, np.uint8)])
        np.testing.assert_allclose(vectors, 0.2, atol=1e-6)
    assert len(calls) == 1 and len(told) == 2
    assert told[1].startswith("ONNX Runtime cannot take it, Keras answers: ")
    assert not (run.folder / ONNX).exists()


@pytest.mark.slow
def test_units_and_output_are_inside_of_the_copy(tmp_path, photos, monkeypatch):
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    path = two_outputs(tmp_path / "two.keras")
    embedder = Embedder(path, output="double", input_range="0..1")
    images = check_files(sorted(photos.iterdir()))
    expected = embedder.embed_images(images)
    assert embedder.prepare()
    np.testing.assert_allclose(embedder.embed_queries(images), expected, atol=2e-4)
    # A file of a user's own gets no neighbour.
    assert [p.name for p in tmp_path.glob("*.onnx")] == []


@pytest.mark.slow
def test_a_search_with_a_copy_loads_no_tensorflow(run, photos, tmp_path):
    index = Index.build(run, photos)
    index.save(tmp_path / "photos.index")
    assert open_embedder(tmp_path / "photos.index").prepare()
    command = ["search", str(tmp_path / "photos.index"), str(photos / "2.jpg"), "-k", "1"]
    script = (
        "import sys; from mdl_tf.cli import main; code = main(sys.argv[1:]); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1  0.0000  2.jpg" in done.stdout
    # The copy is made by the first search where it is missing.
    Path(tmp_path / "photos.index" / ONNX).unlink()
    done = run_command(*command, cwd=tmp_path)
    assert done.stderr == "Prepare model.keras for quick answers, once\n"
    assert (tmp_path / "photos.index" / ONNX).is_file()
