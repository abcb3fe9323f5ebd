"""An index of image files: what is embedded when, whose vectors it takes, what it keeps."""

import os
import shutil

import keras
import numpy as np
import pytest
from helpers.models import average_colour
from PIL import Image

from mdl_tf import search
from mdl_tf.config import TrainConfig
from mdl_tf.index import Index
from mdl_tf.index.embedder import Embedder
from mdl_tf.runs import Run

COLOURS = {"a/red.png": (250, 0, 0), "a/dark.png": (40, 0, 0), "b/blue.png": (0, 0, 250)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run = Run.create(TrainConfig(dataset="digits", augment="paper"), folder, "colours")
    average_colour().save(run.model)
    return run.folder


@pytest.fixture
def photos(tmp_path):
    for name, colour in {**COLOURS, "top.png": (0, 250, 0)}.items():
        write(tmp_path / "photos" / name, colour)
    return tmp_path / "photos"


def write(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), colour).save(path)


@pytest.fixture
def embedded(monkeypatch):
    """Names of what goes through the model."""
    names, embed = [], Embedder.embed_images

    def watch(self, image_set, progress=None):
        names.extend(os.path.basename(path) for path in image_set.paths)
        return embed(self, image_set, progress)

    monkeypatch.setattr(Embedder, "embed_images", watch)
    return names


def names(hits):
    return [hit.name for hit in hits]


def test_a_folder_is_found_again(run, photos, tmp_path):
    index = Index.build(run, photos)
    write(tmp_path / "query.png", (200, 0, 0))
    [hits] = index.search(tmp_path / "query.png", k=3)
    assert names(hits) == ["a/red.png", "a/dark.png", "top.png"]
    np.testing.assert_allclose([hit.distance for hit in hits[:2]], [50 / 255, 160 / 255], atol=1e-6)
    assert [hit.label for hit in hits] == ["a", "a", None]
    assert hits[0].path == str(photos / "a/red.png")
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    pixels[1, ..., 2] = 255
    assert [row[0].name for row in index.search(pixels)] == ["a/dark.png", "b/blue.png"]
    assert names(index.search(np.array([[1.0, 0, 0]]), where={"label": "b"})[0]) == ["b/blue.png"]


def test_only_what_is_new_or_changed_is_embedded(run, photos, tmp_path, embedded):
    path = tmp_path / "i"
    index = Index.create(path, run)
    assert index.add(photos)[:4] == (4, 0, 0, 0)
    embedded.clear()
    assert index.add(photos)[:4] == (0, 0, 4, 0) and not embedded
    write(photos / "a/red.png", (240, 0, 0))
    write(photos / "c/new.png", (9, 9, 9))
    (photos / "b/blue.png").unlink()
    index.close()
    index = Index.open(path)
    assert index.add(photos)[:4] == (1, 1, 2, 0)
    assert sorted(embedded) == ["new.png", "red.png"]
    # A file that was moved or copied is not embedded again.
    embedded.clear()
    shutil.copyfile(photos / "a/red.png", photos / "c/copy.png")
    assert index.add(photos)[:4] == (1, 0, 4, 0) and not embedded
    index.remove("c/copy.png")
    (photos / "c/copy.png").unlink()
    # What is gone stays with `add`, and goes with `sync`; other folders stay.
    write(tmp_path / "more/x.png", (1, 2, 3))
    index.add(tmp_path / "more")
    assert len(index) == 6
    assert index.sync(photos)[:4] == (0, 0, 4, 1)
    far = np.array([[0, 0, 1.0]])
    assert sorted(names(index.search(far, k=9)[0])) == [
        *("a/dark.png", "a/red.png", "c/new.png", "top.png", "x.png"),
    ]
    assert index.search(np.array([[240 / 255, 0, 0]]), k=1)[0][0].distance < 1e-6


def test_columns_of_files(run, photos):
    columns = {"price": {"a/red.png": 10, "b/blue.png": 20}}
    index = Index.build(run, photos, columns=columns)
    query = np.zeros((1, 3))
    assert names(index.search(query, where={"price": {">": 15}})[0]) == ["b/blue.png"]
    # Given later, without embedding anew; what is not given stays.
    index.add(photos, columns={"price": {"a/dark.png": 30}})
    assert sorted(names(index.search(query, where={"price": {">": 15}})[0])) == [
        *("a/dark.png", "b/blue.png"),
    ]
    with pytest.raises(ValueError, match="paths below the folder.*'price' of 'x.png'"):
        index.add(photos, columns={"price": {"x.png": 30}})


def test_the_model_goes_with_the_index(run, photos, tmp_path):
    Index.build(run, photos).save(tmp_path / "i")
    shutil.copytree(tmp_path / "i", tmp_path / "elsewhere")
    index = Index.open(tmp_path / "elsewhere")
    [hits] = index.search(photos / "a/red.png", k=1)
    assert hits[0].distance < 1e-6
    # Trained with `paper`, which has a view of its own for the test as well.
    assert index._embedder.augment == "paper"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(
        tmp_path / "elsewhere/model.keras"
    )
    with pytest.raises(ValueError, match="the model that its vectors come from"):
        Index.open(tmp_path / "elsewhere")


def test_vectors_of_embed_are_an_index(run, photos, tmp_path):
    vectors = search.embed_images(run, photos)
    vectors.save(tmp_path / "v.npz")
    index = Index.open(tmp_path / "v.npz")
    query = np.array([[0.9, 0, 0]])
    assert index.search(query, k=4) == Index.build(run, photos).search(query, k=4)
    assert index._store.rows.fact("model") == Index.build(run, photos)._store.rows.fact("model")


def test_shards_are_joined(run, photos, tmp_path, embedded):
    for i in (1, 2, 3):
        search.embed_images(run, photos, shard=f"{i}/3").save(tmp_path / f"{i}.npz")
    sizes = [len(search.Vectors.load(tmp_path / f"{i}.npz")) for i in (1, 2, 3)]
    assert sizes == [2, 1, 1]
    index = Index.create(tmp_path / "i", run)
    for i in (3, 1, 2):
        index.add(tmp_path / f"{i}.npz")
    query = np.array([[0.9, 0, 0]])
    assert index.search(query, k=4) == Index.build(run, photos).search(query, k=4)
    # The folder itself has nothing new then.
    embedded.clear()
    assert index.sync(photos)[:4] == (0, 0, 4, 0) and not embedded
    for wrong in ("0/3", "4/3", "1", "1/2/3", "a/b", "-1/2", "1/99"):
        with pytest.raises(ValueError, match="`shard` must"):
            search.embed_images(run, photos, shard=wrong)
    average_colour().save(tmp_path / "other.keras")
    other = search.embed_images(tmp_path / "other.keras", photos)
    other.save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="must have vectors of the model of the index"):
        index.add(tmp_path / "other.npz")
    assert len(index) == 4


def test_a_layer_on_features(tmp_path):
    features = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    np.savez(tmp_path / "f.npz", features=features, labels=np.repeat(np.arange(10), 3))
    inputs = keras.Input((8,))
    layer = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    index = Index.build(layer, tmp_path / "f.npz")
    vectors = layer.predict(features, verbose=0)
    far = np.linalg.norm(vectors - vectors[7], axis=1)
    [hits] = index.search(vectors[7:8], k=5)
    assert names(hits) == [f"f/{i}" for i in np.argsort(far)[:5]]
    assert hits[0].label == "2"
    with pytest.raises(ValueError, match=r"takes \(N, 8\) features. Received: shape \(2, 5\)"):
        index.add(np.zeros((2, 5), np.float32))


def test_what_does_not_fit(run, photos, tmp_path):
    with pytest.raises(ValueError, match="must be vectors: the index has no model"):
        Index.build(None, photos)
    (photos / "a/bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="bad.png: is no image file"):
        Index.build(run, photos)
    index = Index.create(tmp_path / "i", run)
    changes = index.add(photos, on_corrupt="skip")
    assert changes.added == 4 and changes.left_out[0].path.endswith("bad.png")
    with pytest.raises(ValueError, match="`path` must not exist"):
        Index.create(tmp_path / "i", run)
    with pytest.raises(ValueError, match="`model` must be a run folder"):
        Index.create(tmp_path / "other", tmp_path / "photos/top.png")
    assert sorted(os.listdir(tmp_path)) == ["i", "photos"]


def test_progress(run, photos):
    seen = []
    Index.build(run, photos, progress=lambda *numbers: seen.append(numbers))
    assert seen[-1] == (4, 4)
