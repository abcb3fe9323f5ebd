"""Cached streams equal cold ones, whatever happens to the cache."""

import dataclasses
import errno
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers import slow_but
from PIL import Image

from mdl_tf import batches
from mdl_tf.checks import AUGMENTATIONS
from mdl_tf.datasets import ImageSet, check
from mdl_tf.datasets.image_set import first_for_training
from mdl_tf.files import locked
from mdl_tf.images import cache as image_cache
from mdl_tf.images import views

SIZE = (16, 16)


@pytest.fixture
def photographs(tmp_path):
    """Twelve files of different shapes, one turned by EXIF."""
    rng = np.random.default_rng(0)
    paths = []
    turned = Image.Exif()
    turned[0x0112] = 6
    for i in range(12):
        pixels = rng.integers(0, 256, (20 + i, 30 - i, 3), np.uint8)
        paths.append(str(tmp_path / f"{i}.jpg"))
        Image.fromarray(pixels).save(paths[-1], exif=turned if i == 3 else Image.Exif())
    image_set = ImageSet(
        "photographs", np.repeat(np.arange(3), 4), ("a", "b", "c"), paths=tuple(paths)
    )
    return check(first_for_training(image_set, 1)).images


def seen(image_set, augment="paper", **options):
    """Three training batches, and all images in order."""
    train = batches.balanced(image_set, 2, 2, SIZE, augment, seed=1, **options).take(3)
    test = batches.ordered(image_set, 5, SIZE, augment, **options)
    return [x.numpy() for x, _ in train] + [x.numpy() for x, _ in test]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("augment", slow_but(("none", "crop", "modern"), AUGMENTATIONS))
@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_cached_streams_equal_cold_ones(photographs, tmp_path, augment, cache):
    cold = seen(photographs, augment)
    warm = seen(photographs, augment, cache=cache, cache_dir=tmp_path / "cache")
    assert_same(warm, cold)
    assert len(files_of(tmp_path / "cache")) == (12 if cache == "disk" else 0)


def test_boxes_and_memory_images_are_cached_too(photographs, tmp_path):
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    boxes = np.tile(np.array([2, 3, 12, 17], np.float32), (12, 1))
    cut = dataclasses.replace(photographs, boxes=boxes)
    whole, part = seen(photographs, **options), seen(cut, **options)
    assert_same(part, seen(cut))
    assert not np.array_equal(part[0], whole[0])
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 9), np.uint8)
    memory = ImageSet("memory", photographs.labels, photographs.class_names, images=pixels)
    assert_same(seen(memory, **options), seen(memory))


def decoding_fails(*_):
    raise AssertionError("decoded again")


def test_the_next_run_finds_the_files_also_moved(photographs, tmp_path, monkeypatch):
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    first = seen(photographs, **options)
    (tmp_path / "elsewhere").mkdir()
    moved = []
    for path in photographs.paths:
        moved.append(str(tmp_path / "elsewhere" / path.rsplit("/")[-1]))
        tf.io.gfile.rename(path, moved[-1])
    monkeypatch.setattr(views, "decode", decoding_fails)
    again = dataclasses.replace(photographs, paths=tuple(moved))
    assert_same(seen(again, **options), first)


def test_a_changed_file_or_setting_is_decoded_anew(photographs, tmp_path):
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    before = seen(photographs, **options)
    files = files_of(tmp_path / "cache")
    Image.fromarray(np.full((20, 20, 3), 7, np.uint8)).save(photographs.paths[6])
    changed = check(first_for_training(dataclasses.replace(photographs, slow=None), 1)).images
    after = seen(changed, **options)
    assert_same(after, seen(changed))
    assert not np.array_equal(before[-2], after[-2])
    assert len(files_of(tmp_path / "cache")) == len(files) + 1, "one image of twelve"
    seen(changed, "modern", **options)
    assert len(files_of(tmp_path / "cache")) == len(files) + 13


def test_a_file_that_is_replaced_on_the_way_is_never_kept_under_its_old_name(photographs, tmp_path):
    Image.fromarray(np.full((20, 20, 3), 7, np.uint8)).save(photographs.paths[6])
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    with pytest.raises(ValueError) as raised:
        seen(photographs, **options)
    assert str(raised.value) == (
        "Image files must stay as they are while they are used; begin again, and what is there now "
        f"is taken. Received: {photographs.paths[6]}, which has been replaced"
    )
    assert len(files_of(tmp_path / "cache")) == 6
    changed = check(first_for_training(photographs, 1)).images
    assert_same(seen(changed, **options), seen(changed))


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "longer"])
def test_a_damaged_file_is_made_anew(photographs, tmp_path, damage):
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    expected = seen(photographs, **options)
    kept_file = files_of(tmp_path / "cache")[1]
    whole = kept_file.read_bytes()
    if damage == "gone":
        kept_file.unlink()
    else:
        damaged = {"cut": whole[: len(whole) // 2], "empty": b"", "longer": whole + b"x"}
        kept_file.write_bytes(damaged[damage])
    assert_same(seen(photographs, **options), expected)
    assert kept_file.read_bytes() == whole


def test_a_kill_keeps_the_images_that_are_done(photographs, tmp_path, monkeypatch):
    pack, packed = image_cache._packed, []

    def killed(image):
        packed.append(1)
        if len(packed) == 8:
            raise KeyboardInterrupt
        return pack(image)

    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    monkeypatch.setattr(image_cache, "_packed", killed)
    with pytest.raises(KeyboardInterrupt):
        seen(photographs, **options)
    monkeypatch.setattr(image_cache, "_packed", pack)
    kept = {path: path.stat().st_mtime_ns for path in files_of(tmp_path / "cache")}
    assert len(kept) == 7
    steps = []
    assert_same(
        seen(photographs, progress=lambda *done: steps.append(done), **options), seen(photographs)
    )
    assert steps[0] == (12, 12)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_what_does_not_fit_is_refused(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache.checks, "memory_limit", lambda: 5000)
    with pytest.raises(ValueError) as raised:
        seen(photographs, cache="ram")
    assert "`cache` 'ram' must fit into memory: 12 images take about 0.0 GB" in str(raised.value)
    usage = type("Usage", (), {"free": 5000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError) as raised:
        seen(photographs, cache="disk", cache_dir=tmp_path / "cache")
    assert "`cache` 'disk' must fit on the disk: " in str(raised.value)


def test_only_what_is_missing_has_to_fit(photographs, tmp_path, monkeypatch):
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    seen(photographs, **options)
    for path in files_of(tmp_path / "cache")[:5]:
        path.unlink()
    # Five images of 18 x 18 at most are missing, 4,860 bytes; all twelve would take 11,664.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("U", (), {"free": 5000}))
    seen(photographs, **options)


def test_a_file_marked_slow_has_another_name(photographs, tmp_path):
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    turned = seen(photographs, **options)
    quick = dataclasses.replace(photographs, slow=np.zeros(12, bool))
    assert not np.array_equal(seen(quick, **options)[-3], turned[-3])
    assert len(files_of(tmp_path / "cache")) == 13


def test_leftovers_are_removed_and_what_is_being_written_stays(photographs, tmp_path):
    (tmp_path / "cache" / "ab").mkdir(parents=True)
    left, held = (tmp_path / "cache" / "ab" / f".unfinished-{16 * c}" for c in "0f")
    left.touch()
    with locked(held):
        seen(photographs, cache="disk", cache_dir=tmp_path / "cache")
    assert not left.exists() and held.exists()


def test_a_folder_that_cannot_be_written(photographs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError) as raised:
        seen(photographs, cache="disk", cache_dir=tmp_path / "file")
    assert "`cache_dir` must be a folder that can be written" in str(raised.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_is_full_on_the_way(photographs, tmp_path, monkeypatch, number):
    options, replace = {"cache": "disk", "cache_dir": tmp_path / "cache"}, os.replace

    def fail(source, target):
        if len(files_of(tmp_path / "cache")) > 5:
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ValueError) as raised:
        seen(photographs, **options)
    message = str(raised.value)
    assert "with room: 1.17e-05 GB for 12 images. What is decoded is kept, and the" in message
    assert os.strerror(number) in message and str(tmp_path / "cache") in message
    monkeypatch.undo()
    assert len(files_of(tmp_path / "cache")) == 5
    assert_same(seen(photographs, **options), seen(photographs))


def test_unknown_cache(photographs):
    with pytest.raises(ValueError) as raised:
        seen(photographs, cache="gpu")
    assert str(raised.value) == (
        "`cache` must be one of ('none', 'ram', 'disk'). Received: cache='gpu'"
    )


def test_features_pass_as_they_are():
    features = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
    image_set = ImageSet("f", np.repeat(np.arange(3), 4), ("a", "b", "c"), features=features)
    found = [x.numpy() for x, _ in batches.ordered(image_set, 5)]
    np.testing.assert_array_equal(np.concatenate(found), features)
    plan = batches.BalancedPlan(image_set.labels, 2, 2, seed=4)
    batch, labels = next(iter(batches.balanced(image_set, 2, 2, seed=4)))
    np.testing.assert_array_equal(batch, features[plan.batch(0)])
    np.testing.assert_array_equal(labels, image_set.labels[plan.batch(0)])
    with pytest.raises(ValueError) as raised:
        batches.ordered(image_set, augment="paper")
    assert "`augment` must be None for features" in str(raised.value)
