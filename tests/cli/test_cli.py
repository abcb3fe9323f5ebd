"""The command as a user types it: help, errors without traceback, a run, its resumption."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.commands import COMMAND, run
from PIL import Image

from mdl_tf import cli

# Some seconds on a CPU.
SMALL = [
    *("--dataset", "digits", "--backbone", "conv4", "--image-size", "16", "--embedding-dim", "8"),
    *("--classes-per-batch", "3", "--images-per-class", "8", "--validation", "0.4"),
]


def test_help_loads_nothing_heavy_and_is_quick():
    script = (
        # Its own time, not that of whatever else runs.
        "import sys, time; start = time.process_time(); from mdl_tf import cli\n"
        "try: cli.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "seconds = time.process_time() - start\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "print(heavy, seconds, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    heavy, seconds = done.stderr.rsplit(" ", 1)
    assert heavy == "set()"
    assert float(seconds) < 0.5
    assert "--steps-per-epoch" in done.stdout


def test_version_and_bare_command():
    assert re.fullmatch(r"mdl-tf \d+\.\d+\.\d+(\.dev\d+)?\n", run("--version").stdout)
    assert "COMMAND" in run().stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--epochs", "many"],
            "`epochs` must be an integer, at least 1. Received: epochs='",
        ),
        (["train", "--epoch", "3"], "Unknown argument --epoch. Did you mean --epochs? Known arg"),
        (["evaluate", "r", "--spilt", "all"], "argument --spilt. Did you mean --split? Known arg"),
        (["train", "--clip-norm", "x"], "`clip_norm` must be a number, above 0. Received: clip_n"),
        (
            ["train", "--weight-decay", "-1"],
            "`weight_decay` must be a number, at least 0.",
        ),
        (["train", "--seed", "5000000000"], "`seed` must be an integer, at least 0 and below 429"),
        (["evaluate", "r", "--dataset", "cub"], "`dataset` must be one of cars196, csv, cub200,"),
        (
            ["train", "--loss-args", "{"],
            "`loss_args` must be a JSON object. Received: loss_args='{'",
        ),
        (["train", "--loss", "triplets"], "`loss` must be one of margin_discriminate, contrastive"),
        (["train", "--resume", "nowhere"], "The run must be a folder with a config.json."),
        (
            ["train", "--config", "nowhere.json"],
            "`config` must be a readable file of JSON. Received: ",
        ),
        (["train", "--dataset", "folder"], "`data_dir` must name the folder of images"),
        (["evaluate", "nowhere"], "The run must be a folder with a config.json. Received: nowhere"),
        (["evaluate"], "the following arguments are required: RUN"),
        (["find"], "invalid choice: 'find'"),
        (["search"], "the following arguments are required: RUN, VECTORS, QUERY"),
        (
            ["search", "r", "v.npz", "q.jpg", "-k", "0"],
            "`k` must be an integer, at least 1. Rec",
        ),
        (["search", "r", "nowhere.npz", "q.jpg"], "The vectors must be a file that `mdl-tf embed`"),
        (["embed", "r", "photos", "-o", "v.txt"], "`output` must end in .npz. Received: output=v."),
        (
            ["embed", "r", "p", "-o", "/dev/null/v.npz"],
            "`output` must be in a folder that can be wr",
        ),
        (["train", "--data-dir", "photos"], "`dataset` must say what is in --data-dir, such as"),
        (["embed", "nowhere", "photos"], "`run` must be a run folder with a model.keras, or a ."),
        (["datasets", "shw"], "argument ACTION: invalid choice: 'shw' (choose from"),
        (["datasets", "show"], "`name` must be a data set: mdl-tf datasets show NAME"),
        (["datasets", "show", "birds"], "`dataset` must be one of cars196, csv, cub200, digits,"),
        (["datasets", "download", "glyphs"], "`name` must be one of ['cars196', 'cub200', 'insho"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == [], "nothing was left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--loss-args", '{"margins": 1}'],
            "may have the keys margin, sharpness, distance, form. Received: 'margins'",
        ),
        (["--loss-args", '{"margin": -1}'], "`loss_args`: `margin` must be a number, at least 0."),
        (
            ["--classes-per-batch", "9"],
            "`classes_per_batch` (--classes-per-batch) must be at most the number of training",
        ),
        (["--images-per-class", "500"], "`images_per_class` must be at most the images of every"),
        (["--backbone", "vgg"], "Did you mean vgg19, vgg16? Received: backbone='vgg'"),
    ],
)
def test_settings_that_do_not_fit_the_data_leave_no_run(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *SMALL, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.glob("runs/*")) == []


def test_weights_are_a_path_from_the_working_folder_or_imagenet(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *SMALL, "--weights", "ä b.weights.h5"]) == 2
    path = str(tmp_path / "ä b.weights.h5")
    assert f"Received: weights={path!r} with backbone='conv4'" in capsys.readouterr().err
    assert cli.main(["train", *SMALL, "--weights", "imagenet"]) == 2
    assert "Received: weights='imagenet' with backbone='conv4'" in capsys.readouterr().err


OWN = """
import keras

@keras.saving.register_keras_serializable()
class Half(keras.layers.Layer):
    def call(self, x):
        return x / 2

def build(input_shape):
    i = keras.Input(input_shape)
    return keras.Model(i, Half()(keras.layers.Conv2D(4, 4, strides=4)(i))), lambda x: x / 255

def broken(input_shape):
    raise RuntimeError("no such layer")
"""


@pytest.mark.longest
def test_a_backbone_in_the_working_folder(tmp_path):
    """As the installed command runs: what Python looks into first is the folder of the command."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "own_network.py").write_text(OWN)
    command = tmp_path / "bin" / "mdl-tf"
    command.write_text("import sys\nfrom mdl_tf import cli\n\nsys.exit(cli.main())\n")

    def own(*arguments):
        done = [sys.executable, str(command), *arguments]
        return subprocess.run(done, capture_output=True, text=True, cwd=tmp_path)

    small = [*SMALL, "--epochs", "1", "--steps-per-epoch", "5", "--no-clustering"]
    done = own("train", *small, "--backbone", "own_network:build")
    assert done.returncode == 0, done.stderr
    trained = json.loads((tmp_path / "runs/digits-own_network-build/metrics.json").read_text())
    # A process that has not built the network must find its layer again.
    done = own("evaluate", "runs/digits-own_network-build", "--json", "--no-clustering")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["recall_at_1"] == pytest.approx(trained["trained"]["recall_at_1"])
    done = own("train", "--resume", "runs/digits-own_network-build")
    assert done.returncode == 0, done.stderr

    done = own("train", *small, "--backbone", "own_network:broken")
    assert done.returncode == 2
    assert re.fullmatch(
        "mdl-tf: error: `backbone` own_network:broken failed with RuntimeError: no such layer "
        r"\(\S+own_network\.py, line \d+\)\n",
        done.stderr,
    )


def test_the_working_folder_shadows_nothing(monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = list(sys.path)
    for _ in range(2):
        cli.main([])
        assert sys.path == [*before, ""]


def test_a_defect_shows_no_traceback_unless_asked(capsys, monkeypatch):
    def broken(args):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setitem(cli._COMMANDS, "evaluate", broken)
    assert cli.main(["evaluate", "x"]) == 1
    assert capsys.readouterr().err.startswith("mdl-tf: error: the disk is on fire\n")
    monkeypatch.setenv("MDL_TF_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        cli.main(["evaluate", "x"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    done = run("train", *SMALL, "--epochs", "2", "--steps-per-epoch", "15", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "digits-conv4", done


def test_train_says_what_it_does_and_ends_with_a_table(finished):
    _, done = finished
    assert "Train conv4 with the margin_discriminate loss: 2 epochs of 15 batches" in done.stdout
    assert re.search(r"about \d+ s", done.stdout)
    for row in ("raw pixels", "untrained", "trained"):
        assert re.search(rf"^{row} +0\.\d{{3}}", done.stdout, re.MULTILINE)
    assert done.stdout.count("100% of the anchors count") == 1
    assert re.search(r"Time: loading .*, evaluation .*, training .*\.", done.stdout)
    figures = r"0\.\d{3} / 0\.\d{3}"
    said = rf"Recall@1 / MAP@R on unseen classes from {figures} to {figures}\."
    assert re.search(said, done.stdout)
    assert re.search(r"^  start           -      0\.\d{4} ", done.stdout, re.MULTILINE)
    assert done.stderr == "", "TensorFlow's start-up messages are held back"


def test_run_folder_holds_what_the_design_says(finished):
    folder, _ = finished
    assert json.loads((folder / "config.json").read_text())["epochs"] == 2
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics) == ["raw_pixels", "untrained", "trained"]
    assert metrics["raw_pixels"]["recall_at_1"] > 0.9
    assert 0 < metrics["trained"]["nmi"] <= 1
    header, *rows = (folder / "history.csv").read_text().splitlines()
    assert header.startswith("epoch,loss,val_recall_at_1")
    assert header.endswith(",anchors_that_count")
    assert [row.split(",")[-1] for row in rows] == ["nan", "1.0", "1.0"]
    assert [row.split(",")[0] for row in rows] == ["0", "1", "2"], "the start is epoch 0"
    for picture in ("loss.png", "recall.png", "distances.png"):
        with Image.open(folder / picture) as image:
            assert image.size[0] > 600
    assert list((folder / "tensorboard").rglob("events.*"))
    assert {path.name for path in folder.rglob(".*")} == {".lock"}, "no half-written file"


def test_history_shows_the_collapse_of_nothing(finished):
    folder, _ = finished
    header, *rows = (folder / "history.csv").read_text().splitlines()
    last = dict(zip(header.split(","), map(float, rows[-1].split(",")), strict=True))
    assert last["val_mean_negative_distance"] > last["val_mean_positive_distance"] > 0
    assert 0 <= last["val_violated_anchors"] <= 1


def test_evaluate_on_its_own_test_classes_repeats_the_metrics_of_training(finished):
    folder, _ = finished
    done = run("evaluate", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    trained = json.loads((folder / "metrics.json").read_text())["trained"]
    assert measured["split"] == "test"
    assert {key: measured[key] for key in trained} == pytest.approx(trained, rel=1e-6)


def test_evaluate_on_any_folder_of_images(finished, tmp_path):
    folder, _ = finished
    rng = np.random.default_rng(0)
    for name, grey in (("dark ä", 40), ("light", 200), ("middle", 120)):
        (tmp_path / name).mkdir()
        for i in range(4):
            pixels = rng.normal(grey, 10, (20, 20, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    done = run("evaluate", str(folder), "--dataset", "folder", "--data-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "folder all: 12 images of 3 classes" in done.stdout
    assert "Recall@1" in done.stdout


def test_a_taken_name_is_refused_and_the_default_name_is_numbered(finished, capsys, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(folder.parent.parent)
    assert cli.main(["train", "--name", folder.name]) == 2
    assert f"--resume {'runs/' + folder.name}" in capsys.readouterr().err
    from mdl_tf.config import TrainConfig
    from mdl_tf.runs import Run

    config = TrainConfig(dataset="digits", backbone="conv4")
    assert Run.create(config).folder.name == "digits-conv4-2"
    for backbone, name in (
        ("my.module:build", "digits-my.module-build"),
        ("keras_hub:hf://timm/resnet18", "digits-keras_hub-hf-timm-resnet18"),
        ("keras_hub:/home/a b", "digits-keras_hub-home-a b"),
    ):
        config = TrainConfig(dataset="digits", backbone=backbone)
        assert Run.create(config).folder.name == name


@pytest.mark.longest
def test_resuming_a_finished_run_reports_again_without_training(finished):
    folder, first = finished
    before = (folder / "history.csv").read_text()
    done = run("train", "--resume", str(folder))
    assert done.returncode == 0, done.stderr
    assert (folder / "history.csv").read_text() == before
    assert first.stdout.split("Test: ")[1].split("\n\n")[0] in done.stdout


def test_resume_takes_no_other_settings(finished, capsys):
    folder, _ = finished
    assert cli.main(["train", "--resume", str(folder), "--epochs", "9", "--jit"]) == 2
    assert "all settings but --epochs from the run. Received as well: --jit" in (
        capsys.readouterr().err
    )


def has_epochs(state):
    return state.exists() and json.loads(state.read_text())["epochs_done"] > 0


def signalled(number, folder, *arguments):
    """The process of a run that got a signal after its first epoch, and its state file."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that are run in the background ignore Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    state = folder / "runs" / arguments[-1] / "resume" / "state.json"
    deadline = time.monotonic() + 120
    # Before its first epoch it has none.
    while not has_epochs(state) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.output, process.errors = process.communicate()
    return process, state


@pytest.mark.slow
def test_interrupting_says_how_to_go_on(tmp_path):
    arguments = ["train", *SMALL, "--epochs", "500", "--steps-per-epoch", "5", "--name", "long"]
    process, _ = signalled(signal.SIGINT, tmp_path, *arguments)
    assert process.returncode == 130
    assert "Interrupted. Go on with: mdl-tf train --resume runs/long" in process.errors
    assert "Traceback" not in process.errors


@pytest.mark.longest
def test_progress_on_a_terminal(tmp_path):
    """Under a pseudo-terminal there are bars with the time left, overwritten in place."""
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "train", *SMALL, "--epochs", "1", "--steps-per-epoch", "60"],
        cwd=tmp_path,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    text = shown.decode()
    assert re.search(r"\rTrain  \[#+\.*\] \d+/60  \d+ s left", text)
    assert re.search(r"\rEmbed test, trained  \[#+\.*\] [\d,]+/896", text)


@pytest.mark.longest
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    """The history of a run that was killed and resumed equals that of one that was not."""
    arguments = [
        *("train", *SMALL, "--epochs", "6", "--steps-per-epoch", "12", "--patience", "2"),
        *("--augment", "paper", "--no-clustering", "--learning-rate", "0.003"),
    ]
    whole = run(*arguments, "--name", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr

    process, state = signalled(signal.SIGKILL, tmp_path, *arguments, "--name", "killed")
    assert process.returncode == -signal.SIGKILL
    done = json.loads(state.read_text())["epochs_done"]
    assert 1 <= done < 6, "killed in the middle"

    resumed = run("train", "--resume", "runs/killed", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"Go on after epoch {done} of 6." in resumed.stdout
    rows = [
        np.loadtxt(tmp_path / "runs" / name / "history.csv", delimiter=",", skiprows=2, ndmin=2)
        for name in ("whole", "killed")
    ]
    assert len(rows[0]) == len(rows[1]), "patience counts on across the interruption"
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-4, atol=1e-5)
    metrics = [
        json.loads((tmp_path / "runs" / name / "metrics.json").read_text())
        for name in ("whole", "killed")
    ]
    assert metrics[1]["trained"] == pytest.approx(metrics[0]["trained"], rel=1e-4, abs=1e-5)
