"""Stand-ins: read back as the original is, never taken for it, written whole or not at all."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdl_tf import datasets, metrics
from mdl_tf.datasets.papers import official, stand_ins

NAMES = ("cars196", "cub200", "sop")
SIDES = ("train",) * 8 + ("test",) * 6
# Images of each class; products have from two on.
SIZES = {
    "cars196": [5] * 14,
    "cub200": [5] * 14,
    "sop": [2, 3, 5, 4, 2, 3, 5, 4, 2, 3, 5, 4, 2, 3],
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A stand-in of each data set, in one data folder."""
    home = tmp_path_factory.mktemp("home")
    return {name: stand_ins.write(name, home) for name in NAMES}


def message(function, *arguments):
    with pytest.raises(ValueError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_as_the_original_is_and_says_what_it_is(name, roots):
    collection = official.read(name, roots[name])
    images = collection.images
    assert images.name == f"{name} stand-in"
    assert collection.sides == SIDES
    assert np.bincount(images.labels).tolist() == SIZES[name]
    train, validation, test = collection.split(validation=0.25)
    assert [part.name for part in (train, validation, test)] == [
        f"{name} stand-in {side}" for side in ("train", "validation", "test")
    ]
    # Every file can be used, and of several sizes as photographs are.
    whole = datasets.load_all(name, data_dir=roots[name], on_corrupt="error")
    sizes = set()
    for path in whole.paths:
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(sizes) > 10
    assert 48 <= np.min(list(sizes)) <= np.max(list(sizes)) <= 64


def test_classes_are_on_both_sides_of_the_originals_border(roots):
    names = {name: official.read(name, roots[name]).images.class_names for name in NAMES}
    assert names["cub200"][7:9] == ("100.Stand_in", "101.Stand_in")
    assert names["cars196"][7:9] == ("Stand-in Model 98 2012", "Stand-in Model 99 2012")
    assert names["sop"][7:9] == ("11318.bicycle 100000011318", "11319.cabinet 100000011319")


@pytest.mark.parametrize("name", ["cars196", "cub200"])
def test_boxes_are_around_the_stars(name, roots):
    images = datasets.load_all(name, data_dir=roots[name], crop_to_box=True)
    # The first class is of red triangles.
    for i in np.flatnonzero(images.labels == 0):
        with Image.open(images.paths[i]) as image:
            pixels = np.asarray(image, float)
        red = pixels[..., 0] - pixels[..., 1:].max(axis=-1) > 90
        left, top, right, bottom = images.boxes[i].astype(int)
        inside = red[top:bottom, left:right].mean()
        red[top:bottom, left:right] = False
        assert inside > 0.25
        assert inside > 4 * red.mean(), "some of the ground is red, too"


@pytest.mark.parametrize("name", NAMES)
def test_classes_can_be_learned_and_raw_pixels_do_not_tell_them(name, roots):
    _, _, test = datasets.load(name, data_dir=roots[name])
    pixels, hues = [], []
    for path in test.paths:
        with Image.open(path) as image:
            pixels.append(np.asarray(image.convert("L").resize((32, 32)), float).ravel())
            hue, saturation, _ = np.asarray(image.convert("HSV"), float).reshape(-1, 3).T
        hues.append(np.histogram(hue, 16, (0, 256), weights=(saturation / 255) ** 3)[0])
    hues = np.array(hues) / np.linalg.norm(hues, axis=1, keepdims=True)
    recall = [
        metrics.evaluate(vectors, test.labels)["recall_at_1"]
        for vectors in (np.array(pixels), hues)
    ]
    assert recall[0] < 0.5
    assert recall[1] > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_twice_and_found_again(name, roots, tmp_path):
    again = stand_ins.write(name, tmp_path)
    assert again.parent == tmp_path / "stand_ins"
    assert again.name == roots[name].name, "named by what is in it"
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert len(files) > sum(SIZES[name])
    for file in files:
        assert (again / file).read_bytes() == (roots[name] / file).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in again.rglob("*")}
    assert stand_ins.write(name, tmp_path) == again
    assert {path: path.stat().st_mtime_ns for path in again.rglob("*")} == before


def test_without_a_folder_it_is_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path))
    root = stand_ins.write("sop")
    assert root.parent == tmp_path / "stand_ins"
    assert official.state("sop").kind == "missing", "nobody takes it for the data set"
    assert "Fetch:" in message(official.read, "sop")


def test_interrupted_half_way_it_leaves_nothing(tmp_path, monkeypatch):
    written = []

    whole = Path.write_bytes

    def interrupted(path, content):
        if len(written) == 20:
            raise KeyboardInterrupt
        written.append(path)
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stand_ins.write("sop", tmp_path)
    assert len(written) == 20
    assert list((tmp_path / "stand_ins").iterdir()) == []
    monkeypatch.undo()
    assert len(official.read("sop", stand_ins.write("sop", tmp_path)).images) == 47


def test_two_processes_may_write_it_at_once(tmp_path, monkeypatch):
    rename = os.rename

    def second(source, target):
        monkeypatch.undo()
        stand_ins.write("sop", tmp_path)
        rename(source, target)

    monkeypatch.setattr(os, "rename", second)
    root = stand_ins.write("sop", tmp_path)
    assert [path.name for path in (tmp_path / "stand_ins").iterdir()] == [root.name]


def test_no_stand_in_and_no_folder(tmp_path):
    assert message(stand_ins.write, "inshop", tmp_path) == (
        "`name` must be one of ['cars196', 'cub200', 'sop'], of which there are stand-ins. "
        "Received: name='inshop'"
    )
    (tmp_path / "file").write_text("")
    assert message(stand_ins.write, "sop", tmp_path / "file").startswith(
        "`data_dir` must be a folder that can be written. Received: "
    )


def test_a_stand_in_that_lacks_images_is_refused(tmp_path):
    root = stand_ins.write("sop", tmp_path)
    table = root / "Ebay_test.txt"
    table.write_text("\n".join(table.read_text().splitlines()[:-2]) + "\n")
    assert message(official.read, "sop", root) == (
        "`data_dir` must hold all of the stand-in of sop: 19 test images. "
        f"Received: 17 test images, in {root}"
    )


def test_without_its_marker_it_is_refused_as_any_incomplete_data_set(tmp_path):
    root = stand_ins.write("cub200", tmp_path)
    (root / "stand_in.json").unlink()
    assert message(official.read, "cub200", root).startswith(
        "`data_dir` must hold all of cub200 (CUB-200-2011): 100 training classes, "
        "5,864 training images, 100 test classes, 5,924 test images. Received: 8 training classes"
    )


def test_a_marker_counts_in_the_root_alone(tmp_path):
    root = stand_ins.write("cub200", tmp_path)
    holder = tmp_path / "data"
    holder.mkdir()
    (root / "stand_in.json").rename(holder / "stand_in.json")
    root.rename(holder / "CUB_200_2011")
    assert "must hold all of cub200 (CUB-200-2011)" in message(official.read, "cub200", holder)
    assert official.state("cub200", holder) == ("ready", str(holder / "CUB_200_2011"))


GOOD = {"training classes": 8, "training images": 28, "test classes": 6, "test images": 19}


@pytest.mark.parametrize(
    "marker",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"stand_in_for": "cub200", "counts": GOOD}),
        json.dumps({"stand_in_for": "sop"}),
        json.dumps({"stand_in_for": "sop", "counts": {**GOOD, "images": 3}}),
        json.dumps({"stand_in_for": "sop", "counts": {**GOOD, "test images": True}}),
        b"\xff\xfe",
        None,
    ],
)
def test_a_wrong_marker_is_one_clear_error(marker, tmp_path):
    root = stand_ins.write("sop", tmp_path)
    path = root / "stand_in.json"
    path.unlink()
    if marker is None:
        path.mkdir()
    else:
        path.write_bytes(marker if isinstance(marker, bytes) else marker.encode())
    assert message(official.read, "sop", root) == (
        "`data_dir` must hold sop, or a stand-in of it as `mdl-tf train --smoke` writes it. "
        f"Received: {path}, which is not that of a stand-in of sop"
    )
