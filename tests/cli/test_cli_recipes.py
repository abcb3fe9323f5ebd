"""`mdl-tf recipes`, and `mdl-tf train --recipe` up to where training begins."""

import json
import re
import shlex
import types
from pathlib import Path

import pytest

from mdl_tf import cli, recipes
from mdl_tf.cli import settings
from mdl_tf.config import TrainConfig
from mdl_tf.runs import Run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder, and a data folder without data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def begun(folder, monkeypatch):
    """Configs and run folders that training was called with; it trains nothing."""
    calls = []
    fake = types.SimpleNamespace(train=lambda config, run: calls.append((config, run.folder)))
    monkeypatch.setattr("mdl_tf.runs.train", fake.train, raising=False)
    return calls


def test_the_table_has_a_row_for_each(capsys):
    assert cli.main(["recipes"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert re.split("  +", head) == [
        *("NAME", "DATA SET", "WHAT", "DIMENSIONS", "HOURS: T4", "TWO CORES"),
    ]
    rows = [re.split("  +", line) for line in lines[: lines.index("")]]
    assert [row[0] for row in rows] == recipes.names()
    assert rows[3] == [
        *("cub200-2017", "cub200", "the set-up of Song 2017, assumed for Sun 2018"),
        *("64", "2.1", "17.8"),
    ]
    assert rows[8][3:] == ["4 x 128", "21.4", "177.8"]
    rest = " ".join(lines[lines.index("") :])
    assert "computed and not run, on one NVIDIA T4 (16 GB) and on two cores of an AMD EPYC" in rest
    assert "mdl-tf train --recipe NAME" in rest


def shown(capsys, name):
    """What is shown of a recipe: a dict from the head of a part to its text."""
    assert cli.main(["recipes", name]) == 0
    out = capsys.readouterr().out
    parts = out.rstrip("\n").split("\n\n")
    return {part.split(":")[0]: part.split("\n", 1)[1] for part in parts}


@pytest.mark.parametrize("name", recipes.names())
def test_the_flags_that_are_shown_are_its_settings(name, capsys):
    parts = shown(capsys, name)
    args = cli._parser().parse_args(["train", *shlex.split(parts["Settings"])])
    assert TrainConfig.from_dict(settings.read_flags(args)) == recipes.load(name).config()
    assert all(len(line) <= 100 for line in parts["Settings"].splitlines())


def test_all_that_is_known_of_one(capsys):
    parts = shown(capsys, "cub200-2017")
    assert parts["cub200-2017"] == (
        "Source: Song 2017, Deep Metric Learning via Facility Location (CVPR)"
    )
    assert "  - 10,000 steps. [from memory: Song 2017]" in parts["Taken from the sources"]
    assert "  - RMSprop. [read in: the list of papers in" in parts["Taken from the sources"]
    assert "Learning rate 1e-5 for the network" in parts["Assumed, since no source says it"]
    assert "gradients below 3e-4 are smaller here" in " ".join(
        parts["Otherwise than the sources"].split()
    )
    assert "never run on the real data set here" in parts["Not run"]
    assert "  - 2.1 h on one NVIDIA T4 (16 GB): estimate, not run: 12.2 GFLOP" in parts["Hours"]
    table = parts["Published, on the test classes"].splitlines()
    assert table[0].split() == [
        *("METHOD", "NETWORK", "DIMENSIONS", "R@1", "R@2", "R@4", "R@8", "NMI", "SOURCE"),
    ]
    assert re.split("  +", table[1]) == [
        *("triplet semi-hard", "inception_bn", "64"),
        *("0.4259", "0.5503", "0.6644", "0.7723", "0.5538", "[1]"),
    ]
    assert "[1] Song 2017 as quoted in Smart Mining (ICCV 2017), tables 1 and 2" in table
    assert not any("from memory" in line for line in table)


def test_figures_from_memory_are_marked(capsys):
    table = shown(capsys, "cub200-reality-check")["Published, on the test classes"].splitlines()
    rows = [re.split("  +", line) for line in table]
    assert rows[3][2:] == ["128 separated", "0.5973*", "0.3198*", "0.2118*", "[1]"]
    assert rows[4][2:] == ["512 concatenated", "0.6813*", "0.3724*", "0.2653", "[2]"]
    assert "* from memory; the others were read in their source or checked in one" in table
    sop = shown(capsys, "sop-2017")["Published, on the test classes"]
    assert re.search(r"^Proxy-NCA .* 0\.7373 +- +- +- +0\.9060\* ", sop, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipes", "cub"], "`recipe` must be one of cars196-2017, cars196-modern,"),
        (["train", "--recipe", "cub"], "sop-reality-check. Received: recipe=cub\n"),
        (["train", "--smoke"], "`--smoke` makes a recipe small, and needs --recipe NAME. Received"),
        (
            ["train", "--recipe", "sop-2017", "--config", "c.json"],
            "`--recipe` and `--config` both say all settings; give one of them. "
            "Received: --recipe sop-2017 --config c.json",
        ),
        (
            [
                "train",
                "--recipe",
                "sop-2017",
                "--smoke",
                "--data-dir",
                "d",
                "--weights",
                "imagenet",
            ],
            "`--smoke` has a generated data set and random weights. "
            "Received as well: --data-dir, --weights",
        ),
        (["train", "--recipe", "sop-2017", "--smoke", "--dataset", "sop"], "as well: --dataset"),
        (
            ["train", "--resume", "r", "--recipe", "sop-2017", "--smoke", "--name", "n"],
            "all settings but --epochs from the run. Received as well: --recipe, --smoke, --name",
        ),
        (
            ["train", "--recipe", "sop-2017", "--epochs", "many"],
            "`epochs` must be an integer, at least 1. Received: epochs='many'",
        ),
        (
            ["train", "--recipe", "sop-modern", "--smoke", "--epochs", "1"],
            "Received: warm_up_epochs=1, epochs=1",
        ),
        (
            ["train", "--recipe", "sop-reality-check", "--validation", "0.2"],
            "`validation` must be left out with `folds`",
        ),
    ],
)
def test_errors_are_one_message_and_leave_nothing(arguments, message, capsys, folder):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("how", [["--recipe", "cub200-modern"], ["--dataset", "cub200"]])
def test_without_the_data_it_says_what_to_fetch_before_anything_else(how, capsys, folder, begun):
    assert cli.main(["train", *how]) == 2
    error = capsys.readouterr().err
    assert "error: `data_dir` must hold cub200 (CUB-200-2011), extracted or as its orig" in error
    assert "or run `mdl-tf datasets download cub200`" in error
    assert begun == []
    assert list(folder.iterdir()) == []


def make_data(folder):
    """As far as anybody looks before training begins, Stanford Online Products."""
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"Ebay_{name}.txt").write_text("")


def test_a_recipe_is_the_settings_and_flags_override(capsys, folder, begun):
    make_data(folder / "products")
    arguments = ["train", "--recipe", "sop-2017", "--data-dir", "products", "--epochs", "10"]
    assert cli.main([*arguments, "--seed", "7"]) == 0
    ((config, run),) = begun
    recipe = recipes.load("sop-2017")
    data = str(folder / "products")
    assert config == recipe.config(data_dir=data, epochs=10, seed=7)
    assert run.name == "sop-2017"
    kept = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    assert kept == recipe.record(config)
    assert kept["changed"] == {"epochs": [100, 10], "seed": [0, 7]}
    assert kept["published"] == recipe.published
    out = capsys.readouterr().out
    assert out.startswith(
        "Recipe sop-2017: the set-up of Song 2017, assumed for Sun 2018\n"
        "  Source: Song 2017, Deep Metric Learning via Facility Location (CVPR)\n"
        "  Changed by flags: epochs 10 instead of 100, seed 7 instead of 0\n"
        "  Hours of training: 0.4 h on one NVIDIA T4 (16 GB) or 3.6 h on two cores of an AMD EPYC, "
        "computed\n    and not run (mdl-tf recipes sop-2017)\n"
    )


def test_the_name_is_numbered_or_given(folder, begun):
    make_data(folder / "products")
    arguments = ["train", "--recipe", "sop-2017", "--data-dir", "products"]
    assert cli.main(arguments) == cli.main(arguments) == 0
    assert cli.main([*arguments, "--name", "mine"]) == 0
    assert [run.name for _, run in begun] == ["sop-2017", "sop-2017-2", "mine"]


def test_a_run_of_another_size_is_told_that_no_figure_is_beside_it(capsys, folder, begun):
    make_data(folder / "products")
    arguments = ["train", "--recipe", "sop-2017", "--data-dir", "products"]
    assert cli.main([*arguments, "--embedding-dim", "128", "--image-size", "112"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Hours of training: not known" in out
    assert "those of sop-2017 are of inception_bn with 64 dimensions; this run has" in out
    kept = json.loads((begun[0][1] / "recipe.json").read_text(encoding="utf-8"))
    assert kept["published"] == []
    assert "this run has inception_bn with 128." in kept["why_none"]


@pytest.mark.parametrize("name", ["cars196-modern", "cub200-2017", "sop-reality-check"])
def test_smoke_takes_a_stand_in_and_random_weights(name, capsys, folder, begun):
    assert cli.main(["train", "--recipe", name, "--smoke", "--backbone", "conv4"]) == 0
    ((config, run),) = begun
    recipe = recipes.load(name)
    assert Path(config.data_dir).parent == folder / "home" / "stand_ins"
    assert config == recipe.smoke(config.data_dir, backbone="conv4")
    assert run.name == f"{name}-smoke"
    kept = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    assert (kept["smoke"], kept["published"]) == (True, [])
    assert kept["why_none"].endswith(f"this run is of a generated stand-in of {config.dataset}.")
    out = " ".join(capsys.readouterr().out.split())
    assert 'Changed by flags: backbone "conv4" instead of "inception_bn" A smoke run' in out
    assert (
        f"A smoke run: a generated stand-in of {config.dataset} in {config.data_dir}, random "
        "weights, 2 epochs of 2 batches. Its figures mean nothing."
    ) in out
    assert "Hours" not in out


def test_a_run_that_never_began_is_discarded_with_its_recipe(folder, monkeypatch):
    def broken(config, run):
        raise ValueError("no")

    monkeypatch.setattr("mdl_tf.runs.train", broken, raising=False)
    assert cli.main(["train", "--recipe", "sop-2017", "--smoke"]) == 2
    assert not (folder / "runs").exists()


def test_runs_without_a_recipe_have_none(tmp_path):
    assert Run.create(TrainConfig(), tmp_path).read_json("recipe.json") is None


def test_random_weights_in_place_of_those_of_a_recipe(tmp_path, monkeypatch):
    from mdl_tf.datasets.papers import stand_ins

    monkeypatch.setattr("mdl_tf.runs.train", lambda config, run: None, raising=False)
    data = str(stand_ins.write("cub200", tmp_path))
    for flags, weights in (([], "imagenet"), (["--weights", "Random"], None)):
        arguments = ["train", "--recipe", "cub200-2017", "--data-dir", data, *flags]
        assert cli.main([*arguments, "--runs-dir", str(tmp_path), "--name", f"{weights}"]) == 0
        assert Run(tmp_path / f"{weights}").config.weights == weights
