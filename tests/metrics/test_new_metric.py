"""A metric is a function and one row: with one of each, everything that lists metrics has it."""

import contextlib
import csv
import io
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import run_here
from helpers.runs import policy_as_before  # noqa: F401
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mdl_tf import cli
from mdl_tf.callbacks import RetrievalMetrics, standard_callbacks
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.losses import MarginDiscriminateLoss
from mdl_tf.metrics import evaluate, table
from mdl_tf.metrics.table import Metric

MODULE = '''
"""A metric of a user's own."""


def reciprocal_rank(queries):
    """Mean over the queries of 1 / rank of the first positive."""
    return float((1 / queries.ranks.first_rank).mean())
'''
ROW = Metric(
    "reciprocal_rank",
    "MRR",
    "metric_of_a_user:reciprocal_rank",
    "Mean over the queries of one over the rank of the first image of their class.",
    monitored=True,
    in_epoch_table=True,
    headline=True,
    compared=True,
)
TRAIN = [
    *("--dataset", "digits", "--backbone", "conv4", "--image-size", "16", "--embedding-dim", "4"),
    *("--classes-per-batch", "3", "--images-per-class", "4", "--validation", "0.4"),
    *("--epochs", "2", "--steps-per-epoch", "2", "--monitor", ROW.key, "--no-clustering"),
]
COMPARE = [
    *("--losses", "margin_discriminate,triplet", "--search", "2", "--seeds", "2"),
    *("--dataset", "npz", "--backbone", "none", "--embedding-dim", "3", "--validation", "0.4"),
    *("--classes-per-batch", "3", "--images-per-class", "3", "--epochs", "1"),
    *("--steps-per-epoch", "2", "--monitor", ROW.key, "--no-clustering"),
]
RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(6), 5)
POINTS = (RNG.normal(size=(6, 3))[LABELS] + RNG.normal(size=(30, 3))).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def new_metric(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    (folder / "metric_of_a_user.py").write_text(MODULE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(table, "METRICS", (*table.METRICS, ROW))
        yield


def reciprocal_rank(points, labels):
    """By a slow loop: the rank of the first image of the query's class, negatives first."""
    values = []
    for i, point in enumerate(points.astype(float)):
        far = np.linalg.norm(points - point, axis=1)
        nearest = min(d for j, d in enumerate(far) if j != i and labels[j] == labels[i])
        values.append(1 / (1 + sum(far[labels != labels[i]] <= nearest)))
    return np.mean(values)


def scalars(folder):
    """The last value of each scalar in a folder of TensorBoard's."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    last = {tag: events.Tensors(tag)[-1].tensor_proto for tag in events.Tags()["tensors"]}
    return {tag: tf.make_ndarray(tensor) for tag, tensor in last.items()}


@pytest.fixture(scope="module")
def trained(new_metric, tmp_path_factory):
    """A run's folder, and what was said."""
    folder = tmp_path_factory.mktemp("runs")
    text = run_here("train", *TRAIN, "--runs-dir", str(folder), "--name", "r")
    return folder / "r", text


@pytest.fixture(scope="module")
def compared(new_metric, tmp_path_factory):
    """A comparison's folder."""
    folder = tmp_path_factory.mktemp("comparison")
    np.savez(folder / "features.npz", features=POINTS.repeat(2, 0), labels=np.arange(60) // 5)
    data = ["--data-dir", str(folder / "features.npz")]
    run_here("compare", *COMPARE, *data, "--runs-dir", str(folder), "--name", "c")
    return folder / "c"


def test_evaluate_has_it_and_its_value_is_right():
    report = evaluate(POINTS, LABELS)
    assert report[ROW.key] == pytest.approx(reciprocal_rank(POINTS, LABELS), rel=1e-12)
    assert 0 < report[ROW.key] < 1
    assert list(report)[-1] == ROW.key


def test_a_config_and_the_help_of_train_have_it():
    assert TrainConfig(monitor=ROW.key).monitor == ROW.key
    with pytest.raises(ConfigError, match=f"strict_discrimination, {ROW.key}"):
        TrainConfig(monitor="mean_rank")
    with contextlib.redirect_stdout(io.StringIO()) as text, pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    for choices in re.findall(r"--monitor\s+\{([^}]*)\}", text.getvalue()):
        assert re.sub(r"\s", "", choices).endswith(f",strict_discrimination,{ROW.key}")


def test_fit_logs_it_and_callbacks_take_it(tmp_path):
    retrieval = RetrievalMetrics((POINTS, LABELS), ks=(1,))
    assert retrieval.keys[-1] == f"val_{ROW.key}"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", loss=MarginDiscriminateLoss())
    callbacks = standard_callbacks(retrieval, monitor=f"val_{ROW.key}", patience=1)
    history = model.fit(POINTS, LABELS, epochs=2, callbacks=callbacks, verbose=0).history
    assert len(history[f"val_{ROW.key}"]) == 2
    expected = reciprocal_rank(model.predict(POINTS, verbose=0), LABELS)
    assert history[f"val_{ROW.key}"][-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.longest
def test_a_run_shows_it_in_its_epochs_and_its_table(trained):
    folder, text = trained
    head, *epochs = re.findall(r"^ *(?:epoch|start|\d/2) .*", text, re.MULTILINE)
    end = head.index(ROW.title) + len(ROW.title)
    with open(folder / "history.csv", encoding="utf-8") as file:
        history = [float(row[f"val_{ROW.key}"]) for row in csv.DictReader(file)]
    shown = [float(line[end - 12 : end]) for line in epochs]
    assert shown == pytest.approx(history, abs=1e-4) and len(history) == 3
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    value = metrics["trained"][ROW.key]
    # Behind the last Recall@K and MAP@R, as a headline.
    lines = (folder / "report.txt").read_text(encoding="utf-8").splitlines()
    head = next(line.split() for line in lines if "Recall@1" in line)
    assert head[4:6] == ["MAP@R", ROW.title]
    row = next(line.split() for line in lines if line.startswith("trained"))
    assert row[1:][5] == f"{value:.3f}"


def test_tensorboard_has_it(trained):
    folder, _ = trained
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    test = scalars(folder / "tensorboard" / "test")
    assert test[f"test/{ROW.key}"] == pytest.approx(metrics["trained"][ROW.key], rel=1e-6)
    assert f"epoch_{ROW.key}" in scalars(folder / "tensorboard" / "validation")


def test_the_command_evaluate_prints_it(trained):
    folder, _ = trained
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    _, head, row = run_here("evaluate", str(folder)).splitlines()[-3:]
    assert head.split()[5] == ROW.title
    assert row.split()[1:][5] == f"{metrics['trained'][ROW.key]:.3f}"
    printed = json.loads(run_here("evaluate", str(folder), "--json"))
    assert printed[ROW.key] == pytest.approx(metrics["trained"][ROW.key], rel=1e-6)


@pytest.mark.longest
def test_a_comparison_reports_it(compared):
    text = (compared / "report.md").read_text(encoding="utf-8")
    tables = [[line.split(" | ") for line in t.splitlines()] for t in text.split("\n\n| ")[1:]]
    tables = {tuple(cell.strip(" |") for cell in t[0]): t[2:] for t in tables}
    with open(compared / "results.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == "final"]
    (head,) = [head for head in tables if head[-1] == "ms/step"]
    assert head[:4] == ("loss", "MAP@R", "over the start", "Recall@1") and ROW.title in head
    (head,) = [head for head in tables if head[2:3] == ("verdict",)]
    assert head[5:7] == (ROW.title, "verdict")
    (head,) = [head for head in tables if head[3:4] == (f"best {ROW.title}",)]
    assert f"| {ROW.title} | {ROW.explanation} |" in text
    assert f"best {ROW.title} on the validation classes" in text
    assert (compared / "pictures" / f"{ROW.key}.svg").is_file()
    assert len(rows) == 4 and all(0 < float(row[ROW.key]) <= 1 for row in rows)
