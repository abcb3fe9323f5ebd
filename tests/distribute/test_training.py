"""`mdl-tf train` on two virtual devices, and with several workers: the run of one device."""

import csv
import json
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import clusters, commands

from mdl_tf import load_model

DIGITS = ["--dataset", "digits", "--backbone", "conv4", "--image-size", "16", "--no-clustering"]
DIGITS += ["--epochs", "2", "--steps-per-epoch", "4", "--schedule", "constant", "--no-tensorboard"]
DIGITS += ["--classes-per-batch", "3", "--images-per-class", "4"]


def read_history(run):
    with open(run / "history.csv", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def read_weights(run):
    return load_model(run / "model.keras", compile=False).get_weights()


def check_alike(run, other, distances=1e-4):
    """Two runs have the same history and test metrics; `distances` is the bound of mean ones."""
    rows, others = read_history(run), read_history(other)
    assert len(rows) == len(others) >= 2
    for row, its in zip(rows, others, strict=True):
        assert set(row) == set(its)
        # Sums in another order: a training from random weights grows their rounding at each step.
        later = row["epoch"] >= 2
        for key, value in row.items():
            bound = 1e-2 if later else distances if key.endswith("_distance") else 1e-4
            assert value == pytest.approx(its[key], abs=bound, nan_ok=True), (key, row, its)
    trained = [json.loads((each / "metrics.json").read_text())["trained"] for each in (run, other)]
    assert trained[0]["map_at_r"] == pytest.approx(trained[1]["map_at_r"], abs=1e-2)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A run on one device, in this process."""
    folder = tmp_path_factory.mktemp("one")
    commands.run_here("train", *DIGITS, "--runs-dir", str(folder), "--name", "one")
    return folder / "one"


@pytest.mark.longest
def test_two_devices_give_the_history_of_one(one, tmp_path):
    done = commands.run(
        "train", *DIGITS, "--runs-dir", str(tmp_path), "--name", "two", "--devices", "2"
    )
    assert done.returncode == 0, done.stderr
    assert "Train on 2 replicas." in done.stdout
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert (config["devices"], config["batch_norm"]) == ("2", "synchronized")
    check_alike(tmp_path / "two", one)
    for weights, its in zip(*(read_weights(run) for run in (tmp_path / "two", one)), strict=True):
        np.testing.assert_allclose(weights, its, atol=1e-2)


@pytest.mark.longest
def test_two_devices_killed_and_resumed(one, tmp_path):
    given = ["train", *DIGITS, "--runs-dir", str(tmp_path), "--name", "two", "--devices", "2"]
    process = subprocess.Popen([*commands.COMMAND, *given], stdout=subprocess.DEVNULL)
    wait_for(lambda: epochs(tmp_path / "two"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert epochs(tmp_path / "two") == 1, "it was done before it was killed"
    done = commands.run("train", "--resume", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert "Go on after epoch 1 of 2." in done.stdout
    check_alike(tmp_path / "two", one)


def epochs(run):
    """How many epochs a run keeps."""
    state = run / "resume" / "state.json"
    return json.loads(state.read_text())["epochs_done"] if state.exists() else 0


def wait_for(happened, seconds=180):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def check_workers(done, folder, one, distances=1e-4):
    """All ended well, the chief alone told and wrote, and the run is that of one device."""
    assert [code for code, _, _ in done] == [0] * len(done), done
    for index, (_, said, _) in enumerate(done[1:], 2):
        lines = said.splitlines()
        assert lines == [f"Worker {index} of {len(done)}: the chief alone writes {folder / 'r'}."]
    assert [path.name for path in folder.iterdir()] == ["r"]
    check_alike(folder / "r", one, distances)


@pytest.mark.longest
@pytest.mark.parametrize("workers, devices", [(2, None), (2, 2)])
def test_workers_give_the_run_of_one_device(workers, devices, one, tmp_path):
    given = ["train", *DIGITS, "--runs-dir", str(tmp_path), "--name", "r"]
    given += ["--devices", str(devices)] if devices else []
    done = clusters.finish(clusters.start([*commands.COMMAND, *given], workers))
    # Of four replicas a mean distance was off by 3.5e-4 after the first epoch once, where the loss
    # was off by 1e-6 and Recall@1 not at all.
    check_workers(done, tmp_path, one, 1e-3 if devices else 1e-4)
    assert f"Train on {workers * (devices or 1)} replicas." in done[0][1]


@pytest.mark.longest
def test_a_dead_worker_ends_the_run_with_one_line_and_it_goes_on(one, tmp_path):
    given = ["train", *DIGITS, "--runs-dir", str(tmp_path), "--name", "r"]
    processes = clusters.start([*commands.COMMAND, *given], 2)
    wait_for(lambda: epochs(tmp_path / "r"))
    processes[1].send_signal(signal.SIGKILL)
    (code, _, told), _ = clusters.finish(processes)
    assert code == 2, told
    assert "Another worker of the cluster is gone" in told
    assert told.count("mdl-tf: error") == 1 and "Traceback" not in told, told
    assert f"mdl-tf train --resume {tmp_path / 'r'}" in told
    assert epochs(tmp_path / "r") == 1, "it was done before the worker was gone"
    again = ["train", "--resume", str(tmp_path / "r")]
    done = clusters.finish(clusters.start([*commands.COMMAND, *again], 2))
    check_workers(done, tmp_path, one)
    assert "Go on after epoch 1 of 2." in done[0][1]
