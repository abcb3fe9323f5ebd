"""What version 0.1.0 kept on disk goes on loading: runs, models, comparisons, vectors, caches."""

import csv
import io
import json
import shutil
import tarfile
from pathlib import Path

import helpers
import numpy as np
import pytest

import mdl_tf
from mdl_tf import batches, cli, datasets, search
from mdl_tf.compare import Folder
from mdl_tf.embedding import embed

ARCHIVE = helpers.GOLDEN / "runs_0_1_0.tar.xz"


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """The folder that `make_runs_0_1_0.py` made, as if it had been made here."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("*.json"):
        path.write_text(path.read_text().replace("SAMPLE", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def expected(sample):
    return json.loads((sample / "expected.json").read_text())


def rows(text):
    return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(text))]


def test_a_run_is_measured(sample, expected, capsys):
    kept = json.loads((sample / "runs/digits/metrics.json").read_text())["trained"]
    assert cli.main(["evaluate", "runs/digits", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    for name, value in kept.items():
        assert measured[name] == pytest.approx(value, abs=2e-6), name


def test_a_run_goes_on_as_the_version_that_wrote_it(sample, expected):
    assert cli.main(["train", "--resume", "runs/digits", "--epochs", "3"]) == 0
    history = rows((sample / "runs/digits/history.csv").read_text())
    wanted = rows(expected["history"])
    assert len(history) == 3
    for row, wanted_row in zip(history, wanted, strict=True):
        assert row == pytest.approx(wanted_row, rel=1e-5, abs=1e-5)
    metrics = json.loads((sample / "runs/digits/metrics.json").read_text())
    for name, wanted_row in expected["metrics"].items():
        assert metrics[name] == pytest.approx(wanted_row, rel=1e-5, abs=1e-5), name


def test_a_metric_model_loads_with_its_optimizer(sample):
    model = mdl_tf.load_model("metric_model.keras")
    with np.load("metric_model.npz") as stored:
        embeddings, _ = embed(model, stored["images"].astype("float32"))
        np.testing.assert_allclose(embeddings, stored["embeddings"], atol=1e-6)
    assert int(model.optimizer.iterations) == 3
    assert model.optimizer.learning_rate_factors == {"proxies": 10}
    assert type(model.metric_loss).__name__ == "ProxyAnchorLoss"


def test_a_comparison_keeps_all_of_its_trials(sample, expected):
    results = Folder.open("runs/losses").results()
    assert len(results.trials) == len(expected["trials"]) == 6
    assert all(trial["failed"] is None for trial in results.trials)


def test_a_comparison_goes_on_without_training_anything_twice(sample, expected, capsys):
    before = {path: Path(path).stat().st_mtime_ns for path in expected["trials"]}
    arguments = (
        "compare --dataset npz --backbone none --losses margin_discriminate,proxy_anchor "
        "--search 2 --seeds 1 --classes-per-batch 3 --images-per-class 3 --epochs 2 "
        "--steps-per-epoch 4 --embedding-dim 4 --validation 0.5 --no-clustering "
        "--data-dir features.npz --name losses"
    )
    assert cli.main(arguments.split()) == 0
    assert "6 of them are done already" in capsys.readouterr().out
    assert before == {path: Path(path).stat().st_mtime_ns for path in expected["trials"]}
    assert Path("runs/losses/report.html").is_file()


def test_vectors_are_searched(sample, expected):
    vectors = search.Vectors.load("vectors.npz")
    hits = search.nearest("runs/digits", vectors, ["photos/round/0.png"], k=3)[0]
    assert [hit.name for hit in hits] == [name for name, _ in expected["hits"]]
    assert [hit.distance for hit in hits] == pytest.approx(
        [distance for _, distance in expected["hits"]], abs=1e-5
    )


def test_decoded_images_are_found_again(sample, expected):
    folder = Path("home/decoded")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    assert sorted(path.name for path in before) == expected["decoded"]
    photos = datasets.read("folder", data_dir="photos").images
    batches.ordered(photos, 4, image_size=(24, 24), cache="disk")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before


def test_that_test_can_fail(sample):
    shutil.rmtree("home/decoded")
    photos = datasets.read("folder", data_dir="photos").images
    batches.ordered(photos, 4, image_size=(24, 24), cache="disk")
    assert len(list(Path("home/decoded").glob("*/*"))) == 4
