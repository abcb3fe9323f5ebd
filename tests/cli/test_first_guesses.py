"""What a new user types first, names that lead elsewhere, and what is printed of a name."""

import json
import os

import numpy as np
import pytest
from helpers.models import average_colour
from PIL import Image

from mdl_tf import cli
from mdl_tf.config import TrainConfig
from mdl_tf.runs import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of three images, a run that embeds them."""
    folder = tmp_path_factory.mktemp("guesses")
    for name, colour in (("reds", (200, 20, 20)), ("blues", (20, 20, 200))):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((20, 20, 3), colour, np.uint8) + np.uint8(i)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    config = TrainConfig(dataset="folder", data_dir=str(folder / "photos"), backbone="conv4")
    run = Run.create(config, folder / "runs", "colours")
    average_colour().save(run.model)
    return folder


@pytest.fixture
def here(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    return folder


def trained(monkeypatch):
    """The configs that `mdl-tf train` would train."""
    configs = []
    monkeypatch.setattr("mdl_tf.runs.train", lambda config, run: configs.append(config))
    return configs


@pytest.mark.parametrize(
    ("data", "dataset"), [("photos", "folder"), ("a.csv", "csv"), ("b.npz", "npz")]
)
def test_train_takes_the_data_by_itself(data, dataset, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("a.csv", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    configs = trained(monkeypatch)
    assert cli.main(["train", data, "--backbone", "conv4"]) == 0
    (config,) = configs
    assert (config.dataset, config.data_dir) == (dataset, str(tmp_path / data))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "Received: nowhere, which is not there"),
        (["glyphs"], "The data set glyphs is --dataset glyphs."),
        (["photos", "--dataset", "digits"], "Received as well: --dataset"),
        (["runs/colours"], "DATA must be data; a run goes on by --resume"),
        (["photos/reds/0.png"], "which is a file of another kind"),
        (["--restart"], "`--restart` needs the run"),
        (["--resume", "runs/colours", "--restart", "runs/b"], "must name one run"),
    ],
)
def test_what_train_cannot_take(arguments, message, here, capsys):
    assert cli.main(["train", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


def test_one_image_is_a_folder_of_one(here, tmp_path, capsys):
    output = str(tmp_path / "one.npz")
    assert cli.main(["embed", "runs/colours", "photos/reds/0.png", "-o", output]) == 0
    assert f"{output}: 1 vectors of 3 numbers" in capsys.readouterr().out


def test_search_takes_folders_for_vectors_and_queries(here, tmp_path, capsys):
    picture = str(tmp_path / "search.png")
    assert cli.main(["embed", "runs/colours", "photos", "-o", str(tmp_path / "v.npz")]) == 0
    found = []
    for vectors in (str(tmp_path / "v.npz"), "photos"):
        capsys.readouterr()
        asked = ["search", "runs/colours", vectors, "photos/reds", "-k", "2", "--json"]
        assert cli.main([*asked, "--picture", picture]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert [row["query"] for row in found[0]] == [f"photos/reds/{i}.png" for i in range(3)]
    assert os.path.getsize(picture) > 1000


def test_the_query_itself_is_left_out_by_choice(here, tmp_path, capsys):
    asked = ["search", "runs/colours", "photos", "photos/reds/1.png", "-k", "3", "--json"]
    names = []
    for more in ([], ["--leave-out-query"]):
        assert cli.main([*asked, "--picture", str(tmp_path / "s.png"), *more]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        names.append([hit["name"] for hit in row["hits"]])
    assert names[0][0] == "reds/1.png"
    assert "reds/1.png" not in names[1] and len(names[1]) == 3


def test_the_picture_knows_right_from_wrong(here):
    from mdl_tf import search

    vectors = search.embed_images("runs/colours", "photos")
    assert search.class_of("photos/reds/0.png", vectors) == "reds"
    assert search.class_of("elsewhere/blues/x.png", vectors) == "blues"
    assert search.class_of("elsewhere/x.png", vectors) is None
    hits = search.nearest("runs/colours", vectors, ["photos/reds/0.png"], k=4)
    figure = search.picture(["photos/reds/0.png"], hits, vectors)
    colours = [axes.spines["left"].get_edgecolor() for axes in figure.axes]
    right, wrong = colours[1], colours[4]
    assert colours[1:] == [right] * 3 + [wrong] and right != wrong
    assert "reds" in figure.axes[0].get_ylabel()


def test_a_model_file_is_measured_on_named_data(here, tmp_path, capsys):
    loose = tmp_path / "loose.keras"
    average_colour().save(loose)
    assert cli.main(["evaluate", str(loose)]) == 2
    assert "`dataset` must say what a .keras file is measured on" in capsys.readouterr().err
    data = ["--dataset", "folder", "--data-dir", "photos"]
    assert cli.main(["evaluate", str(loose), *data, "--json"]) == 0
    of_file = json.loads(capsys.readouterr().out)
    assert (
        cli.main(["evaluate", "runs/colours/model.keras", *data, "--split", "all", "--json"]) == 0
    )
    of_run = json.loads(capsys.readouterr().out)
    assert of_file == of_run and of_file["recall_at_1"] == 1.0


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/b", "a\\b", "..", ".", "", "a\nb", "\x1b[2J", "n" * 201]
)
@pytest.mark.parametrize("command", ["train", "compare"])
def test_names_that_lead_elsewhere_are_refused(command, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, "--dataset", "digits", "--backbone", "conv4", "--name", name]) == 2
    shown = capsys.readouterr().err
    assert "`name` must be a plain name of a folder below `runs_dir`" in shown
    assert shown.count("\n") == 1 and "\x1b" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("k", ["9" * 400, "0", "-1", "1.5", "x"])
def test_counts_that_are_none(k, here, capsys):
    assert cli.main(["search", "runs/colours", "photos", "photos/reds/0.png", "-k", k]) == 2
    assert "`k` must be an integer" in capsys.readouterr().err


def test_names_cannot_drive_the_terminal(here, tmp_path, capsys):
    """A file, a folder, an error: whatever is printed."""
    evil = tmp_path / "photos" / "\x1b]0;owned\x07"
    evil.mkdir(parents=True)
    for i in range(2):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(evil / f"\x1b[31m{i}.png")
    vectors = str(tmp_path / "v.npz")
    assert cli.main(["embed", "runs/colours", str(tmp_path / "photos"), "-o", vectors]) == 0
    query = str(evil / "\x1b[31m0.png")
    asked = ["search", "runs/colours", vectors, query, "--picture", str(tmp_path / "s.png")]
    assert cli.main(asked) == 0
    assert cli.main(["evaluate", str(evil)]) == 2
    assert cli.main(["train", "\x1b[2J"]) == 2
    shown = capsys.readouterr()
    assert "\\x1b[31m0.png" in shown.out and "\\x1b]0;owned" in shown.err
    for text in (shown.out, shown.err):
        assert not [c for c in text if ord(c) < 32 and c not in "\n\t"]
