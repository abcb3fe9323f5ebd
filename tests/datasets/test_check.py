"""Broken input: found before training, listed in one message, left out on request, counted."""

import dataclasses
import ntpath
import os
import shutil
import sys
import types

import numpy as np
import pytest
from helpers.images import BROKEN
from PIL import Image

from mdl_tf import datasets
from mdl_tf.datasets import CorruptImagesError, ImageSet, check, usable
from mdl_tf.datasets.image_set import Collection, first_for_training
from mdl_tf.datasets.own import folder
from mdl_tf.images import file as image_file


@pytest.fixture
def photographs(tmp_path):
    """Classes a, aa, b to f: b has one image, c only broken ones, of d two are broken."""
    rng = np.random.default_rng(0)
    for name, count in {"a": 3, "aa": 2, "b": 1, "c": 0, "d": 3, "e": 2, "f": 4}.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.jpg")
    for place, broken in {
        "c/x.jpg": "truncated.jpg",
        "c/y.jpg": "empty.jpg",
        "d/x.jpg": "text.jpg",
        "d/y.png": "bomb.png",
    }.items():
        (tmp_path / place).write_bytes(BROKEN[broken][0]())
    return tmp_path


def test_one_message_lists_all_that_cannot_be_used(photographs):
    with pytest.raises(CorruptImagesError) as raised:
        datasets.load("folder", data_dir=photographs)
    head, *lines = str(raised.value).splitlines()
    assert head == (
        "5 of 19 images or folders cannot be used. Mend them, or leave them out with `on_corrupt` "
        "'skip' (--on-corrupt skip, but not in the middle of a run):"
    )
    assert [line.split(": ")[0].strip() for line in lines] == [
        str(photographs / place)
        for place in ("c/x.jpg", "c/y.jpg", "d/x.jpg", "d/y.png", "b/0.jpg")
    ]
    assert lines[-1].endswith("is the only image that can be used of class 'b'")
    assert [problem.reason for problem in raised.value.problems][1] == "is empty"


def test_skipping_leaves_them_out_and_tells(photographs):
    with pytest.warns(UserWarning, match=r"^5 images or folders were left out, such as .*c/x.jpg"):
        train, validation, test = datasets.load(
            "folder", data_dir=photographs, validation=0, on_corrupt="skip"
        )
    # Of seven classes four were for training; two of them are left.
    collection = datasets.read("folder", data_dir=photographs, on_corrupt="skip")
    assert len(collection.problems) == 5
    assert collection.images.class_names == ("a", "aa", "d", "e", "f")
    assert np.bincount(collection.images.labels).tolist() == [3, 2, 3, 2, 4]
    assert (train.class_names, test.class_names) == (("a", "aa"), ("d", "e", "f"))
    assert validation is None
    for path, label in zip(collection.images.paths, collection.images.labels, strict=True):
        assert path.split("/")[-2] == collection.images.class_names[label]


def test_whole_folders_that_cannot_be_used_are_listed(photographs, monkeypatch):
    (photographs / "empty").mkdir()
    listed = folder.os.listdir

    def refused(path):
        if str(path).endswith("/e"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(folder.os, "listdir", refused)
    with pytest.raises(CorruptImagesError) as raised:
        datasets.load("folder", data_dir=photographs)
    assert f"  {photographs}/e: cannot be read: Permission denied\n" in str(raised.value)
    assert f"  {photographs}/empty: holds no images\n" in str(raised.value)


def test_nothing_left(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"")
    with pytest.raises(ValueError) as raised:
        datasets.load("folder", data_dir=tmp_path, on_corrupt="skip")
    assert "must hold images that can be used. Received: " in str(raised.value)


def sound(tmp_path, count=6):
    paths = [str(tmp_path / f"{i}.png") for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((5, 5, 3), i % 256, np.uint8)).save(path)
    labels = np.arange(count) // 2
    names = tuple(f"c{c}" for c in range(labels.max() + 1))
    return first_for_training(ImageSet("sound", labels, names, paths=tuple(paths)), 1)


def test_the_result_is_remembered_until_a_file_changes(tmp_path, monkeypatch):
    collection = sound(tmp_path)
    examine, examined = image_file.examine, []
    monkeypatch.setattr(image_file, "examine", lambda path: examined.append(path) or examine(path))
    steps = []
    first = check(collection, progress=lambda *done: steps.append(done)).images
    assert sorted(examined) == sorted(collection.images.paths)
    assert steps == [(i, 6) for i in range(1, 7)]
    examined.clear()
    second = check(collection).images
    assert examined == []
    np.testing.assert_array_equal(second.digests, first.digests)
    np.testing.assert_array_equal(second.slow, first.slow)
    (tmp_path / "4.png").write_bytes(b"no longer")
    with pytest.raises(CorruptImagesError):
        check(collection)
    assert examined == [str(tmp_path / "4.png")]
    (tmp_path / "4.png").unlink()
    with pytest.raises(CorruptImagesError) as raised:
        check(collection)
    assert "4.png: is not there" in str(raised.value)


def test_an_interruption_keeps_what_is_done_and_does_not_wait(tmp_path, monkeypatch):
    collection = sound(tmp_path, 400)
    examine, examined = image_file.examine, []
    monkeypatch.setattr(image_file, "examine", lambda path: examined.append(path) or examine(path))

    def interrupt(done, total):
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(collection, progress=interrupt)
    assert len(examined) < 400
    monkeypatch.undo()
    steps = []
    check(collection, progress=lambda *done: steps.append(done))
    assert steps[-1][0] == steps[-1][1] <= 380


@pytest.fixture
def processes(photographs, monkeypatch):
    """The photographs, many enough for processes, and a list of those looked into in this one."""
    examine, examined = image_file.examine, []
    monkeypatch.setattr(image_file, "examine", lambda path: examined.append(path) or examine(path))
    monkeypatch.setattr(usable, "_MANY", 4)
    monkeypatch.setattr(usable, "_CORES", 2)
    monkeypatch.setattr(usable, "_SMALL", 200_000)
    large = photographs / "f" / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(large)
    return sorted(map(str, photographs.glob("*/*"))), str(large), examine, examined


def test_processes_find_what_threads_find(processes):
    paths, large, examine, examined = processes
    steps = []
    found = usable.examine_all(paths, progress=lambda *done: steps.append(done))
    assert examined == [large]
    assert found == [examine(path) for path in paths]
    assert any(one.problem for one in found) and not all(one.problem for one in found)
    assert steps[-1] == (len(paths), len(paths))


def test_an_interruption_of_processes_keeps_what_is_done(processes):
    paths, _, examine, examined = processes

    def interrupt(*done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        usable.examine_all(paths, progress=interrupt)
    assert examined == []
    steps = []
    found = usable.examine_all(paths, progress=lambda *done: steps.append(done))
    assert found == [examine(path) for path in paths]
    assert 0 < steps[-1][1] < len(paths)


def test_a_set_that_grew_or_is_named_otherwise_is_not_looked_into_again(tmp_path, monkeypatch):
    collection = sound(tmp_path)
    check(collection)
    examine, examined = image_file.examine, []
    monkeypatch.setattr(image_file, "examine", lambda path: examined.append(path) or examine(path))
    monkeypatch.chdir(tmp_path)
    relative = tuple(os.path.relpath(path) for path in collection.images.paths)
    check(
        dataclasses.replace(
            collection, images=dataclasses.replace(collection.images, paths=relative)
        )
    )
    (tmp_path / "more").mkdir()
    new = str(tmp_path / "more" / "new.png")
    Image.new("RGB", (5, 5)).save(new)
    images = collection.images
    grown = dataclasses.replace(
        images, paths=(*images.paths, new), labels=np.append(images.labels, images.labels[-1])
    )
    check(dataclasses.replace(collection, images=grown))
    assert examined == [new]
    part = images.take([0, 1])
    check(first_for_training(part, 1))
    check(dataclasses.replace(collection, images=grown))
    assert examined == [new], "a part of the set does not make the rest forgotten"


def test_a_rewritten_file_of_the_same_size_is_seen(tmp_path):
    collection = sound(tmp_path)
    before = check(collection).images.digests
    path = tmp_path / "2.png"
    content = path.read_bytes()
    path.write_bytes((tmp_path / "3.png").read_bytes().ljust(len(content)))
    os.utime(path, ns=(1, 1))
    with_other = check(collection).images.digests
    assert (before != with_other).tolist() == [False, False, True, False, False, False]


def rewrite(path, content):
    path.write_bytes(content)


def replace(path, content):
    (path.parent / "new").write_bytes(content)
    (path.parent / "new").rename(path)


def copy_with_its_times(path, content):
    """As `cp -p` and `rsync -t` do it."""
    rewrite(path.parent / "new", content)
    shutil.copy2(path, path.parent / "old")
    shutil.copy2(path.parent / "new", path)
    shutil.copystat(path.parent / "old", path)


@pytest.mark.parametrize("put", [rewrite, replace, copy_with_its_times])
def test_a_replaced_file_of_equal_size_and_time_is_seen(tmp_path, put):
    collection = sound(tmp_path)
    path, other = tmp_path / "2.png", (tmp_path / "3.png").read_bytes()
    other = other.ljust(path.stat().st_size)
    path.write_bytes(path.read_bytes().ljust(len(other)))
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    before = check(collection).images.digests
    assert (check(collection).images.digests == before).all()
    put(path, other)
    os.utime(path, ns=times)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (len(other), times[1])
    after = check(collection).images.digests
    assert (before != after).tolist() == [False, False, True, False, False, False]


def test_boxes_outside_of_their_image(tmp_path):
    collection = sound(tmp_path)
    boxes = np.tile(np.array([1, 1, 4, 4], np.float32), (6, 1))
    boxes[0], boxes[2], boxes[3] = np.nan, (5, 0, 9, 5), (-3, -3, 1, 1)
    images = dataclasses.replace(collection.images, boxes=boxes)
    with pytest.raises(CorruptImagesError) as raised:
        check(dataclasses.replace(collection, images=images))
    assert [p.reason for p in raised.value.problems] == [
        "has a box outside of its 5 x 5 pixels: 5, 0, 9, 5",
        "is the only image that can be used of class 'c1'",
    ]


def test_a_very_long_list_is_cut(monkeypatch):
    monkeypatch.setattr(sys.modules["mdl_tf.datasets.usable"], "SHOWN", 3)
    error = CorruptImagesError([datasets.Problem(f"{i}.jpg", "is empty") for i in range(9)], 10)
    assert str(error).splitlines()[1:] == [
        *(f"  {i}.jpg: is empty" for i in range(3)),
        "  and 6 more",
    ]
    assert len(error.problems) == 9


def test_links(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png", "beside.png"):
        Image.new("RGB", (5, 5)).save(tmp_path / name)
    (tmp_path / "a" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "b" / "deeper").mkdir()
    (tmp_path / "b" / "deeper" / "around").symlink_to(tmp_path)
    (tmp_path / "b" / "folder.png").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "c")
    (tmp_path / "d").symlink_to(tmp_path / "gone")
    with pytest.warns(UserWarning, match="^3 files or folders below .* left out, such as .*deeper"):
        collection = folder.read(tmp_path)
    assert len(collection.images) == 5
    with pytest.raises(CorruptImagesError) as raised:
        check(collection)
    assert [os.path.relpath(*problem[:1], tmp_path) for problem in raised.value.problems] == [
        "c",
        "d",
        "a/nowhere.png",
    ]
    assert raised.value.problems[0].reason == "is a link that leads nowhere"
    assert str(raised.value).endswith("nowhere.png: is not there")
    assert len(folder.read_any(tmp_path).images) == 6, "the circle is walked once"


def test_digests_and_slow_files_are_marked(tmp_path):
    collection = sound(tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.new("RGB", (4, 4)).save(tmp_path / "2.png", exif=turned)
    images = check(collection).images
    assert images.slow.tolist() == [False, False, True, False, False, False]
    assert len(set(images.digests)) == 6
    part = images.classes([1], "part")
    assert part.slow.tolist() == [True, False]
    assert part.digests.tolist() == images.digests[2:4].tolist()


def test_images_in_memory_are_only_counted():
    labels = np.array([0, 0, 1])
    images = ImageSet("m", labels, ("a", "b"), images=np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(CorruptImagesError) as raised:
        check(Collection(images, ("train", "test")))
    assert "image 2: is the only image that can be used of class 'b'" in str(raised.value)
    kept = check(Collection(images, ("train", "test")), "skip")
    assert (len(kept.images), kept.sides, len(kept.problems)) == (2, ("train",), 1)
    assert len(check(Collection(images, ("train", "test")), singles=True).images) == 3


def test_unknown_choice():
    images = ImageSet("m", np.zeros(2, np.int64), ("a",), images=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError) as raised:
        check(first_for_training(images, 1), "ignore")
    assert str(raised.value) == (
        "`on_corrupt` must be one of ('error', 'skip'). Received: on_corrupt='ignore'"
    )


def test_files_over_two_drives_have_a_memory_too(monkeypatch):
    """As on Windows, where two drives have no path in common."""
    monkeypatch.setattr(usable, "os", types.SimpleNamespace(path=ntpath))
    one, two = usable._name([r"C:\a\1.jpg", r"D:\b\2.jpg"]), usable._name([r"C:\a\1.jpg"])
    assert one != two
    assert one == usable._name([r"D:\b\3.jpg", r"C:\a\2.jpg"]), "a new file finds what is known"
