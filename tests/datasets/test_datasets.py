"""Data sets: what they hold, how they are split, how they fail."""

import shutil

import numpy as np
import pytest
from PIL import Image

from mdl_tf import datasets
from mdl_tf.datasets import ImageSet, cache, glyphs
from mdl_tf.datasets.image_set import first_for_training
from mdl_tf.datasets.own import folder


def names_of(sets):
    return [set(s.class_names) for s in sets if s is not None]


def assert_disjoint(sets):
    names = names_of(sets)
    assert sum(map(len, names)) == len(set.union(*names))


@pytest.fixture(scope="module")
def all_glyphs():
    return datasets.load("glyphs", validation=0.1)


@pytest.mark.longest
def test_glyphs_are_about_2059_classes_of_12_to_16_images(all_glyphs):
    train, validation, test = all_glyphs
    assert train.num_classes + validation.num_classes == 1000
    assert validation.num_classes == 100
    assert 1000 <= test.num_classes <= 1120
    counts = np.concatenate([np.bincount(s.labels) for s in all_glyphs])
    assert counts.min() >= 12
    assert counts.max() <= 16
    assert_disjoint(all_glyphs)
    for image_set in all_glyphs:
        assert image_set.images.shape == (len(image_set), 32, 32)
        assert image_set.images.dtype == np.uint8
        assert image_set.labels.dtype == np.int64
        lit = (image_set.images > 64).sum(axis=(1, 2))
        assert lit.min() > 0, "no picture is empty"
        # The widest characters at 28 pixels may touch the frame, most do not.
        rim = np.ones((32, 32), bool)
        rim[1:-1, 1:-1] = False
        assert (image_set.images[:, rim] > 200).any(axis=1).mean() < 0.08


def test_of_look_alikes_one_stays():
    characters = glyphs.characters()
    for latin, greek, cyrillic in ("A\u0391\u0410", "O\u039f\u041e", "B\u0392\u0412"):
        assert latin in characters
        assert greek not in characters
        assert cyrillic not in characters
    assert {"ü", "û", "ù"} <= set(characters)
    assert characters == sorted(characters)


def test_glyphs_are_drawn_the_same_each_time_and_anew_for_another_seed():
    first, labels, names = glyphs.render(limit=5)
    again, _, _ = glyphs.render(limit=5)
    other, _, _ = glyphs.render(limit=5, seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(names) == 5
    assert sorted(set(labels)) == list(range(5))


def test_glyphs_are_cached(all_glyphs, monkeypatch):
    monkeypatch.setattr(glyphs, "render", lambda **_: pytest.fail("drawn again"))
    again = datasets.load("glyphs", validation=0.1)
    np.testing.assert_array_equal(again[2].images, all_glyphs[2].images)


@pytest.mark.parametrize("damage", ["cut", "empty", "garbled", "text"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    path = tmp_path / "made.npz"
    made = []

    def make():
        made.append(1)
        return {"a": np.random.default_rng(0).integers(0, 9, 5000)}

    expected = cache.cached_arrays(path, make)["a"]
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:middle],
            "empty": b"",
            "garbled": whole[: middle - 40] + bytes(80) + whole[middle + 40 :],
            "text": b"hello",
        }[damage]
    )
    np.testing.assert_array_equal(cache.cached_arrays(path, make)["a"], expected)
    assert len(made) == 2
    np.testing.assert_array_equal(cache.cached_arrays(path, make)["a"], expected)
    assert len(made) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["made.npz"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    arrays = cache.cached_arrays(blocked / "made.npz", lambda: {"a": np.arange(3)})
    np.testing.assert_array_equal(arrays["a"], np.arange(3))


def test_digits():
    train, validation, test = datasets.load("digits", validation=0.4)
    assert names_of([test]) == [set("56789")]
    assert set.union(*names_of([train, validation])) == set("01234")
    assert len(train) + len(validation) + len(test) == 1797
    assert (test.images.max(), test.images.dtype) == (255, np.uint8)


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for number, name in enumerate(["Zürich tram", "apple", "été 2024", "日本", "b c", "ñandú"]):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = rng.integers(0, 256, (9 + i, 12, 3), np.uint8)
            suffix = (".jpg", ".PNG", ".jpeg")[i]
            Image.fromarray(pixels).save(tmp_path / name / f"bild {number} {i} é{suffix}")
    return tmp_path


def test_folder_of_images_with_spaces_and_any_letters(photographs):
    (photographs / "apple" / "._bild 0.jpg").write_bytes(b"macOS")
    (photographs / ".hidden").mkdir()
    (photographs / "readme.txt").write_text("not a class")
    train, validation, test = datasets.load("folder", data_dir=photographs, validation=0)
    assert validation is None
    everything = sorted(["Zürich tram", "apple", "été 2024", "日本", "b c", "ñandú"])
    assert list(train.class_names + test.class_names) == everything
    assert np.bincount(train.labels).tolist() == [3, 3, 3]
    from mdl_tf import batches

    images = [x for x, _ in batches.ordered(test, 4, (16, 16))]
    assert sum(len(x) for x in images) == 9
    whole = datasets.load_all("folder", data_dir=photographs)
    assert (len(whole), whole.num_classes) == (18, 6)


def test_files_of_other_kinds_are_counted_in_a_warning(photographs):
    (photographs / "apple" / "notes.txt").write_text("x")
    (photographs / "apple" / "clip.mp4").write_bytes(b"x")
    with pytest.warns(
        UserWarning, match="^2 files or folders below .* were left out, such as .*clip|notes"
    ):
        assert len(folder.read(photographs).images) == 18


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: p / "nowhere", "`data_dir` must be a folder that exists. Received: data_dir="),
        (lambda p: None, "`data_dir` must be the folder of your images. Received: data_dir=None"),
        (lambda p: (p / "apple" / "x").mkdir() or p / "apple" / "x", "no subfolders"),
        (lambda p: (p / "empty").mkdir() or p, "/empty: holds no images"),
    ],
)
def test_folders_that_are_none(photographs, prepare, message):
    with pytest.raises(ValueError) as raised:
        datasets.load("folder", data_dir=prepare(photographs))
    assert message in str(raised.value)


def test_unknown_name():
    with pytest.raises(ValueError) as raised:
        datasets.load("cub")
    assert str(raised.value) == (
        "`name` must be one of ['cars196', 'csv', 'cub200', 'digits', 'folder', 'glyphs', "
        "'inshop', 'npz', 'sop'] or 'tfds:NAME'. Received: name='cub'"
    )


def small_set(classes):
    labels = np.repeat(np.arange(classes), 2)
    names = tuple(f"c{i}" for i in range(classes))
    return ImageSet("small", labels, names, images=np.zeros((2 * classes, 4, 4), np.uint8))


def test_split_draws_validation_by_seed_and_keeps_ids_contiguous():
    splits = [first_for_training(small_set(40), 30).split(0.2, seed) for seed in (0, 0, 1)]
    assert splits[0][1].class_names == splits[1][1].class_names != splits[2][1].class_names
    for sets in splits:
        assert [s.num_classes for s in sets] == [24, 6, 10]
        assert_disjoint(sets)
        for image_set in sets:
            np.testing.assert_array_equal(
                np.unique(image_set.labels), np.arange(image_set.num_classes)
            )


def test_a_random_half_is_drawn_by_seed_and_name(tmp_path):
    for c in range(21):
        (tmp_path / f"c{c:02d}").mkdir()
        for i in range(2):
            Image.new("RGB", (4, 4), (c, i, 0)).save(tmp_path / f"c{c:02d}" / f"{i}.png")

    def test_classes(**options):
        sets = datasets.load("folder", data_dir=tmp_path, validation=0.2, **options)
        assert [s.num_classes for s in sets] == [9, 2, 10]
        assert_disjoint(sets)
        return set(sets[2].class_names)

    by_name = {f"c{c:02d}" for c in range(11, 21)}
    assert test_classes() == test_classes(split_seed=1) == by_name
    drawn = [test_classes(split_by="random", split_seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert by_name not in drawn
    # The draw of validation is another one.
    assert test_classes(split_by="random", seed=5) == drawn[0]
    # A class that goes moves one at most.
    shutil.rmtree(tmp_path / min(drawn[0]))
    left = datasets.load("folder", data_dir=tmp_path, split_by="random", validation=0)[2]
    assert len(drawn[0] - {min(drawn[0])} - set(left.class_names)) <= 1


def test_folds_of_a_random_half_are_disjoint():
    collection = first_for_training(small_set(40), 30, by_names=True).at_random(3)
    tests, seen = set(), []
    for fold in (1, 2, 3):
        sets = collection.split(folds=3, fold=fold)
        assert_disjoint(sets)
        tests.add(sets[2].class_names)
        seen += sets[1].class_names
    assert len(tests) == 1 and len(seen) == len(set(seen)) == 30
    assert tests != {first_for_training(small_set(40), 30).split()[2].class_names}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"split_by": "random"},
            "`split_by` may be 'random' for data without a split of their own ",
        ),
        (
            {"split_by": "name"},
            "`split_by` must be one of ('names', 'random'). Received: split_by=",
        ),
    ],
)
def test_data_with_a_split_of_their_own_keep_it(options, message):
    with pytest.raises(ValueError) as raised:
        datasets.load("digits", **options)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("classes", "train", "validation", "message"),
    [
        (6, 3, 0.1, "of which 1 would be for training, 2 for validation, 3 for the test"),
        (3, 2, 0, "2 would be for training, 0 for validation, 1 for the test"),
        (10, 5, 1.0, "`validation` must be a number, at least 0 and below 1"),
        (10, 5, -0.1, "Received: validation=-0.1"),
    ],
)
def test_sets_too_small_to_split(classes, train, validation, message):
    with pytest.raises(ValueError) as raised:
        first_for_training(small_set(classes), train).split(validation)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": np.zeros((2, 4, 4), np.uint8)}, "Received: 3 labels, 2 images"),
        ({"images": None}, "Exactly one of `images`, `paths` and `features`"),
        ({"class_names": ("a", "b", "c")}, "Received: 2 distinct labels, 3 class names"),
    ],
)
def test_image_sets_that_do_not_fit_together(arguments, message):
    whole = {
        "labels": np.array([0, 1, 1]),
        "class_names": ("a", "b"),
        "images": np.zeros((3, 4, 4), np.uint8),
    }
    with pytest.raises(ValueError) as raised:
        ImageSet("broken", **{**whole, **arguments})
    assert message in str(raised.value)
