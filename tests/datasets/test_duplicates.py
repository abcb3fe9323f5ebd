"""Images that are there twice: told by where the copies are, and left out on request."""

import numpy as np
import pytest
from PIL import Image

from mdl_tf import cli, datasets
from mdl_tf.config import TrainConfig
from mdl_tf.datasets import ImageSet
from mdl_tf.datasets.duplicates import describe_groups, drop, find_groups
from mdl_tf.datasets.image_set import Collection
from mdl_tf.doctor.copies import check_copies
from mdl_tf.doctor.examine import SeenClasses
from mdl_tf.runs.data import describe_data, read_data

# Eight classes of four. Contents by letters: A twice in class 0; B in classes 0 and 1; C in
# classes 2 and 4, training and test; D in 5 and 6, both of the test; E twice in 6 of the test, and
# in 3 of training; F thrice in 7.
CONTENTS = ["AAB1", "B234", "C567", "E890", "Cabc", "Ddef", "DEEg", "FFFh"]
# What a set without copies holds, by the rules.
LEFT = ["A1", "234", "567", "890", "Cabc", "def", "Eg", "Fh"]
SIDES = ("train",) * 4 + ("test",) * 4
KINDS = {"class": ["AA", "FFF"], "classes": ["BB", "DD"], "split": ["CC", "EEE"]}


def pixels(letter):
    return np.random.default_rng(ord(letter)).integers(0, 256, (6, 6, 3), np.uint8)


def in_memory(contents=CONTENTS):
    images = np.stack([pixels(letter) for letter in "".join(contents)])
    return {"images": images}


def as_features(contents=CONTENTS):
    return {"features": in_memory(contents)["images"].reshape(-1, 108).astype(np.float32)}


def as_files(folder, contents=CONTENTS):
    for c, letters in enumerate(contents):
        (folder / f"c{c}").mkdir(parents=True)
        for i, letter in enumerate(letters):
            Image.fromarray(pixels(letter)).save(folder / f"c{c}" / f"{i}.png")
    return folder


def collection_of(content):
    labels = np.repeat(np.arange(8), [len(letters) for letters in CONTENTS])
    names = tuple(f"c{c}" for c in range(8))
    return Collection(ImageSet("set", labels, names, **content), SIDES)


@pytest.fixture(params=["images", "features", "files"])
def collection(request, tmp_path):
    if request.param == "files":
        return datasets.read("folder", data_dir=as_files(tmp_path / "photos"))
    return collection_of(in_memory() if request.param == "images" else as_features())


def test_groups_are_told_by_where_their_copies_are(collection):
    train, _, test = collection.split(validation=0)
    groups = find_groups({"train": train, "validation": None, "test": test})
    found = {kind: sorted(len(g.names) for g in groups if g.kind == kind) for kind in KINDS}
    assert found == {kind: sorted(map(len, letters)) for kind, letters in KINDS.items()}
    lines = describe_groups(groups)
    assert [line.split(" (")[0] for line in lines] == ["2 groups of identical images"] * 3
    assert "(5 in all) are across training, validation and test, a leak" in lines[0]
    assert "(4 in all) are in several classes" in lines[1]
    assert "(5 in all) are within a class" in lines[2]
    first = train.paths[2] if train.paths else f"{train.kind[:-1]} 2 of {train.name}"
    assert f": {first} = " in lines[1]


def test_without_copies_nothing_is_said():
    image_set = collection_of(in_memory()).images.take([0, 2, 3])
    assert describe_groups(find_groups({"train": image_set})) == []


@pytest.mark.parametrize(
    ("contents", "level", "numbers"),
    [
        (["AB", "CD", "EF", "GH"], "ok", (0, 0, 0)),
        (["AAB", "CD", "EF", "GH"], "look", (0, 0, 1)),
        (["AB", "BD", "EF", "GH"], "wrong", (0, 1, 0)),
        (["AB", "CD", "EF", "AA"], "wrong", (1, 0, 0)),
    ],
)
def test_the_doctor_tells(contents, level, numbers):
    labels = np.repeat(np.arange(4), [len(letters) for letters in contents])
    images = ImageSet("set", labels, tuple("abcd"), **in_memory(contents))
    sides = ("train", "train", "train", "validation")
    finding = check_copies(SeenClasses(images, np.arange(len(images)), sides))
    assert (finding.level, tuple(finding.numbers.values())) == (level, numbers)
    assert any("--duplicates drop" in advice for advice in finding.advice) == (level != "ok")


def test_what_is_dropped(collection):
    left = drop(collection)
    images = left.images
    assert left.sides == SIDES
    assert np.bincount(images.labels).tolist() == [len(letters) for letters in LEFT]
    assert find_groups({"all": images}) == []
    expected = in_memory(LEFT)["images"]
    if images.features is not None:
        found = images.features.reshape(-1, 6, 6, 3)
    elif images.images is not None:
        found = images.images
    else:
        found = np.stack([np.asarray(Image.open(path)) for path in images.paths])
    np.testing.assert_array_equal(found, expected)
    reasons = [problem.reason for problem in left.problems]
    assert len(reasons) == 32 - len(expected)
    for why in (
        "of class 'c0', and of the same class",
        "of class 'c1', and of another class, of which nobody knows the right one",
        "of class 'c4', of the test classes",
    ):
        assert any(reason.startswith("is identical to ") and why in reason for reason in reasons)


def test_what_is_then_alone_goes_too(tmp_path):
    contents = ["AA", "BC", "DE", "FG"]
    folder = as_files(tmp_path / "photos", contents)
    left = datasets.read("folder", data_dir=folder, duplicates="drop")
    assert left.images.class_names == ("c1", "c2", "c3")
    assert [problem.reason.split(" without")[0] for problem in left.problems] == [
        "is the only image that is left of class 'c0'",
        f"is identical to {folder}/c0/0.png of class 'c0', and of the same class",
    ]
    with pytest.warns(UserWarning, match="^2 images or folders were left out"):
        datasets.load_all("folder", data_dir=folder, duplicates="drop")


def test_nothing_left(tmp_path):
    folder = as_files(tmp_path / "photos", ["AB", "AB", "CD", "CD"])
    with pytest.raises(ValueError, match="^`duplicates` 'drop' must leave some images. Received: "):
        datasets.read("folder", data_dir=folder, duplicates="drop")
    with pytest.raises(ValueError, match="^`duplicates` must be one of "):
        datasets.read("folder", data_dir=folder, duplicates="all")


def test_boxes_of_one_photograph_are_no_copies():
    boxes = np.tile(np.float32([[0, 0, 3, 3], [3, 3, 6, 6]]), (2, 1))
    images = np.stack([pixels("A")] * 4)
    image_set = ImageSet("set", [0, 0, 1, 1], ("a", "b"), images=images, boxes=boxes)
    assert [group.indices for group in find_groups({"all": image_set})] == [(0, 2), (1, 3)]


def test_the_check_and_a_run_tell(tmp_path, capsys):
    folder = as_files(tmp_path / "photos")
    check = ["datasets", "check", "folder", "--data-dir", str(folder)]
    assert cli.main(check) == 0
    shown = capsys.readouterr().out
    assert "2 groups of identical images (5 in all) are across training, validation and" in shown
    assert cli.main([*check, "--duplicates", "drop"]) == 0
    shown = capsys.readouterr().out
    assert "groups of identical" not in shown
    assert f"left out: {folder}/c0/1.png, which is identical to {folder}/c0/0.png of" in shown
    assert "22 images of 8 classes can be used" in shown
    settings = {"dataset": "folder", "data_dir": str(folder), "backbone": "conv4"}
    settings |= {"classes_per_batch": 2, "validation": 0.5}
    for duplicates, said, count in (("keep", 3, 32), ("drop", 0, 22)):
        config = TrainConfig(**settings, duplicates=duplicates)
        data, lines = read_data(TrainConfig.from_kept(config.to_kept())), []
        describe_data(data, lines.append)
        assert sum("of identical images" in line for line in lines) == said
        assert sum(map(len, data.sides.values())) == count
        assert len(data.problems) == 32 - count
    assert TrainConfig.from_kept({"version": "0.2.0", "dataset": "digits"}).duplicates == "keep"
