"""TrainConfig: JSON, and one clear message for everything that cannot be."""

import ast
import dataclasses
import json
from pathlib import Path

import keras
import pytest

import mdl_tf
from mdl_tf import checks, optimizers
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.config.setting import choices_of
from mdl_tf.images import views


def test_json_round_trip(tmp_path):
    config = TrainConfig(epochs=3, loss_args={"margin": 0.1}, data_dir="Bücher", jit=True)
    path = tmp_path / "config.json"
    path.write_text(config.to_json(), encoding="utf-8")
    assert TrainConfig.from_json(path) == config
    assert TrainConfig.from_dict({}) == TrainConfig()


def test_settings_of_older_runs_have_not_all_fields(tmp_path):
    path = tmp_path / "config.json"
    settings = TrainConfig(backbone="conv4").to_dict()
    for name in ("weights", "batch_norm", "warm_up_epochs", "momentum", "weight_decay"):
        del settings[name]
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert TrainConfig.from_json(path) == TrainConfig(backbone="conv4", weights=None)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3


def test_every_field_says_what_it_is():
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))


def test_losses_have_one_spelling():
    from mdl_tf import losses

    for name, loss in losses.LOSSES.items():
        assert loss.function is getattr(losses, f"{name}_loss")
        assert loss.__name__.lower() == f"{name.replace('_', '')}loss"


def test_unknown_key_lists_the_known_ones():
    with pytest.raises(ConfigError) as raised:
        TrainConfig.from_dict({"epoch": 3})
    assert str(raised.value).startswith("Unknown field `epoch`. Known fields: dataset, data_dir,")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "`epochs` must be an integer, at least 1. Received: epochs=0"),
        ({"epochs": 2.5}, "`epochs` must be an integer, at least 1. Received: epochs=2.5"),
        ({"epochs": True}, "`epochs` must be an integer, at least 1. Received: epochs=True"),
        ({"epochs": "many"}, "`epochs` must be an integer, at least 1. Received: epochs='many'"),
        ({"jit": 1}, "`jit` must be true or false. Received: jit=1"),
        (
            {"dataset": None},
            "`dataset` must be one of cars196, csv, cub200, digits, folder, glyphs, inshop, npz, "
            "sop, tfds:NAME. Received: dataset=No",
        ),
        ({"backbone": 5}, "`backbone` must be text. Received: backbone=5"),
        ({"weights": True}, "`weights` must be text. Received: weights=True"),
        (
            {"backbone": "none", "weights": "imagenet"},
            "`weights` must be left out with backbone='none', which has none. "
            "Received: weights='imagenet'",
        ),
        (
            {"backbone": "none", "batch_norm": "frozen"},
            "`batch_norm` must be left out with backbone='none', which has none. "
            "Received: batch_norm='frozen'",
        ),
        (
            {"backbone": "none", "warm_up_epochs": 2},
            "`warm_up_epochs` must be left out with backbone='none', where nothing could be "
            "frozen. Received: warm_up_epochs=2",
        ),
        (
            {"warm_up_epochs": 8},
            "`warm_up_epochs` must be below `epochs`, or the network never learns. "
            "Received: warm_up_epochs=8, epochs=8",
        ),
        (
            {"momentum": 0.5},
            "`momentum` is used by optimizer rmsprop and sgd only; else leave it out. "
            "Received: momentum=0.5, optimizer='adam'",
        ),
        (
            {"decay_factor": 0.1},
            "`decay_factor` is used by schedule step only; else leave it out. "
            "Received: decay_factor=0.1, schedule='cosine'",
        ),
        (
            {"clip_norm": 0},
            "`clip_norm` must be a number, above 0. Received: clip_norm=0",
        ),
        (
            {"weight_decay": "much"},
            "`weight_decay` must be a number, at least 0. Received: weight_decay='much'",
        ),
        (
            {"validation": 1},
            "`validation` must be a number, at least 0 and below 1. Received: validation=1",
        ),
        (
            {"learning_rate": float("nan")},
            "`learning_rate` must be a number, above 0. Received: learning_rate=nan",
        ),
        ({"loss_args": [1]}, "`loss_args` must be a JSON object. Received: loss_args=[1]"),
        (
            {"image_size": 20},
            "`image_size` must be at least 32 with backbone='inception_bn'. "
            "Received: image_size=20",
        ),
        ({"dataset": "folder"}, "`data_dir` must name the folder of images when dataset='folder'."),
        ({"dataset": "tfds:"}, "inshop, npz, sop, tfds:NAME. Received: dataset='tfds:'"),
        ({"dataset": "csv"}, "`data_dir` must name the CSV file when dataset='csv'."),
        (
            {"backbone": "none", "augment": "paper"},
            "`augment` must be left out with backbone='none', which sees no images. "
            "Received: augment='paper'",
        ),
        (
            {"frozen": True, "augment": "flip"},
            "`augment` must be left out with `frozen`, a network whose features are computed once. "
            "Received: augment='flip'",
        ),
        (
            {"frozen": True, "augment": "crop"},
            "`augment` must be left out with `frozen`, a network whose features are computed once. "
            "Received: augment='crop'",
        ),
        (
            {"frozen": True, "batch_norm": "statistics"},
            "`batch_norm` must be left out with `frozen`, a network of which nothing is trained. "
            "Received: batch_norm='statistics'",
        ),
        (
            {"frozen": True, "warm_up_epochs": 1},
            "`warm_up_epochs` must be left out with `frozen`, a network which never learns. "
            "Received: warm_up_epochs=1",
        ),
        ({"frozen": True, "cache": "ram"}, "Received: cache='ram'"),
        (
            {"frozen": True, "backbone": "none"},
            "`frozen` must be left out with backbone='none', where there is nothing else than the "
            "embedding layer. Received: frozen=True",
        ),
        (
            {"start": "runs/a", "weights": "imagenet"},
            "`weights` must be left out with `start`, the model of a run which has its own. "
            "Received: weights='imagenet'",
        ),
        ({"start": "runs/a", "folds": 4}, "`folds` must be left out with `start`"),
        ({"head": "kept"}, "`head` may be kept only with `start`"),
        ({"head": "lda"}, "`head` must be one of auto, whitened, pca, random, kept. Received"),
        (
            {"head": "pca", "shrinkage": 0.3},
            "`shrinkage` is of head='whitened' only. Received: shrinkage=0.3, head='pca'",
        ),
        ({"shrinkage": 0.0}, "`shrinkage` must be"),
        ({"embedding_dim": 0}, "`embedding_dim` must be"),
        ({"image_size": 64.5}, "`image_size` must be"),
        (
            {"refit": True, "validation": 0},
            "`refit` trains on the validation classes in the end, and needs `validation` and no "
            "`folds`. Received: validation=0",
        ),
        ({"refit": True, "folds": 4}, "Received: validation=0.1, folds=4"),
        (
            {"patience": 3, "validation": 0},
            "`patience` needs validation classes. Received: patience=3, validation=0",
        ),
        (
            {"monitor": "r_precision", "validation": 0},
            "`monitor` needs validation classes. Received: monitor='r_precision', validation=0",
        ),
        ({"fold": 1}, "`fold` must be one of the `folds`"),
        ({"fold": 4, "folds": 3}, "of which there are at least two. Received: fold=4, folds=3"),
        (
            {"folds": 4, "validation": 0.2},
            "`validation` must be left out with `folds`, of which each is the validation classes "
            "once. Received: validation=0.2, folds=4",
        ),
    ],
)
def test_impossible_values_name_field_rule_and_value(settings, message):
    with pytest.raises(ConfigError) as raised:
        TrainConfig.from_dict(settings)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "`config` must be a readable file of JSON. Received: "),
        ("[1]", "A config must be a JSON object. Received: [1]"),
        (json.dumps({"epochs": 0}), "`epochs` must be an integer, at least 1. Received: epochs=0"),
        (None, "config.json, which is not there"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, message):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        TrainConfig.from_json(path)
    assert message in str(raised.value)


def lists_of_texts(tree):
    """Literal tuples, lists, sets and keys of dicts that are texts, as sets."""
    for node in ast.walk(tree):
        parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", ())
        texts = [getattr(part, "value", None) for part in parts]
        if len(texts) > 1 and all(isinstance(text, str) for text in texts):
            yield frozenset(texts)


def test_a_list_of_choices_stands_once():
    """Whoever else needs it asks `checks`, or the table of losses, metrics or data sets."""
    wanted = {
        frozenset(texts): field.name
        for field in dataclasses.fields(TrainConfig)
        if (texts := choices_of(field))
    }
    places = {texts: [] for texts in wanted}
    for path in Path(mdl_tf.__file__).parent.rglob("*.py"):
        for texts in lists_of_texts(ast.parse(path.read_text(encoding="utf-8"))):
            if texts in places:
                places[texts].append(path.name)
    for texts, files in places.items():
        assert len(files) <= 1, (wanted[texts], files)
    assert places[frozenset(("none", "ram", "disk"))] == ["checks.py"], "this test finds them"


def test_every_choice_leads_to_something():
    for names in checks.POOLINGS.values():
        for name in names:
            assert hasattr(keras.layers, f"{name}1D") and hasattr(keras.layers, f"{name}2D")
    for name in checks.OPTIMIZERS.values():
        assert issubclass(getattr(optimizers, name), keras.optimizers.Optimizer)
    for augment in checks.AUGMENTATIONS:
        assert views.view(augment, (32, 32)).canvas
