"""Training on somebody's own data: what is left out, features, caches, queries and gallery."""

import csv
import json
import shutil

import numpy as np
import pytest
from helpers import small_trees
from helpers.runs import history
from PIL import Image

from mdl_tf import metrics
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.datasets import CorruptImagesError, ImageSet
from mdl_tf.datasets.own import csv_file
from mdl_tf.embedding import embed, load_model
from mdl_tf.runs import Run, evaluate_run, train
from mdl_tf.runs.measure import measure_raw

SMALL = {
    "dataset": "folder",
    "backbone": "conv4",
    "image_size": 16,
    "embedding_dim": 8,
    "classes_per_batch": 3,
    "images_per_class": 3,
    "validation": 0.4,
    "epochs": 2,
    "steps_per_epoch": 3,
    "clustering": False,
    "tensorboard": False,
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Ten classes of four."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for c in range(10):
        (folder / f"{c}").mkdir()
        colour = rng.integers(0, 256, 3)
        for i in range(4):
            pixels = (colour + rng.normal(0, 30, (30, 24, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{c}" / f"{i}.jpg")
    return folder


def trained(runs, **settings):
    config = TrainConfig(**{**SMALL, **settings})
    run, lines = Run.create(config, runs), []
    return train(config, run, report=lines.append), run, lines


def test_broken_files_stop_before_the_first_step_or_are_listed(photographs, tmp_path):
    broken = photographs / "3" / "broken ü.jpg"
    broken.write_bytes(b"")
    try:
        with pytest.raises(CorruptImagesError) as raised:
            trained(tmp_path, data_dir=str(photographs))
        assert str(broken) in str(raised.value)
        settings = {"data_dir": str(photographs), "on_corrupt": "skip", "augment": "paper"}
        _, run, lines = trained(tmp_path, **settings)
        with open(run.folder / "left_out.csv", encoding="utf-8", newline="") as file:
            assert list(csv.reader(file)) == [["path", "reason"], [str(broken), "is empty"]]
        assert f"  left out: {broken}, which is empty" in lines
        measured = evaluate_run(run, split="all", clustering=False)
        assert (measured["images"], measured["left_out"]) == (40, 1)
    finally:
        broken.unlink()


@pytest.mark.longest
def test_a_cache_changes_nothing_but_the_time(photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    results, rows = {}, {}
    for cache in ("none", "ram", "disk"):
        settings = {"data_dir": str(photographs), "augment": "modern", "cache": cache}
        results[cache], run, _ = trained(tmp_path / "runs", **settings)
        rows[cache] = history(run)
    np.testing.assert_allclose(rows["ram"], rows["none"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows["disk"], rows["none"], rtol=1e-4, atol=1e-5)
    assert results["disk"]["trained"] == pytest.approx(results["none"]["trained"], rel=1e-4)
    kept = [path for path in (tmp_path / "home" / "decoded").rglob("*") if path.is_file()]
    assert len(kept) == 40, "all images, those of the test too"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """24 classes of six; four numbers tell them apart, sixteen are noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(24), 6)
    signal = rng.normal(0, 3, (24, 4))[labels] + rng.normal(0, 0.3, (144, 4))
    vectors = np.concatenate([signal, rng.normal(0, 4, (144, 16))], axis=1)
    path = tmp_path_factory.mktemp("features") / "f.npz"
    np.savez(path, features=vectors.astype(np.float16), labels=labels)
    return path


def test_without_a_network_the_embedding_layer_alone_is_trained(features, tmp_path):
    settings = {"dataset": "npz", "data_dir": str(features), "backbone": "none"}
    results, run, lines = trained(
        tmp_path, **settings, epochs=8, steps_per_epoch=20, learning_rate=0.03, head="random"
    )
    assert list(results) == ["features", "untrained", "trained"]
    assert results["trained"]["map_at_r"] > results["untrained"]["map_at_r"] + 0.1
    assert any("Train the embedding layer with the margin_discriminate loss" in x for x in lines)
    model = load_model(run.model, compile=False)
    assert model.count_params() == 20 * 8 + 8
    stored = np.load(features)
    test = stored["labels"] >= 12
    embeddings, _ = embed(model, stored["features"][test].astype(np.float32))
    expected = metrics.evaluate(embeddings, stored["labels"][test])
    assert results["trained"]["recall_at_1"] == expected["recall_at_1"]
    measured = evaluate_run(run, clustering=False)
    assert measured["recall_at_1"] == expected["recall_at_1"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"dataset": "npz", "backbone": "conv4"},
            "`backbone` must be none for a data set of features, and a network for images. "
            "Received: backbone='conv4', and npz has features",
        ),
        (
            {"dataset": "digits", "backbone": "none", "data_dir": None},
            "Received: backbone='none', and digits has images",
        ),
        (
            {"dataset": "npz", "backbone": "none", "crop_to_box": True},
            "`crop_to_box` needs bounding boxes, and npz has none. Received: crop_to_box=True",
        ),
    ],
)
def test_data_that_do_not_fit_the_network(features, tmp_path, settings, message):
    with pytest.raises(ValueError) as raised:
        trained(tmp_path, **{"data_dir": str(features), **settings})
    assert message in str(raised.value)


def test_a_run_of_images_cannot_measure_features(photographs, features, tmp_path):
    _, run, _ = trained(tmp_path, data_dir=str(photographs), epochs=1)
    with pytest.raises(ConfigError) as raised:
        evaluate_run(run, dataset="npz", data_dir=str(features))
    assert "must be of what the run's network takes, images. Received: npz" in str(raised.value)


def test_queries_search_the_gallery_and_not_each_other():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 5)
    vectors = rng.normal(size=(20, 3)).astype(np.float32)
    queries = np.tile([True, False, True, False, False], 4)
    names = tuple("abcd")
    found = measure_raw(ImageSet("f", labels, names, features=vectors, queries=queries))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = metrics.evaluate(
        unit[queries],
        labels[queries],
        gallery=unit[~queries],
        gallery_labels=labels[~queries],
    )
    assert found["recall_at_1"] == expected["recall_at_1"]
    assert found["queries"] == 8
    # As one set the numbers are others, so that this test can fail.
    assert measure_raw(ImageSet("f", labels, names, features=vectors))["queries"] == 20


def test_a_csv_with_splits_boxes_queries_and_gallery(photographs, tmp_path):
    rows = ["path,label,split,left,top,right,bottom"]
    for c in range(10):
        for i in range(4):
            split = "train" if c < 4 else "validation" if c < 6 else "query" if i < 2 else "gallery"
            rows.append(f"{photographs / str(c) / f'{i}.jpg'},{c},{split},2,3,14,20")
    path = tmp_path / "index.csv"
    path.write_text("\n".join(rows))
    settings = {"dataset": "csv", "data_dir": str(path), "crop_to_box": True}
    results, run, lines = trained(tmp_path / "runs", **settings)
    assert results["trained"]["queries"] == 8
    classes = json.loads((run.folder / "classes.json").read_text())
    assert classes == {
        "train": ["0", "1", "2", "3"],
        "validation": ["4", "5"],
        "test": ["6", "7", "8", "9"],
    }
    assert csv_file.read(path).images.boxes.tolist() == [[2, 3, 14, 20]] * 40
    assert evaluate_run(run, dataset="digits")["images"] > 0, "which has no boxes"
    assert any("index validation: 8 images of 2 classes" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cub200", {"crop_to_box": True, "augment": "paper", "cache": "ram"}),
        pytest.param("inshop", {"augment": "modern"}, marks=pytest.mark.slow),
    ],
)
def test_data_sets_of_the_papers_from_archive_to_metrics(name, settings, tmp_path, monkeypatch):
    tree = getattr(small_trees, name)(tmp_path / "original")
    small_trees.expect(monkeypatch, name)
    settings = {"data_dir": str(tree), "classes_per_batch": 2, "images_per_class": 2, **settings}
    results, run, lines = trained(tmp_path / "runs", dataset=name, **settings)
    assert any(f"{name} test: 9 images of 3 classes" in line for line in lines)
    assert results["trained"]["queries"] == (9 if name == "cub200" else 3)
    measured = evaluate_run(run, clustering=False)
    assert measured["recall_at_1"] == results["trained"]["recall_at_1"]


def test_own_data_are_known_in_another_place(photographs, tmp_path):
    _, run, _ = trained(tmp_path / "runs", data_dir=str(photographs), epochs=1)
    shutil.copytree(photographs, tmp_path / "moved")
    moved = evaluate_run(run, data_dir=str(tmp_path / "moved"), clustering=False)
    assert (moved["split"], moved["images"]) == ("test", 20)
    (tmp_path / "moved" / "0").rename(tmp_path / "moved" / "another")
    other = evaluate_run(run, data_dir=str(tmp_path / "moved"), clustering=False)
    assert (other["split"], other["images"]) == ("all", 40)


def test_a_run_goes_on_only_with_the_images_it_began_with(photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "mine")
    _, run, _ = trained(tmp_path / "runs", data_dir=str(tmp_path / "mine"), epochs=1)
    (tmp_path / "mine" / "0" / "3.jpg").unlink()
    with pytest.raises(ConfigError) as raised:
        train(run.config, run, report=lambda line: None)
    assert "must hold the images that it held when the run began" in str(raised.value)


def test_too_few_training_classes_name_the_flag(photographs, tmp_path):
    with pytest.raises(ConfigError) as raised:
        trained(tmp_path, data_dir=str(photographs), classes_per_batch=32)
    assert str(raised.value) == (
        "`classes_per_batch` (--classes-per-batch) must be at most the number of training classes, "
        "3 of 10 in all. Received: classes_per_batch=32"
    )
