"""Damaged files of runs and comparisons: one line says which, what is wrong, and what to do."""

import json
import shutil

import pytest
from helpers import slow_but, tiny

from mdl_tf.runs import Run

DEEP = b"[" * 100_000 + b"]" * 100_000
# What may have happened to a file; `None`: a folder is in its place.
ANY = {"empty": b"", "not UTF-8": b"\xff\xfe{}", "a folder": None}
JSON = {
    "no JSON": b'{"a": ',
    "a list": b"[]",
    "no keys": b"{}",
    "a text": b'"text"',
    "a number": b"3",
    "not a number": b'{"epochs_done": NaN}',
    "infinity": b'{"a": 1e400}',
    "400 digits": b'{"a": ' + b"9" * 400 + b"}",
    "deep": DEEP,
}
# Keys of a file, and values that they cannot have.
WRONG = {
    "config.json": {"epochs": "x", "seed": -1, "loss_args": [], "version": "9.9.9", "backbone": 3},
    "resume/state.json": {
        "epochs_done": "2",
        "checkpoint": "../../elsewhere.keras",
        "history": [{"epoch": "1", "loss": "x"}],
        "stopped": 1,
        "best": {},
        "last": [],
    },
    "classes.json": {"train": "a", "test": [1]},
    "metrics.json": {"untrained": 3, "trained": {"recall_at_1": "x"}},
    "resume/images.json": {"train": None, "test": "x"},
    "resume/head.json": {"kind": 3, "scores": []},
    "timing.json": {"training": "long"},
}
TRIAL = "trials/triplet/seed-1.json"
WRONG_OF_COMPARISON = {
    "compare.json": {"losses": "triplet", "search": -1, "config": {"epochs": "x"}},
    "data.json": {"train": 3, "digest": None},
    "raw.json": {"recall_at_1": "x"},
    TRIAL: {"config": [], "value": "x", "failed": 1, "history": 3, "metrics": None, "settings": {}},
    "untrained/seed-1.json": {"map_at_r": None},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run and a comparison that are done."""
    folder = tmp_path_factory.mktemp("damage")
    features = tiny.write_features(folder / "f.npz")
    assert tiny.train(features, folder / "runs", "r")[0] == 0
    assert tiny.compare(features, folder / "runs", "c")[0] == 0
    return folder


def edits(path, wrong):
    """What can be wrong with a file: a name, and its content."""
    yield from ANY.items()
    yield "cut off", path.read_bytes()[: path.stat().st_size // 2]
    if path.suffix == ".json":
        yield from JSON.items()
        kept = json.loads(path.read_bytes())
        for key, value in wrong.items():
            yield f"no {key}", json.dumps({k: v for k, v in kept.items() if k != key}).encode()
            yield f"{key}={value}", json.dumps({**kept, key: value}).encode()


def damage(path, content):
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def refusals(whole, folder, name, wrong, command):
    """How many edits were refused, after every refusal was looked at; the others do no harm."""
    source = whole / "runs" / folder
    count = harmless = 0
    for edit, content in edits(source / name, wrong):
        copy = whole / "copies" / folder
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        damage(copy / name, content)
        code, _, err = command(copy)
        lines = [line for line in err.splitlines() if not line.startswith("Kept so far")]
        if code == 0:
            harmless += 1
            continue
        assert code == 2, (edit, err)
        assert len(lines) == 1 and name in err and len(err) < 2000, (edit, err)
        count += 1
    return count, harmless


def resume(copy):
    return tiny.call("train", "--resume", copy)


# One of them says whether refusing works; that of the settings takes half a minute.
@pytest.mark.parametrize("name", slow_but({"classes.json"}, WRONG, ("config.json",)))
def test_json_of_a_run(name, whole):
    count, harmless = refusals(whole, "r", name, WRONG[name], resume)
    assert count >= 13 and harmless <= 2


@pytest.mark.parametrize(
    "name, value",
    [
        *((name, None) for name in ("learning_rate", "image_size", "embedding_dim", "batch_norm")),
        ("augment", None),
        ("head", "auto"),
    ],
)
def test_what_training_has_settled_must_be_there(name, value, whole, tmp_path):
    copy = shutil.copytree(whole / "runs" / "r", tmp_path / "r")
    kept = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**kept, name: value}))
    code, _, err = resume(copy)
    assert code == 2 and f"has no value of `{name}`, which training settles" in err


@pytest.mark.parametrize("name", ["model.keras", "resume/epoch-0002.keras"])
def test_models_of_a_run(name, whole):
    count, harmless = refusals(whole, "r", name, {}, resume)
    assert (count, harmless) == (4, 0)


@pytest.mark.longest
@pytest.mark.parametrize("name", WRONG_OF_COMPARISON)
def test_json_of_a_comparison(name, whole):
    def again(copy):
        return tiny.compare(whole / "f.npz", copy.parent, "c")

    count, harmless = refusals(whole, "c", name, WRONG_OF_COMPARISON[name], again)
    assert count >= 13 and harmless <= 2


@pytest.mark.longest
@pytest.mark.parametrize("name", ["config.json", "history.csv", "model.keras", "metrics.json"])
def test_the_doctor_says_it_too(name, whole):
    def examine(copy):
        return tiny.call("doctor", copy)

    count, _ = refusals(whole, "r", name, {}, examine)
    assert count >= 2


def test_distances_that_are_lost_cost_the_picture_alone(whole):
    for content in (None, b"", b"PK"):
        copy = whole / "copies" / "r"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole / "runs" / "r", copy)
        damage(copy / "resume/distances_untrained.npz", content)
        code, out, _ = resume(copy)
        assert code == 0
        assert "distances.png shows the trained model alone" in out


def test_a_run_that_has_lost_its_state_is_left_as_it_is(whole):
    copy = whole / "copies" / "r"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole / "runs" / "r", copy)
    (copy / "resume/state.json").unlink()
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    code, _, err = resume(copy)
    assert code == 2
    assert err.startswith("mdl-tf: error: The run must have its resume/state.json to go on")
    assert f"mdl-tf train --resume {copy} --restart" in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_restart_begins_again_and_keeps_what_was_there(whole, tmp_path):
    copy = whole / "copies" / "r"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole / "runs" / "r", copy)
    (copy / "resume/state.json").write_text("{")
    model = (copy / "model.keras").read_bytes()
    code, out, _ = tiny.call("train", "--resume", copy, "--restart")
    assert code == 0 and f"What this run had is kept in {copy / 'earlier-1'}." in out
    assert (copy / "earlier-1/model.keras").read_bytes() == model
    assert Run(copy).epochs_done == 2
    # Nothing is moved for a start that fails.
    features = (whole / "f.npz").rename(tmp_path / "gone.npz")
    assert tiny.call("train", "--restart", copy)[0] == 2
    assert not (copy / "earlier-2").exists() and (copy / "model.keras").is_file()
    features.rename(whole / "f.npz")


def test_a_finished_run_says_so(whole):
    code, out, _ = resume(whole / "runs/r")
    assert code == 0 and "This run is already finished, with 2 epochs: nothing is trained" in out


def test_other_data_are_not_measured_into_the_same_table(whole, tmp_path):
    copy = whole / "copies" / "r"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole / "runs" / "r", copy)
    kept = (whole / "f.npz").read_bytes()
    tiny.write_features(whole / "f.npz", seed=1)
    try:
        code, _, err = resume(copy)
        assert code == 2 and "Received: as many images, but others" in err
        # Before the first epoch everything is measured again, on what is there.
        state = json.loads((copy / "resume/state.json").read_text())
        state = {**state, "epochs_done": 0, "history": [], "checkpoint": None}
        (copy / "resume/state.json").write_text(json.dumps(state))
        before = json.loads((copy / "metrics.json").read_text())
        assert resume(copy)[0] == 0
        after = json.loads((copy / "metrics.json").read_text())
        assert tiny.train(whole / "f.npz", tmp_path, "new")[0] == 0
        new = json.loads((tmp_path / "new/metrics.json").read_text())
        assert after == new != before
    finally:
        (whole / "f.npz").write_bytes(kept)


@pytest.mark.longest
def test_a_comparison_begins_again(whole):
    copy = whole / "copies" / "c"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole / "runs" / "c", copy)
    (copy / "compare.json").write_text("{")
    code, out, err = tiny.compare(whole / "f.npz", copy.parent, "c", "--restart")
    assert code == 0, err
    assert f"What this comparison had is kept in {copy / 'earlier-1'}." in out
    assert (copy / "earlier-1/compare.json").read_text() == "{"
    assert (copy / "earlier-1" / TRIAL).is_file() and (copy / TRIAL).is_file()
