"""Thresholds of a run: of its validation classes and its best model, and only of those."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from helpers.tiny import call, train, write_features
from sklearn.metrics import roc_auc_score, roc_curve

import mdl_tf
from mdl_tf.embedding import embed
from mdl_tf.index import Index
from mdl_tf.metrics.calibration import Calibration
from mdl_tf.runs import Run, evaluate_run
from mdl_tf.runs import data as run_data
from mdl_tf.runs import single as run_single
from mdl_tf.runs.calibration import explain_none

MORE = ("--verification", "--validation", "0.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder):
    code, out, err = train(write_features(folder / "f.npz"), folder, "r", *MORE)
    assert code == 0, err
    (folder / "out.txt").write_text(out)
    return Run.open(folder / "r")


def kept(run):
    return Calibration.from_json((run.folder / "calibration.json").read_text())


def pairs_of(run, side):
    """Distances and sameness of all pairs of a side, by loops."""
    stored = np.load(run.config.data_dir)
    names = run.read_json("classes.json")[side]
    kept_rows = np.isin(stored["labels"].astype(str), names)
    labels = stored["labels"][kept_rows]
    model = mdl_tf.load_model(run.model, compile=False)
    vectors = embed(model, stored["features"][kept_rows])[0].astype(np.float64)
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    distances = np.array([np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs])
    return distances, np.array([labels[i] == labels[j] for i, j in pairs])


def test_thresholds_are_those_of_the_validation_classes_and_the_best_model(run):
    distances, same = pairs_of(run, "validation")
    calibration = kept(run)
    assert calibration.classes == 3 and calibration.positive_pairs == same.sum() == 45
    assert calibration.negative_pairs == (~same).sum() == 108
    assert calibration.source == "18 features of the validation classes"
    assert calibration.auc == pytest.approx(roc_auc_score(same, -distances), abs=1e-4)
    threshold = calibration.point(0.1).threshold
    fpr, tpr, cuts = roc_curve(same, -distances, drop_intermediate=False)
    last = np.flatnonzero(-cuts <= threshold)[-1]
    assert fpr[last] <= 0.1 and calibration.point(0.1).tar == pytest.approx(tpr[last], abs=1e-9)


def test_what_the_run_shows(run, folder):
    report = (folder / "out.txt").read_text()
    assert "Same or different: equal error rate" in report
    assert (run.folder / "report.txt").read_text() in report + "\n"
    assert (run.folder / "roc.png").stat().st_size > 20_000
    metrics = json.loads((run.folder / "metrics.json").read_text())
    for row in ("features", "untrained", "trained"):
        assert metrics[row]["positive_pairs"] == 90 and metrics[row]["negative_pairs"] == 540
        assert 0 < metrics[row]["eer"] < 0.3 < metrics[row]["roc_auc"]
    assert "540 of two: 5, 0 and 0 of them behind TAR@1e-2" in report
    assert "val_eer" in (run.folder / "history.csv").read_text().splitlines()[0]


def test_evaluate_tries_the_thresholds(run):
    code, out, err = call("evaluate", run.folder, "--json")
    assert code == 0, err
    report = json.loads(out)
    distances, same = pairs_of(run, "test")
    for row in report["thresholds"]:
        assert row["threshold"] == kept(run).point(row["far"]).threshold
        assert row["far_here"] == pytest.approx((distances[~same] <= row["threshold"]).mean())
        assert row["tar_here"] == pytest.approx((distances[same] <= row["threshold"]).mean())
    assert [row["far"] for row in report["thresholds"]] == [0.1, 0.01]
    assert report["eer"] == pytest.approx(json.loads(_metrics(run))["trained"]["eer"])
    assert "false accept rate: wanted" in call("evaluate", run.folder)[1]
    silent = evaluate_run(run, verification=False)
    assert "eer" not in silent and "thresholds" not in silent


def test_a_file_has_no_thresholds_but_is_measured(run, tmp_path):
    shutil.copyfile(run.model, tmp_path / "own.keras")
    arguments = ("evaluate", tmp_path / "own.keras", "--dataset", "npz", "--json")
    arguments += ("--data-dir", run.config.data_dir)
    code, out, err = call(*arguments, "--verification")
    report = json.loads(out)
    assert code == 0 and report["positive_pairs"] == 180 and "thresholds" not in report, err
    assert "eer" not in json.loads(call(*arguments)[1])


def _metrics(run):
    return (run.folder / "metrics.json").read_text()


def test_an_index_has_them(run):
    stored = np.load(run.config.data_dir)
    index = Index.build(run.folder, stored["features"][:6])
    assert index.threshold_at(0.1) == kept(run).point(0.1).threshold


@pytest.mark.slow
def test_they_are_gone_while_the_model_changes_and_there_again_at_the_end(run, folder, monkeypatch):
    before = kept(run)
    # Of a run that is finished they are what they were, also after a kill on the way.
    monkeypatch.setattr(run_single.run_calibration, "calibrate_run", _interrupt)
    assert call("train", "--resume", run.folder)[0] == 130
    assert kept(run).points == before.points
    assert call("train", "--resume", run.folder, "--epochs", "3")[0] == 130
    assert not (run.folder / "calibration.json").exists()
    monkeypatch.undo()
    code, out, err = call("train", "--resume", run.folder)
    assert code == 0 and "Same or different" in out, err
    assert kept(run).positive_pairs == 45
    (run.folder / "calibration.json").write_text("{}")
    code, _, err = call("evaluate", run.folder)
    assert code == 2 and "calibration.json is damaged" in err


def _interrupt(*_):
    raise KeyboardInterrupt


def test_classes_that_tell_nothing_cost_no_training(run, monkeypatch):
    data = run_data.read_data(run.config)
    alone = data.validation.take(np.unique(data.validation.labels, return_index=True)[1])
    model = mdl_tf.load_model(run.model, compile=False)
    (run.folder / "calibration.json").touch()
    calibration, why = run_single._calibrate(run.config, run, alone, model)
    assert calibration is None and "a class with two images" in why
    assert not (run.folder / "calibration.json").exists()
    assert "No thresholds (calibration.json), as of the validation classes" in explain_none(why)


def test_classes_that_the_model_has_seen_settle_nothing(run):
    config = dataclasses.replace(run.config, refit=True)
    for settings, validation, why in ((config, [], "in the end"), (run.config, None, "are no")):
        calibration, reason = run_single._calibrate(settings, run, validation, None)
        assert calibration is None and why in explain_none(reason)
