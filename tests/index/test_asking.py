"""`mdl-tf classify`, `cluster`, `index confusion` and `index calibrate`: text, tables, pages."""

import csv
import json
import os

import numpy as np
import pytest
from helpers.models import average_colour
from PIL import Image

from mdl_tf import cli
from mdl_tf.index import Index
from mdl_tf.index.answers import Confusion
from mdl_tf.pictures import plots

# Two reds, four greens of which one is in the wrong folder, and a blue.
PHOTOS = {
    "red/1.png": (250, 0, 0),
    "red/2.png": (240, 0, 0),
    "red/wrong.png": (0, 235, 0),
    "green/1.png": (0, 250, 0),
    "green/2.png": (0, 240, 0),
    "green/3.png": (0, 230, 0),
    "blue.png": (0, 0, 250),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asking")
    average_colour().save(folder / "colours.keras")
    for name, colour in PHOTOS.items():
        write(folder / "photos" / name, colour)
    with Index.create(folder / "photos.index", str(folder / "colours.keras")) as index:
        index.add(folder / "photos")
    return folder


@pytest.fixture
def here(home, monkeypatch, tmp_path, capsys):
    """The working folder, with an index of photos, and a function that runs a command there."""
    monkeypatch.chdir(home)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def write(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(path)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_classify(here, home):
    write(home / "queries/a.png", (245, 3, 0))
    write(home / "queries/=b.png", (0, 244, 0))
    code, out, err = here(
        "classify", "photos.index", "queries", "photos/blue.png", "-k", "3", "--out", "c.csv"
    )
    assert code == 0, err
    assert out.splitlines()[0].split() == ["label", "share", "distance", "nearest", "image"]
    rows = rows_of("c.csv")
    assert [row["image"] for row in rows] == [
        *("queries/=b.png", "queries/a.png", "photos/blue.png"),
    ]
    first, second, third = rows
    distances = [np.array([4, 6, 9]) / 255]
    votes = 1 / distances[0]
    assert first["label"] == "green" and first["nearest"] == "green/2.png"
    assert float(first["share"]) == pytest.approx(votes[:2].sum() / votes.sum(), abs=2e-3)
    assert first["second"] == "red" and float(first["distance"]) == pytest.approx(4 / 255, abs=1e-4)
    assert second["label"] == "red" and second["nearest"] in ("red/1.png", "red/2.png")
    # Its nearest image is itself, without a label.
    assert third["nearest"] == "blue.png" and float(third["distance"]) == 0
    code, out, _ = here("classify", "photos.index", "queries/a.png", "-k", "1", "--json")
    [answer] = json.loads(out)
    assert code == 0 and answer["label"] == "red" and answer["hits"][0]["label"] == "red"
    code, out, _ = here("classify", "photos.index", "queries/a.png", "--threshold", "0.001")
    assert code == 0 and "nothing like it" in out
    where = ("--where", '{"label": "green"}')
    code, out, _ = here("classify", "photos.index", "queries/a.png", *where)
    assert code == 0 and "green" in out and "100%" in out


def test_classify_features(here, home):
    vectors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    Index.build(None, vectors, labels=np.repeat(["a", "b", "c"], 4)).save(home / "features.index")
    np.savez("f.npz", features=vectors[[0, 9]], labels=np.array([0, 1]))
    code, out, err = here("classify", "features.index", "f.npz")
    assert code == 0 and [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["a", "100%"],
        ["c", "100%"],
    ], err
    code, _, err = here("classify", "features.index", "photos/blue.png")
    assert code == 2 and "must be features in an .npz file" in err
    code, _, err = here("classify", "features.index", "f.npz", "g.npz")
    assert code == 2 and "must be the only query" in err


def test_confusion_of_an_index_and_of_a_folder(here, home):
    arguments = ("index", "confusion", "photos.index", "-k", "1")
    code, out, err = here(*arguments, "--out", "m.csv", "--picture", "m.png")
    assert code == 0, err
    # Two of three reds are found, and of three greens the one without the stranger between.
    assert "of 6 images of 2 classes get their class" in out
    rows = rows_of("m.csv")
    assert {
        "class": "red",
        "images": "3",
        "right": "0.6667",
        "taken_for": "green",
        "times": "1",
    } in (rows)
    assert os.path.getsize("m.png") > 5000
    code, out, _ = here("index", "confusion", "photos.index", "photos")
    assert code == 0 and "7 images" not in out and "of 6 images" in out


def test_mistakes_in_order_and_as_a_matrix():
    labels = list("aaaabbbbbccd")
    answers = ["a", "b", "b", "c", *"bbbaa", "c", "c", None]
    confusion = Confusion(labels, answers)
    pairs = [(m.label, m.taken_for, m.times, m.images) for m in confusion.pairs()]
    assert pairs == [
        ("a", "b", 2, 4),
        ("b", "a", 2, 5),
        ("d", None, 1, 1),
        ("a", "c", 1, 4),
    ]
    assert list(confusion.cells()) == [
        ["d", 1, "0.0000", "", 1],
        ["a", 4, "0.2500", "b", 2],
        ["a", 4, "0.2500", "c", 1],
        ["b", 5, "0.6000", "a", 2],
        ["c", 2, "1.0000", "", ""],
    ]
    counts, names = confusion.worst(3)
    assert names == ["d", "a", "b"]
    assert counts.tolist() == [[0, 0, 0, 1], [0, 1, 2, 1], [0, 2, 3, 0]]
    [axes] = plots.confusion_matrix(counts, names).axes
    assert [text.get_text() for text in axes.texts] == ["1", "1", "2", "1", "2", "3"]


def test_calibrate(here, home):
    rng = np.random.default_rng(0)
    for c in range(6):
        for i in range(5):
            colour = (40 * c, 200 - 30 * c, 9 + int(rng.integers(0, 30)))
            write(home / f"others/{c}/{i}.png", colour)
    Index.open("photos.index").save(home / "calibrated.index")
    code, out, err = here("index", "calibrate", "calibrated.index", "others")
    assert code == 0 and "on 6 classes (60 pairs of one class, 375 of two)" in out, err
    assert "So few classes say little" in out
    code, out, _ = here("cluster", "calibrated.index", "--out", "calibrated.csv")
    assert code == 0 and "where 1 in 100 pairs of two classes is as near" in out
    code, out, _ = here("classify", "calibrated.index", "photos/red/1.png", "--far", "0.05")
    assert code == 0 and "red" in out


def test_cluster_an_index_and_a_folder(here, home):
    for source in (["photos.index"], ["colours.keras", "photos"]):
        code, out, err = here("cluster", *source, "-k", "3", "--out", "g.csv")
        assert code == 0, err
        assert "7 images of 7 in 3 groups." in out and "Agreement with the labels: NMI" in out
        rows = rows_of("g.csv")
        groups = {}
        for row in rows:
            groups.setdefault(row["group"], set()).add(row["image"])
        assert groups["1"] == {name for name, colour in PHOTOS.items() if colour[1]}
        assert groups["2"] == {"red/1.png", "red/2.png"} and groups["3"] == {"blue.png"}
        assert all(os.path.isfile(row["path"]) for row in rows)
        page = (home / "g.html").read_text()
        assert page.count("data:image/jpeg") == 7 and "most typical" in page


def test_a_folder_with_a_broken_file(here, home):
    write(home / "mixed/a.png", (1, 2, 3))
    (home / "mixed/broken.png").write_bytes(b"no image")
    code, _, err = here("cluster", "colours.keras", "mixed", "-k", "1", "--out", "b.csv")
    assert code == 2 and "broken.png" in err and not (home / "b.csv").exists()
    arguments = ("cluster", "colours.keras", "mixed", "-k", "1", "--out", "b.csv")
    code, out, err = here(*arguments, "--on-corrupt", "skip")
    assert code == 0 and "left out: mixed/broken.png, which" in out, err
    assert [row["image"] for row in rows_of("b.csv")] == ["a.png"]


def test_near_duplicates_of_a_folder(here, home):
    code, out, err = here("cluster", "photos.index", "--near-duplicates", "--threshold", "0.045")
    assert code == 0 and "6 images of 7 in 2 groups, and 1 image in none." in out, err
    rows = rows_of("near-duplicates.csv")
    assert len(rows) == 6 and rows[0]["group"] == "1"
    assert 'class="copies"' in (home / "near-duplicates.html").read_text()
    assert len(Index.open("photos.index")) == 7
    # Of vectors that were embedded before, and whatever `mdl-tf cluster` is given by hand.
    vectors = np.float32([[0, 0], [0, 0.01], [1, 1]])
    np.savez("plain.npz", features=vectors, labels=np.arange(3))
    code, out, err = here("cluster", "none", "plain.npz", "--near-duplicates", "--out", "p.csv")
    assert code == 0 and "2 images of 3 in 1 group" in out, err


WRONG = [
    (["classify", "photos.index", "photos", "-k", "0"], "`k` must be an integer, at least 1"),
    (["classify", "photos.index", "photos", "--out", "a.txt"], "`out` must end in .csv"),
    (
        [
            "classify",
            "photos.index",
            "photos",
            "--far",
            "1",
        ],
        "`far` must be a number",
    ),
    (["classify", "photos.index", "photos", "--far", "0.1"], "The index must be calibrated"),
    (["classify", "photos.index", "photos", "--where", "["], "`where` must be JSON"),
    (["classify", "photos.index", "photos", "--far", "0.1", "--threshold", "1"], "together"),
    (["classify", "photos.index", "nowhere.png"], "nowhere.png"),
    (["classify", "colours.keras", "photos"], "`path` must be the folder of an index"),
    (["index", "confusion", "photos.index", "-k", "x"], "`k` must be an integer"),
    (["index", "confusion", "photos.index", "nowhere"], "folder that exists"),
    (["index", "confusion", "photos.index", "--picture", "a.gif"], "`picture` must end in .png or"),
    (["index", "calibrate", "photos.index", "photos"], "must have a subfolder for each class"),
    (
        ["cluster", "photos.index", "photos"],
        "FOLDER must be given with a run or a .keras file only",
    ),
    (["cluster", "colours.keras"], "FOLDER must be given with a run"),
    (["cluster", "nowhere"], "`path` must be the folder of an index"),
    (["cluster", "photos.index", "-k", "8"], "`k` must be at most the number of images, 7"),
    (
        ["cluster", "photos.index", "--near-duplicates", "-k", "3"],
        "`k` is not of --near-duplicates",
    ),
    (["cluster", "photos.index", "--page", "a.pdf"], "`page` must end in .html"),
    (["cluster", "photos.index", "--out", "g.txt"], "`out` must end in .csv"),
    (["cluster", "photos.index", "--threshold", "far"], "`threshold` must be a number, at least 0"),
    (["cluster", "photos.index", "--method", "dbscan"], "invalid choice"),
    (["cluster", "photos.index", "--seed", "-1"], "expected one argument|`seed` must be"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: str(value)[:60])
def test_commands_that_cannot_be(here, arguments, message):
    code, out, err = here(*arguments)
    assert code == 2 and err.splitlines()[-1].startswith("mdl-tf: error: "), out
    assert any(part in err for part in message.split("|")), err


def test_an_index_without_labels_cannot_classify(here, home):
    Index.build(None, np.eye(3)).save(home / "bare.index")
    np.savez("q.npz", features=np.eye(3, dtype=np.float32), labels=np.arange(3))
    code, _, err = here("classify", "bare.index", "q.npz")
    assert code == 2 and "must have labels" in err


@pytest.mark.slow
def test_an_index_on_a_server(here, home, server):
    labels = np.repeat(["a", "b", "c"], 8)
    vectors = np.repeat(np.eye(3), 8, axis=0) + 0.01 * np.arange(24)[:, None] / 24
    with Index.connect(server, "asking", None) as index:
        index.add(vectors.astype(np.float32), labels=labels, columns={"n": list(range(24))})
        where = {"n": {"<": 16}}
        assert [len(group.members) for group in index.cluster(k=2, where=where)] == [8, 8]
        copies = index.near_duplicates(0.05)
        assert [len(group.members) for group in copies] == [8, 8, 8] and copies.agreement == (1, 1)
    there = (server, "--name", "asking")
    code, out, err = here("index", "confusion", *there, "-k", "1")
    assert code == 0 and "100.0% of 24 images of 3 classes" in out, err
    code, out, err = here("cluster", *there, "-k", "3", "--where", '{"label": ["a", "b", "c"]}')
    assert code == 0 and "24 images of 24 in 3 groups." in out, err
    np.savez("s.npz", features=vectors[[3, 20]].astype(np.float32), labels=np.array([0, 1]))
    code, out, err = here("classify", server, "s.npz", "--name", "asking")
    assert code == 0 and [line.split()[0] for line in out.splitlines()[1:]] == ["a", "c"], err
    code, _, err = here("cluster", "colours.keras", "photos", "--name", "asking")
    assert code == 2 and "`name` is of an index on a server" in err
