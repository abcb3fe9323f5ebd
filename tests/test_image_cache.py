"""Cached streams equal cold ones, whatever happens to the cache."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mdl_tf import batches, image_cache, images
from mdl_tf.datasets import ImageSet, check
from mdl_tf.datasets.image_set import first_for_training

SIZE = (16, 16)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Twelve files of different shapes, one turned by EXIF; chunks of five."""
    monkeypatch.setattr(image_cache, "CHUNK", 5)
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


@pytest.mark.parametrize("augment", ["none", "flip", "paper", "modern"])
@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_cached_streams_equal_cold_ones(photographs, tmp_path, augment, cache):
    cold = seen(photographs, augment)
    warm = seen(photographs, augment, cache=cache, cache_dir=tmp_path / "cache")
    assert_same(warm, cold)
    assert len(files_of(tmp_path / "cache")) == (3 if cache == "disk" else 0)


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
    monkeypatch.setattr(images, "decode", decoding_fails)
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
    assert len(files_of(tmp_path / "cache")) == len(files) + 1, "one chunk of three"
    seen(changed, "modern", **options)
    assert len(files_of(tmp_path / "cache")) == len(files) + 4


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "longer"])
def test_a_damaged_chunk_is_made_anew(photographs, tmp_path, damage):
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    expected = seen(photographs, **options)
    chunk = files_of(tmp_path / "cache")[1]
    whole = chunk.read_bytes()
    if damage == "gone":
        chunk.unlink()
    else:
        damaged = {"cut": whole[: len(whole) // 2], "empty": b"", "longer": whole + b"x"}
        chunk.write_bytes(damaged[damage])
    assert_same(seen(photographs, **options), expected)
    assert chunk.read_bytes() == whole


def test_a_kill_keeps_the_chunks_that_are_whole(photographs, tmp_path):
    done = []

    def killed(count, total):
        done.append((count, total))
        if count > 5:
            raise KeyboardInterrupt

    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    with pytest.raises(KeyboardInterrupt):
        seen(photographs, progress=killed, **options)
    assert done == [(5, 12), (10, 12)]
    kept = {path: path.stat().st_mtime_ns for path in files_of(tmp_path / "cache")}
    assert len(kept) == 2
    assert_same(seen(photographs, **options), seen(photographs))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_what_does_not_fit_is_refused(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache, "_memory", lambda: 5000)
    with pytest.raises(ValueError) as raised:
        seen(photographs, cache="ram")
    assert "`cache` 'ram' must fit into memory: 12 images take about 0.0 GB" in str(raised.value)
    usage = type("Usage", (), {"free": 5000})
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError) as raised:
        seen(photographs, cache="disk", cache_dir=tmp_path / "cache")
    assert "`cache` 'disk' must fit on the disk: " in str(raised.value)


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
