"""Killed at every write: what is there is whole, and what goes on equals what was not killed."""

import hashlib
import itertools
import json
import sys

import numpy as np
import pytest
from helpers import tiny
from helpers.faults import WHEN, kill_process_at, killed_at
from helpers.models import average_colour
from PIL import Image

from mdl_tf import load_model, search
from mdl_tf.datasets import ImageSet
from mdl_tf.datasets.own import csv_file, index
from mdl_tf.files import UNFINISHED
from mdl_tf.images import cache, views
from mdl_tf.reading import read_arrays, read_json

FOLDS = ["--backbone", "none", "--steps-per-epoch", "2", "--classes-per-batch", "3"]
FOLDS += ["--images-per-class", "3", "--no-clustering", "--epochs", "1", "--no-tensorboard"]
FOLDS += ["--folds", "2", "--head", "pca", "--embedding-dim", "4", "--learning-rate", "0.03"]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tiny.write_features(tmp_path_factory.mktemp("faults") / "f.npz")


def training(features, folder, *settings):
    """The arguments of a training, and those of the next try after a kill."""
    given = ["--dataset", "npz", "--data-dir", features, "--runs-dir", folder, "--name", "r"]
    first = ["train", *given, *settings]
    begun = (folder / "r" / "config.json").is_file()
    return first, ["train", "--resume", folder / "r"] if begun else first


def comparing(features, folder):
    given = ["--dataset", "npz", "--data-dir", features, "--runs-dir", folder, "--name", "r"]
    return (["compare", *given, *tiny.COMPARE],) * 2


def results(run):
    """Numbers, models and history of a run or comparison, without what time tells."""
    found = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = str(path.relative_to(run))
        if path.name in ("history.csv", "calibration.json"):
            found[name] = path.read_bytes()
        elif path.name == "metrics.json" or "untrained" in path.parts or path.name == "raw.json":
            found[name] = read_json(path)
        elif path.suffix == ".keras" and "resume" not in path.parts:
            weights = load_model(path, compile=False).get_weights()
            found[name] = [weight.tobytes() for weight in weights]
        elif path.parent.parent.name == "trials":
            trial = read_json(path)
            timed = ("seconds", "seconds_per_step", "machine")
            found[name] = {key: trial[key] for key in trial if key not in timed}
    return found


def is_whole(run):
    """Every file that has its name can be read, and history and state tell of equal epochs."""
    for path in run.rglob("*"):
        if path.name.startswith(UNFINISHED):
            continue
        if path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".npz":
            read_arrays(path)
        elif path.suffix == ".keras":
            load_model(path, compile=False)
    for state in run.rglob("state.json"):
        done = json.loads(state.read_text())["epochs_done"]
        history = state.parent.parent / "history.csv"
        rows = history.read_text().splitlines()[2:] if history.is_file() else []
        assert len(rows) in (done, done + 1)
    return True


def unharmed(features, tmp_path, arguments, step, first=1, looks=results):
    """Kill a command at every `step`th write, before and after; how many kills there were."""
    whole = tmp_path / "whole"
    assert tiny.call(*arguments(features, whole)[0])[0] == 0
    expected, kills = looks(whole / "r"), 0
    for number in itertools.count(first, step):
        ended = False
        for when in WHEN:
            folder = tmp_path / f"{number}-{when}"
            with killed_at(number, when, folder) as written:
                tiny.call(*arguments(features, folder)[0])
            ended = len(written) < number
            if ended:
                break
            kills += 1
            assert is_whole(folder / "r"), written
            code, _, err = tiny.call(*arguments(features, folder)[1])
            assert code == 0, (written, err)
            assert looks(folder / "r") == expected, written
            assert not list((folder / "r").rglob(UNFINISHED + "*"))
        if ended:
            return kills


def of_training(features, folder):
    return training(features, folder, *tiny.TRAIN)


def of_folds(features, folder):
    return training(features, folder, *FOLDS)


@pytest.mark.longest
def test_a_training_at_some_of_its_writes(features, tmp_path):
    assert unharmed(features, tmp_path, of_training, step=9) >= 4


# In parts, which the workers share.
@pytest.mark.longest
@pytest.mark.parametrize("first", [1, 2])
def test_a_training_at_every_write(first, features, tmp_path):
    assert unharmed(features, tmp_path, of_training, 2, first) >= 20


@pytest.mark.longest
@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_folds_at_every_write(first, features, tmp_path):
    assert unharmed(features, tmp_path, of_folds, 4, first) >= 15


@pytest.mark.longest
@pytest.mark.parametrize("first", range(1, 7))
def test_a_comparison_at_every_write(first, features, tmp_path):
    assert unharmed(features, tmp_path, comparing, 6, first) >= 6


@pytest.mark.longest
@pytest.mark.parametrize("arguments", [of_training, of_folds, comparing], ids=lambda f: f.__name__)
def test_real_processes(arguments, features, tmp_path):
    """`kill -9`, with no `finally` of Python's: locks, half-written files, temporary names."""
    whole = tmp_path / "whole"
    with killed_at(sys.maxsize, "before", whole) as written:
        assert tiny.call(*arguments(features, whole)[0])[0] == 0
    expected = results(whole / "r")
    assert len(written) >= 15, written
    # How many writes there are is the command's affair; the last one ends it.
    numbers = np.linspace(1, len(written) - 1, 7).astype(int)
    for number, when in zip(numbers, itertools.cycle(WHEN)):  # noqa: B905
        folder = tmp_path / f"{number}"
        assert kill_process_at(number, when, folder, *arguments(features, folder)[0])
        assert is_whole(folder / "r")
        code, _, err = tiny.call(*arguments(features, folder)[1])
        assert code == 0, (number, when, err)
        assert results(folder / "r") == expected, (number, when)
        assert not list((folder / "r").rglob(UNFINISHED + "*"))


def write_photos(folder):
    for i in range(4):
        place = folder / f"class {i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (60 * i, 0, 0)).save(place / f"{i}.png")
    return folder


def test_vectors_are_the_old_or_the_new_ones(tmp_path):
    photos, model = write_photos(tmp_path / "photos"), tmp_path / "model.keras"
    average_colour().save(model)
    output = tmp_path / "out" / "v.npz"
    search.embed_images(str(model), photos).save(output)
    old = read_arrays(output)
    Image.new("RGB", (20, 20), (0, 99, 0)).save(photos / "class 0" / "9.png")
    for when, count in zip(WHEN, (4, 5), strict=True):
        with killed_at(1, when, output.parent):
            search.embed_images(str(model), photos).save(output)
        assert len(search.Vectors.load(output)) == count
        if count == 4:
            new = read_arrays(output)
            assert all(np.array_equal(old[key], new[key]) for key in old)
    # What `kill -9` leaves: a temporary name that nobody has a lock on.
    begin = hashlib.sha256(output.name.encode()).hexdigest()[:8]
    (output.parent / f"{UNFINISHED}{begin}-{'0' * 16}.npz").write_bytes(b"half")
    search.embed_images(str(model), photos).save(output)
    assert [path.name for path in output.parent.iterdir()] == ["v.npz"]


def test_the_cache_goes_on_where_it_was_killed(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    image_set = ImageSet("a", np.zeros(6, np.int64), ("a",), images=images)
    view = views.view("none", (8, 8))
    decoded = []

    def decode(indices):
        decoded.extend(indices.tolist())
        return iter(images[indices])

    for number, when in itertools.product(range(1, 7), WHEN):
        folder = tmp_path / f"{number}-{when}"
        with killed_at(number, when, folder):
            cache.cached(image_set, view, decode, "disk", folder)
        decoded.clear()
        read = cache.cached(image_set, view, decode, "disk", folder)
        assert len(decoded) == 6 - number + (when == "before")
        assert all(np.array_equal(read(i), images[i]) for i in range(6))


def test_an_extraction_is_complete_or_not_there(tmp_path):
    examples = [index.Example(f"{i}.png", b"png", str(i % 2)) for i in range(4)]
    for number, when in itertools.product((1, 2), WHEN):
        folder = tmp_path / f"{number}-{when}" / "data"
        with killed_at(number, when, folder.parent):
            index.write(folder, examples)
        if folder.exists():
            assert len(csv_file.read(folder / index.INDEX).images) == 4
        else:
            assert len(csv_file.read(index.write(folder, examples)).images) == 4
        assert [path.name for path in folder.parent.iterdir()] == ["data"]
