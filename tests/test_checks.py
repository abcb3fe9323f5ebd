"""Arguments are refused with their name, the rule and what was received."""

import dataclasses
import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mdl_tf import backbones, batches, datasets, embedding, pictures, search
from mdl_tf.checks import check_choice, check_integer, check_number
from mdl_tf.config import ConfigError, TrainConfig


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2)])
def test_integers_of_every_kind(value):
    assert check_integer("k", value, least=2, most=2) == 2
    assert type(check_integer("k", value)) is int


@pytest.mark.parametrize("value", [True, np.True_, 2.0, np.float32(2), "2", None, 1, 5, [2]])
def test_what_is_no_integer_in_range(value):
    with pytest.raises(ValueError) as raised:
        check_integer("k", value, least=2, below=5)
    message = f"`k` must be an integer, at least 2 and below 5. Received: k={value!r}"
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25), np.int32(1)])
def test_numbers_of_every_kind(value):
    assert check_number("margin", value, above=0) is value


@pytest.mark.parametrize("value", [True, np.nan, np.inf, "0.5", None, -1, 0])
def test_what_is_no_number_in_range(value):
    with pytest.raises(ValueError) as raised:
        check_number("margin", value, above=0, unit="radians")
    message = f"`margin` must be a number, above 0, in radians. Received: margin={value!r}"
    assert str(raised.value) == message


def test_choices():
    assert check_choice("soft", False, (True, False)) is False
    for value in (1, 0, "True", None, np.True_):
        with pytest.raises(ValueError, match=r"`soft` must be one of \(True, False\)\. Received"):
            check_choice("soft", value, (True, False))


# One check for every integer of the public face.

LABELS = np.repeat(np.arange(4), 4)


def images():
    names = tuple("abcd")
    return datasets.ImageSet("four", LABELS, names, images=np.zeros((16, 8, 8), np.uint8))


def plan(**settings):
    settings = {"classes_per_batch": 2, "images_per_class": 2, **settings}
    return batches.BalancedPlan(LABELS, **settings)


def split(**settings):
    return datasets.Collection(images(), ("train",) * 2 + ("test",) * 2).split(0, **settings)


def find(k):
    vectors = search.Vectors(np.zeros((3, 2), np.float32), ("a", "b", "c"), "/", "other")
    try:
        search.nearest(opened_run(), vectors, ["a.jpg"], k)
    except ValueError as error:
        if "The vectors must come from the same model" not in str(error):
            raise


@functools.cache
def opened_run():
    path = Path(os.environ["MDL_TF_HOME"]) / "check.keras"
    embedding.embedding_model(backbones.Conv4((16, 16, 3), 2), embedding_dim=2).save(path)
    return path


ENTRIES = {
    "classes_per_batch": lambda value: plan(classes_per_batch=value),
    "images_per_class": lambda value: plan(images_per_class=value),
    "seed": lambda value: plan(seed=value),
    "start_step": lambda value: batches.balanced(images(), 2, 2, start_step=value),
    "batch_size": lambda value: batches.ordered(images(), value),
    "image_size": lambda value: batches.ordered(images(), 2, (value, value)),
    "embedding_dim": lambda value: embedding.embedding_model(backbones.Features(3), None, value),
    "size": backbones.Features,
    "filters": lambda value: backbones.Conv4((16, 16, 3), value),
    "input_shape": lambda value: backbones.build("none", (value,)),
    "seed of a split": lambda value: split(seed=value),
    "folds": lambda value: datasets.Collection(images(), ("train",) * 4).split(0, folds=value),
    "classes": lambda value: pictures.contact_sheet(split_collection(), value),
    "images": lambda value: pictures.contact_sheet(split_collection(), 2, value),
    "queries": lambda value: pictures.NeighborMosaic(images(), value),
    "neighbors": lambda value: pictures.NeighborMosaic(images(), 2, value),
    "k": find,
}


def split_collection():
    return datasets.Collection(images(), ("train",) * 4)


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2)], ids=["int", "int64", "uint8"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_integer_may_be_one_of_numpy(entry, value):
    try:
        ENTRIES[entry](value)
    except ValueError as error:
        # Of two folds each has two classes, and none is left for the test.
        assert entry == "folds" and "need at least two classes each" in str(error)


@pytest.mark.parametrize(
    "value",
    [True, np.True_, 2.0, np.float64(2), "2", None, -1, [2]],
    ids=["True", "np.True_", "2.0", "float64", "text", "None", "negative", "list"],
)
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_integer_is_one(entry, value):
    with pytest.raises(ValueError) as raised:
        ENTRIES[entry](value)
    name = {"input_shape": "size"}.get(entry, entry.split()[0])
    assert str(raised.value).startswith(f"`{name}` must be ")


FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
INTEGERS = [name for name, field in FIELDS.items() if field.type is int]
NUMBERS = [name for name, field in FIELDS.items() if field.type in (float, float | None)]
# What a field needs of others.
WITH = {"momentum": {"optimizer": "sgd"}, "fold": {"folds": 64}}
WITH |= {"split_seed": {"split_by": "random"}}
WITH |= dict.fromkeys(("decay_epochs", "decay_factor"), {"schedule": "step"})
WITH |= {"warm_up_epochs": {"epochs": 64}, "memory_start": {"memory": 64}}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_of_a_config_are_pythons(name):
    for value in (np.int64(32), np.uint8(32), np.int64(32).reshape(())):
        config = TrainConfig(**{name: value}, **WITH.get(name, {}))
        assert type(getattr(config, name)) is int
        assert json.loads(config.to_json())[name] == 32
    for value in (True, np.True_, 32.0, np.float32(32), "32", None, -1, [32], np.array([32])):
        with pytest.raises(ConfigError, match=f"`{name}` must be an integer, at least "):
            TrainConfig(**{name: value}, **WITH.get(name, {}))


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_a_config_are_pythons(name):
    for value in (np.float32(0.25), np.float64(0.25), 0.25):
        config = TrainConfig(**{name: value}, **WITH.get(name, {}))
        assert type(getattr(config, name)) is float
        assert json.loads(config.to_json())[name] == 0.25
    for value in (True, np.True_, "0.25", -1, [0.25], np.nan, np.inf):
        with pytest.raises(ConfigError, match=f"`{name}` must be a number, "):
            TrainConfig(**{name: value}, **WITH.get(name, {}))


def test_what_is_in_a_dict_of_a_config_is_pythons(tmp_path):
    given = {"margin": np.float64(0.25), "form": "smooth", "sharpness": np.int64(3)}
    config = TrainConfig(loss_args=given, jit=np.True_)
    (tmp_path / "config.json").write_text(config.to_json())
    assert TrainConfig.from_run(tmp_path / "config.json") == config
    assert {type(value) for value in config.loss_args.values()} == {float, str, int}
    assert config.jit is True
    given["margin"] = 1.0
    assert config.loss_args["margin"] == 0.25
