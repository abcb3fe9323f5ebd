"""Command lines that cannot be: one line that names argument, rule and value, and exit code 2.

A table that anybody can extend: a row is the arguments and what the message must hold.
"""

import json
import signal
import time

import numpy as np
import pytest

from mdl_tf import cli

SECONDS = 20  # that one command may take, before it hangs

LONG = "9" * 400
# Flag of `train`: its rule, and values that break it.
NUMBERS = {
    "epochs": ("an integer, at least 1", ("0", "-1", "x", "1.5", "nan", "")),
    "steps_per_epoch": ("an integer, at least 1", ("0", "-3", "x", "2.5", "inf")),
    "classes_per_batch": ("an integer, at least 2", ("0", "1", "x", "2.5", "-2")),
    "images_per_class": ("an integer, at least 2", ("0", "1", "x", "2.5", "-2")),
    "embedding_dim": ("an integer, at least 1", ("0", "-8", "x", "8.5", "nan")),
    "image_size": ("an integer, at least 1", ("0", "-64", "x", "64.5")),
    "folds": ("an integer, at least 1", ("0", "-1", "x", "1.5")),
    "fold": ("an integer, at least 0", ("-1", "x", "0.5")),
    "warm_up_epochs": ("an integer, at least 0", ("-1", "x", "0.5")),
    "decay_epochs": ("an integer, at least 1", ("0", "-1", "x")),
    "patience": ("an integer, at least 0", ("-1", "x", "0.5")),
    "seed": ("an integer, at least 0", ("-1", "x", "1e3", "0.5")),
    "learning_rate": ("a number, above 0", ("0", "-1", "x", "nan", "inf", "1e999", LONG)),
    "momentum": ("a number, at least 0", ("-0.1", "1", "x", "nan")),
    "weight_decay": ("a number, at least 0", ("-1e-9", "x", "nan", "inf", LONG)),
    "clip_norm": ("a number, above 0", ("0", "-1", "x", "nan", "inf")),
    "decay_factor": ("a number, above 0", ("0", "-1", "x", "nan")),
    "validation": ("a number, at least 0", ("-0.1", "1", "2", "x", "nan", "inf")),
    "shrinkage": ("a number, above 0", ("-0.1", "x", "nan")),
}
CHOICES = (
    *("dataset", "loss", "head", "batch_norm", "pooling", "short_classes", "augment", "optimizer"),
    *("schedule", "monitor", "policy", "on_corrupt", "cache"),
)
OBJECTS = ("loss_args", "learning_rate_factors")
# A small network, as it may be built before the data are read.
DATA = ("train", "--backbone=conv4", "--image-size=16", "--dataset")


def flag(name):
    return "--" + name.replace("_", "-")


ROWS = [
    (["train", f"{flag(name)}={value}"], f"`{name}` must be {rule}")
    for name, (rule, values) in NUMBERS.items()
    for value in values
]
ROWS += [
    (["train", f"{flag(name)}={value}"], f"`{name}` must be one of ")
    for name in CHOICES
    for value in ("nothing", "")
]
ROWS += [
    (["train", f"{flag(name)}={value}"], f"`{name}` must be a JSON object. Received: {name}=")
    for name in OBJECTS
    for value in ("", "{", "[]", "1", "null", '"margin"', "{'margin': 1}", "[" * 100_000)
    # Factors may be left open.
    if (name, value) != ("learning_rate_factors", "null")
]
ROWS += [
    ([*DATA, "digits", f"--loss-args={json.dumps(value)}"], f"`loss_args`: `{name}` must be")
    for name, value in (
        ("margin", {"margin": "x"}),
        ("margin", {"margin": None}),
        ("margin", {"margin": True}),
        ("sharpness", {"sharpness": 0}),
        ("sharpness", {"sharpness": -1}),
        ("sharpness", {"sharpness": [1]}),
        ("distance", {"distance": "manhattan"}),
        ("form", {"form": "rough"}),
    )
]
ROWS += [
    (["train", "--epochs"], "expected one argument"),
    (["train", "--epochs", "1", "--nothing"], "Unknown argument --nothing."),
    (["train", "--jit=yes"], "ignored explicit argument 'yes'"),
    (["train", "--resume", "nowhere", "--epochs", "0"], "Received: "),
    (["train", "--config", "bad.json"], "bad.json"),
    (["train", "--config", "list.json"], "must be a JSON object. Received: "),
    (["train", "--config", "unknown.json"], "epoch"),
    (["train", "--config", "."], "`config` must be a readable file"),
    (["train", "--recipe", "nothing"], "nothing"),
    (["train", "--smoke"], "recipe"),
    ([*DATA, "folder", "--data-dir", "nowhere"], "nowhere"),
    ([*DATA, "folder", "--data-dir", "bad.json"], "bad.json"),
    ([*DATA, "folder", "--data-dir", "empty"], "empty"),
    ([*DATA, "csv", "--data-dir", "nowhere.csv"], "nowhere.csv"),
    ([*DATA, "csv", "--data-dir", "empty.csv"], "empty.csv"),
    (["train", "--backbone=none", "--dataset", "npz", "--data-dir", "bad.npz"], "bad.npz"),
    (["train", "--backbone=none", "--dataset", "npz", "--data-dir", "nan.npz"], "must be finite"),
    (["train", "--backbone=none", "--dataset", "npz", "--data-dir", "empty"], "empty"),
    (["train", "--dataset", "tfds:"], "tfds"),
    (["train", "--backbone", ""], "backbone"),
    (["train", "--backbone", "nothing"], "Received: backbone='nothing'"),
    (["evaluate", "empty"], "The run must be a folder with a config.json. Received: empty"),
    (["evaluate", "bad.json"], "The run must be a folder with a config.json. Received: bad.json"),
    (["evaluate", "empty", "--split", "some"], "split"),
    (["doctor"], "the following arguments are required: RUN"),
    (["doctor", "nowhere"], "The run must be a folder with a config.json. Received: nowhere"),
    (["doctor", "empty"], "The run must be a folder with a config.json. Received: empty"),
    (["embed"], "the following arguments are required"),
    (["embed", "empty", "empty", "-o", "v.npz"], "empty"),
    (["embed", "bad.json", "empty", "-o", "v.npz"], "bad.json"),
    (["search", "empty", "bad.npz", "q.jpg"], "The vectors must be a file that `mdl-tf embed`"),
    (["search", "empty", "nan.npz", "q.jpg"], "The vectors must be a file that `mdl-tf embed`"),
    (["search", "empty", "empty", "q.jpg"], "Received: empty"),
    (["search", "r", "v.npz", "q.jpg", "-k", "x"], "`k` must be an integer, at least 1"),
    (["search", "r", "v.npz", "q.jpg", "-k", "-1"], "`k` must be an integer, at least 1"),
    (["search", "r", "v.npz", "q.jpg", "-k", "1.5"], "`k` must be an integer, at least 1"),
    (["datasets", "show"], "`name` must be a data set"),
    (["datasets", "check", "nothing"], "nothing"),
    (["recipes", "nothing"], "nothing"),
    (["convert-weights"], "the following arguments are required"),
    (["convert-weights", "nowhere.pth", "w.weights.h5"], "nowhere.pth"),
    (["convert-weights", "bad.npz", "w.weights.h5"], "bad.npz"),
    (["compare", "--losses", "nothing"], "nothing"),
    (["compare", "--search", "-1"], "search"),
    (["compare", "--seeds", "0"], "seeds"),
    (["compare", "--seeds", "x"], "seeds"),
    (["compare", "--search", "x"], "search"),
    (["compare", "--epochs", "0"], "epochs"),
    (["nothing"], "invalid choice: 'nothing'"),
    (["--nothing"], "--nothing"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "unknown.json").write_text('{"epoch": 3}')
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    np.savez(tmp_path / "nan.npz", embeddings=np.full((8, 2), np.nan), labels=np.arange(8) // 2)
    return tmp_path


def files_in(folder):
    return sorted(folder.rglob("*"))


def test_there_are_many():
    assert len({tuple(arguments) for arguments, _ in ROWS}) == len(ROWS) >= 150


@pytest.mark.parametrize(
    ("arguments", "message"), ROWS, ids=[" ".join(arguments)[:60] for arguments, _ in ROWS]
)
def test_one_line_and_exit_code_2(arguments, message, folder, capsys):
    before = files_in(folder)

    def hangs(*_):
        raise TimeoutError(f"{arguments} took more than {SECONDS} s")

    earlier = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    start = time.monotonic()
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
    said = capsys.readouterr().err
    assert code == 2, said
    assert message in said
    assert "Traceback" not in said and time.monotonic() - start < SECONDS
    # One line of the error, perhaps after what a command says that it is about to do.
    last = said.splitlines()[-1]
    assert last.startswith("mdl-tf") and ": error: " in last and len(last) < 3000, last[:500]
    assert files_in(folder) == before
