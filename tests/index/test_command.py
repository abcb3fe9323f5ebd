"""`mdl-tf index`: from a folder to an index that follows it."""

import json
import os

import numpy as np
import pytest
from helpers.models import average_colour
from PIL import Image

from mdl_tf import cli
from mdl_tf.index import Index
from mdl_tf.index.columns_file import read_columns


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    average_colour().save("colours.keras")
    for name, colour in {
        "a/x.png": (250, 0, 0),
        "a/y.png": (9, 0, 0),
        "b/z.png": (0, 9, 0),
    }.items():
        write(name, colour)
    return tmp_path


def write(name, colour):
    os.makedirs(os.path.dirname(f"photos/{name}"), exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(f"photos/{name}")


def run(capsys, *arguments):
    code = cli.main(list(arguments))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_folder_from_the_first_image_to_the_last(here, capsys):
    code, out, _ = run(capsys, "index", "build", "colours.keras", "photos/")
    assert code == 0 and "3 added, 0 changed, 0 as they were, 0 removed; 3 in all" in out
    assert "Search: mdl-tf search photos.index QUERY.jpg" in out
    write("a/y.png", (8, 0, 0))
    write("c/new.png", (1, 1, 1))
    os.remove("photos/b/z.png")
    code, out, _ = run(capsys, "index", "add", "photos.index", "photos")
    assert code == 0 and "1 added, 1 changed, 1 as they were, 0 removed; 4 in all" in out
    code, out, _ = run(capsys, "index", "sync", "photos.index", "photos")
    assert code == 0 and "0 added, 0 changed, 3 as they were, 1 removed; 3 in all" in out
    code, out, _ = run(capsys, "index", "remove", "photos.index", "c/new.png")
    assert code == 0 and out == "1 removed, 2 left\n"
    code, out, _ = run(capsys, "index", "show", "photos.index")
    assert code == 0 and "photos.index: 2 vectors of 3 numbers\nLabels: 1\n         2  a\n" in out


def test_search_in_an_index(here, capsys):
    (here / "columns.csv").write_text("path,price\na/x.png,10\na/y.png,2\n")
    build = ["index", "build", "colours.keras", "photos", "--columns", "columns.csv"]
    assert run(capsys, *build)[0] == 0
    code, out, _ = run(capsys, "search", "photos.index", "photos/a/x.png", "-k", "2")
    lines = out.splitlines()
    assert code == 0 and lines[1] == "   1  0.0000  a/x.png" and os.path.getsize("search.png") > 999
    assert lines[2].endswith("  b/z.png") or lines[2].endswith("  a/y.png")
    code, out, _ = run(
        *(capsys, "search", "photos.index", "photos/a/x.png", "--json"),
        *("--where", '{"price": {"<": 5}}'),
    )
    [answer] = json.loads(out)
    assert [hit["name"] for hit in answer["hits"]] == ["a/y.png"]
    assert answer["hits"][0]["columns"] == {"price": 2}
    far = [*("search", "photos.index", "photos/b/z.png"), "--where", '{"label": "a"}']
    code, out, _ = run(capsys, *far, "--threshold", "0.001")
    assert code == 0 and "nothing like it" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--far", "0.01"], "The index must be calibrated"),
        (["--far", "0.01", "--threshold", "1"], "must not be given together"),
        (["--threshold", "x"], "`threshold` must be a number, at least 0. Received: threshold='x'"),
        (["--where", "{"], "`where` must be JSON"),
        (["--where", '{"size": 1}'], "`where` must name columns of the index"),
        (["--leave-out-query"], "`leave_out_query` is of vectors"),
    ],
)
def test_searches_that_cannot_be(here, capsys, arguments, message):
    assert run(capsys, "index", "build", "colours.keras", "photos")[0] == 0
    code, _, error = run(capsys, "search", "photos.index", "photos/a/x.png", *arguments)
    assert code == 2 and message in error and error.count("\n") == 1
    code, _, error = run(capsys, "search", "colours.keras", "v.npz", "q.png", "--far", "0.1")
    assert code == 2 and "`far` is of an index" in error
    code, _, error = run(capsys, "search", "colours.keras", "v.npz")
    assert code == 2 and "required: QUERY" in error


def test_columns_of_a_file(here, capsys):
    rows = ["path,price,kind,size", "a/x.png,10,new,1.5", "b/z.png,,old,2", "a/y.png,7,1,"]
    (here / "columns.csv").write_text("\ufeff" + "\n".join(rows))
    code, _, _ = run(
        capsys, "index", "build", "colours.keras", "photos", "--columns", "columns.csv"
    )
    assert code == 0
    [hits] = Index.open("photos.index").search(np.zeros((1, 3)))
    assert {hit.name: hit.columns for hit in hits} == {
        "a/x.png": {"price": 10, "kind": "new", "size": 1.5},
        "a/y.png": {"price": 7, "kind": "1"},
        "b/z.png": {"kind": "old", "size": 2.0},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be a CSV file. Received: .*columns.csv"),
        ("", "with a column path.*with nothing"),
        ("file,price\na,1", "with a column path.*with 'file', 'price'"),
        ("path,price\na,1\na,2", "each path once.*'a' twice"),
        ("path,price\n\xff,1".encode("latin-1"), "must be a CSV file"),
    ],
)
def test_wrong_columns(tmp_path, text, message):
    if text is not None:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "columns.csv").write_bytes(data)
    with pytest.raises(ValueError, match="`columns` .*" + message):
        read_columns(tmp_path / "columns.csv")


WRONG = [
    (["index"], "`index` must be one of build, add"),
    (["index", "build", "no.keras", "photos"], "`model` must be a run folder"),
    (["index", "build", "colours.keras", "nowhere"], "folder that exists"),
    (["index", "build", "colours.keras", "photos", "-o", "photos"], "go on with `mdl-tf index add"),
    (["index", "build", "none", "photos"], "the index has no model for images"),
    (
        ["index", "build", "colours.keras", "photos", "--columns", "no.csv"],
        "`columns` must be a CSV",
    ),
    (["index", "add", "photos", "photos"], "`path` must be the folder of an index"),
    (["index", "show", "nowhere"], "`path` must be the folder of an index"),
    (["index", "explode", "photos"], "invalid choice: 'explode'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_what_cannot_be_is_one_line_and_leaves_nothing(here, capsys, arguments, message):
    code, _, error = run(capsys, *arguments)
    assert code == 2 and message in error and error.count("\n") == 1
    assert sorted(os.listdir()) == ["colours.keras", "photos"]
