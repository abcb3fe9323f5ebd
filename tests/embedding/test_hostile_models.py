"""Model files that are damaged or hostile: refused before anything of them is built or run."""

import base64
import json
import marshal
import os
import stat
import zipfile

import keras
import pytest
from helpers.models import average_colour

from mdl_tf import load_model
from mdl_tf.backbones.safe_layers import refuse_unsafe


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "whole.keras"
    average_colour().save(path)
    return path


@pytest.fixture
def unbuilt(monkeypatch):
    """Nothing may come as far as to be built."""

    def build(*arguments, **options):
        raise AssertionError("Keras was asked to build it")

    monkeypatch.setattr(keras.saving, "load_model", build)


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def with_part(whole, path, part):
    """The model with one more layer in its config, as a hostile file has it."""
    contents = members(whole)
    config = json.loads(contents["config.json"])
    config["config"]["layers"].append({"name": "evil", "inbound_nodes": [], **part})
    return write(path, {**contents, "config.json": json.dumps(config)})


def layer(name, module="keras.layers", **config):
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


CODE = base64.b64encode(marshal.dumps(compile("import os; os.mkdir('ran')", "", "exec"))).decode()
PARTS = {
    "lambda": (
        layer("Lambda", function={"class_name": "__lambda__", "config": {"code": CODE}}),
        "has a Lambda, which runs code of the file",
    ),
    "lambda of a name": (layer("Lambda", function="relu"), "has a Lambda"),
    "lambda registered": (
        {**layer("Harmless"), "registered_name": "keras.src.layers>Lambda"},
        "has a Lambda",
    ),
    "code alone": (layer("Dense", activation={"class_name": "__lambda__"}), "has a __lambda__"),
    "another model": (
        layer("TFSMLayer", filepath="/tmp/evil"),
        "has a TFSMLayer, which loads another model",
    ),
    "a pickle": (layer("TorchModuleWrapper", module="gASV"), "has a TorchModuleWrapper"),
    "jax": (layer("JaxLayer", call_fn={}), "has a JaxLayer"),
    "a file of words": (
        layer("StringLookup", vocabulary="/etc/passwd"),
        "has a StringLookup that reads another file, vocabulary='/etc/passwd'",
    ),
    "inside another layer": (
        layer("TimeDistributed", layer=layer("TFSMLayer", filepath="x")),
        "has a TFSMLayer",
    ),
    "a function that fetches": (
        layer(
            "Dense",
            activation={
                "module": "keras.utils",
                "class_name": "function",
                "config": "get_file",
                "registered_name": "function",
            },
        ),
        "has 'function' of keras.utils, which makes no network",
    ),
    "a function that unlocks": (
        layer("enable_unsafe_deserialization", "keras.config"),
        "has 'enable_unsafe_deserialization' of keras.config",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_layers_that_run_code_or_open_files(name, whole, tmp_path, monkeypatch, unbuilt):
    part, reason = PARTS[name]
    monkeypatch.chdir(tmp_path)
    path = with_part(whole, tmp_path / "evil.keras", part)
    before = sorted(os.listdir())
    with pytest.raises(ValueError) as raised:
        load_model(path)
    assert reason in str(raised.value) and str(path) in str(raised.value)
    assert str(raised.value).count("\n") == 0
    assert sorted(os.listdir()) == before


def hostile_files(whole, folder):
    """Files that are no whole model, and what is said of each."""
    contents, raw = members(whole), whole.read_bytes()
    without = {k: v for k, v in contents.items() if k != "model.weights.h5"}
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    (folder / "folder.keras").mkdir()
    os.mkfifo(folder / "pipe.keras")
    files = {
        "empty": (b"", "is no complete .keras file"),
        "text": (b"not a model", "is no complete .keras file"),
        "cut": (raw[: len(raw) // 2], "is no complete .keras file"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "is HDF5"),
    }
    for name, (content, reason) in files.items():
        (folder / f"{name}.keras").write_bytes(content)
        yield folder / f"{name}.keras", reason
    (folder / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    yield folder / "model.h5", "is HDF5"
    yield folder / "pipe.keras", "is a pipe or a device"
    archives = {
        "no weights": (without, "has no model.weights.h5"),
        "outside": ({**contents, "../evil": b"x"}, "has the member '../evil', which leads out"),
        "absolute": ({**contents, "/tmp/evil": b"x"}, "has the member '/tmp/evil'"),
        "backslash": ({**contents, "assets\\..\\..\\evil": b"x"}, "which leads out of it"),
        "no object": ({**contents, "config.json": b"[]"}, "has a config.json that is not"),
        "no json": ({**contents, "config.json": b"{"}, "is no JSON"),
        "deep": ({**contents, "config.json": b"[" * 100_000}, "is nested too deeply"),
        "nan": ({**contents, "config.json": b'{"class_name": NaN}'}, "has the number NaN"),
        "latin": ({**contents, "config.json": b"\xff"}, "is no text in UTF-8"),
    }
    for name, (parts, reason) in archives.items():
        yield write(folder / f"{name}.keras", parts), reason
    path = write(folder / "link.keras", contents)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    yield path, "has the member 'assets/link', which leads out of it"


def test_files_that_are_no_whole_model(whole, tmp_path, unbuilt):
    count = 0
    for path, reason in hostile_files(whole, tmp_path):
        with pytest.raises(ValueError) as raised:
            load_model(path)
        assert reason in str(raised.value), path
        assert str(path) in str(raised.value)
        count += 1
    assert count == 16
    with pytest.raises(ValueError, match="must be a `.keras` file that exists"):
        load_model(tmp_path / "folder.keras")


def test_damage_that_only_keras_finds_is_told_as_well(whole, tmp_path):
    """A file of the right members whose weights or config do not fit."""
    contents = members(whole)
    weights = contents["model.weights.h5"]
    config = json.loads(contents["config.json"])
    config["config"]["layers"][0]["config"] = {}
    damaged = {
        "weights cut off": {"model.weights.h5": weights[: len(weights) // 2]},
        "no weights inside": {"model.weights.h5": b"text"},
        "another layer": {"config.json": json.dumps(config).encode()},
        "no layers": {"config.json": b'{"class_name": "Functional", "config": {}}'},
    }
    for name, parts in damaged.items():
        path = write(tmp_path / "damaged.keras", {**contents, **parts})
        with pytest.raises(ValueError) as raised:
            load_model(path, compile=False)
        assert str(path) in str(raised.value), name
        assert str(raised.value).count("\n") == 0


def test_what_we_save_is_not_refused(whole):
    assert load_model(whole, compile=False).output_shape == (None, 3)
    refuse_unsafe(keras.saving.serialize_keras_object(keras.layers.Dense(3, "relu")))
    words = keras.layers.StringLookup(vocabulary=["a", "b"])
    refuse_unsafe(keras.saving.serialize_keras_object(words))
