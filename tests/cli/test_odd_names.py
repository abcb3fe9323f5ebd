"""Names that are no text for TensorFlow, and names of several lines."""

import numpy as np
import pytest
from PIL import Image

from mdl_tf import cli, datasets
from mdl_tf.index import Index


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """The working folder, in which is nothing."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# A name in Latin-1, as the system gives it to Python, and one that C would cut off.
@pytest.mark.parametrize(("name", "told"), [("caf\udce9", "caf\\udce9"), ("a\0b", "a\\x00b")])
@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", None],
        ["train", "--dataset", "folder", "--data-dir", None],
        ["train", "--dataset", "digits", "--runs-dir", None],
        ["datasets", "check", "folder", "--data-dir", None],
        ["index", "show", None],
        ["embed", "run", "photos", "-o", None],
    ],
    ids=lambda arguments: " ".join(filter(None, arguments)),
)
def test_arguments_that_name_no_file_for_tensorflow(arguments, name, told, empty, capsys):
    assert cli.main([argument or name for argument in arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("mdl-tf: error: An argument must be in UTF-8") and told in shown
    assert shown.count("\n") == 1 and list(empty.iterdir()) == []


def test_a_working_folder_that_names_no_file_for_tensorflow(empty, monkeypatch, capsys):
    (empty / "caf\udce9").mkdir()
    monkeypatch.chdir(empty / "caf\udce9")
    assert cli.main(["train", "--dataset", "digits", "--backbone", "conv4"]) == 2
    shown = capsys.readouterr().err
    assert "`runs_dir` must be a folder whose whole path is in UTF-8" in shown
    assert shown.count("\n") == 1 and list((empty / "caf\udce9").iterdir()) == []


def test_names_of_several_lines_stay_on_one(empty, capsys):
    """Nobody's file name looks like a line of ours, or drives the terminal."""
    for k, c in enumerate(f"{letter}\nFAKE" for letter in "abcd"):
        (empty / "photos" / c).mkdir(parents=True)
        for i in range(2):
            pixels = np.full((9, 9, 3), 20 * i + 50 * k, np.uint8)
            Image.fromarray(pixels).save(empty / "photos" / c / f"{i}\nFAKE\x1b[31m.png")
        (empty / "photos" / c / "broken\nFAKE.png").write_bytes(b"x")
    (empty / "photos" / "empty\nFAKE").mkdir()
    data = ["folder", "--data-dir", "photos"]
    assert cli.main(["datasets", "check", *data]) == 2
    assert cli.main(["datasets", "check", *data, "--on-corrupt", "skip"]) == 0
    with pytest.warns(UserWarning, match="were left out, such as .* FAKE, which") as told:
        datasets.load("folder", data_dir="photos", on_corrupt="skip", validation=0)
    index = Index.create("x.index", None)
    vectors = np.eye(2, dtype=np.float32)
    index.add(vectors, names=["a\nFAKE", "b"], labels=["c\nFAKE", "d"], columns={"e\nFAKE": [1, 2]})
    for command in (["show"], ["remove", "z\nFAKE"]):
        cli.main(["index", command[0], "x.index", *command[1:]])
    shown = capsys.readouterr()
    lines = (shown.out + shown.err + str(told[0].message)).splitlines()
    assert sum("FAKE" in line for line in lines) >= 10
    assert not any(line.lstrip().startswith("FAKE") or "\x1b" in line for line in lines)
