"""A loss is one file and one row: its names, its facts, and a new one that everything knows."""

import copy
import doctest
import inspect
import json
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.loss_rows import find_untested
from helpers.runs import policy_as_before  # noqa: F401

from mdl_tf import cli, losses
from mdl_tf.compare import Comparison, parse
from mdl_tf.compare.spaces import changes, check_held, draws, space
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.doctor import batch
from mdl_tf.doctor.advice import Advice
from mdl_tf.embedding import load_model
from mdl_tf.losses import table
from mdl_tf.losses.space import Choice, Only, Range
from mdl_tf.runs.network import build_loss

every_name = pytest.mark.parametrize("name", losses.LOSSES)


# ---------------------------------------------------------------------------------- the names


def test_the_face_has_a_class_and_a_function_for_every_row():
    expected = {"AnchorsThatCount", "LOSSES", "MetricLoss", "MetricModel", "WeightedSum"}
    for name, loss in losses.LOSSES.items():
        expected |= {loss.__name__, f"{name}_loss"}
        assert getattr(losses, loss.__name__) is loss
        assert getattr(losses, f"{name}_loss").__module__ == loss.__module__
    assert set(dir(losses)) == set(losses.__all__) == expected
    names = {}
    exec("from mdl_tf.losses import *", names)
    assert expected <= set(names)
    with pytest.raises(AttributeError, match="No mdl_tf.losses attribute nothing"):
        losses.nothing  # noqa: B018


def test_names_are_known_without_keras():
    script = (
        "import sys\n"
        "from mdl_tf.losses import LOSSES\n"
        "from mdl_tf.config import TrainConfig\n"
        "from mdl_tf.compare import parse\n"
        "TrainConfig(loss='triplet'), parse('all'), 'triplet' in LOSSES\n"
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_table_is_read_only():
    with pytest.raises(TypeError):
        losses.LOSSES["triplet"] = losses.TripletLoss
    with pytest.raises(KeyError):
        losses.LOSSES["nothing"]
    assert "nothing" not in losses.LOSSES


# ---------------------------------------------------------------------------------- the facts


def build(name, **settings):
    loss = losses.LOSSES[name]
    return loss(**({"num_classes": 5} if loss.proxies else {}), **settings)


@every_name
def test_what_is_searched_is_a_setting_or_known_to_the_search(name):
    loss = losses.LOSSES[name]
    arguments = set(inspect.signature(loss).parameters) - {"num_classes", "options"}
    assert set(loss.search_space) <= arguments | {"l2_normalize", loss.proxies, loss.learned}
    for values in loss.search_space.values():
        if isinstance(values, Only):
            assert values.name in arguments | {"l2_normalize"}
            values = values.values
        assert isinstance(values, Range | Choice)
    assert loss.proxies is None or loss.proxies in loss.search_space
    # The papers' embeddings of any length come first.
    expected = {"l2_normalize": False} if "l2_normalize" in loss.search_space else {}
    assert dict(loss.first_draw) == expected


@every_name
def test_proxies_take_the_place_of_positives(name):
    loss = losses.LOSSES[name]
    assert loss.positives in ("several", "one", "none")
    assert (loss.positives == "none") == (loss.proxies is not None)
    if loss.proxies:
        assert list(build(name).weight_specs(4)) == [loss.proxies]
        assert list(inspect.signature(loss.function).parameters)[2] == loss.proxies


def test_losses_for_one_positive():
    assert [n for n, loss in losses.LOSSES.items() if loss.positives == "one"] == [
        "n_pairs",
        "angular",
    ]


@every_name
def test_gaps_between_euclidean_distances(name):
    with_gap = ("margin_discriminate", "triplet")
    assert build(name).gap == (0.2 if name == "margin_discriminate" else 0.0)
    if "distance" in inspect.signature(losses.LOSSES[name]).parameters:
        for distance in ("euclidean", "squared_euclidean", "cosine"):
            loss = build(name, margin=0.3, distance=distance) if name in with_gap else build(name)
            expected = 0.3 if name in with_gap and distance == "euclidean" else 0.0
            assert loss.gap == expected


@every_name
def test_the_example_of_every_class_is_true(name):
    loss = losses.LOSSES[name]
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(loss, globs={"np": np, loss.__name__: loss})
    assert len(example.examples) >= 4
    output = []
    doctest.DocTestRunner(verbose=False).run(example, out=output.append)
    assert not output, "".join(output)


# ------------------------------------------------------------------------- settings are fixed


@pytest.mark.parametrize(
    "change",
    [
        lambda loss: setattr(loss, "margin", 0.5),
        lambda loss: delattr(loss, "margin"),
        lambda loss: setattr(loss, "reduction", "sum"),
        lambda loss: setattr(loss, "num_classes", 3),
        lambda loss: setattr(loss, "settings", {"margin": 0.5}),
        lambda loss: loss.settings.update(margin=0.5),
        lambda loss: loss.settings.__setitem__("margin", 0.5),
        lambda loss: loss.settings.pop("margin"),
    ],
)
def test_settings_cannot_be_changed(change):
    loss = losses.TripletLoss(margin=0.3)
    before = loss.get_config()
    with pytest.raises((AttributeError, TypeError)):
        change(loss)
    assert loss.margin == loss.settings["margin"] == 0.3
    assert loss.get_config() == before


def test_the_message_says_what_to_do():
    for loss, setting in (
        (losses.TripletLoss(), "margin"),
        (losses.MarginLoss(), "learn_beta"),
        (losses.SoftTripleLoss(5), "centers_per_class"),
    ):
        message = f"`{setting}` is fixed; make a new {type(loss).__name__} instead."
        with pytest.raises(AttributeError) as raised:
            setattr(loss, setting, 1)
        assert str(raised.value) == message


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]
)
def test_a_copy_is_as_fixed(duplicate):
    loss = duplicate(losses.TripletLoss(margin=0.3))
    assert repr(loss) == "TripletLoss(margin=0.3)"
    with pytest.raises(AttributeError, match="`margin` is fixed"):
        loss.margin = 0.5


def test_numbers_of_numpy_become_those_of_python():
    loss = losses.SoftTripleLoss(np.int64(5), centers_per_class=np.int8(2), scale=np.float32(8))
    config = loss.get_config()
    assert (config["num_classes"], config["centers_per_class"], config["scale"]) == (5, 2, 8.0)
    assert [type(loss.centers_per_class), type(loss.num_classes), type(loss.scale)] == [
        int,
        int,
        float,
    ]
    json.dumps(config)


# ------------------------------------------------------------------------------- a new loss


TINY = '''
"""A loss in a file of somebody's."""

from keras import ops, saving

from mdl_tf.checks import check_number
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.distances import squared_euclidean
from mdl_tf.losses.guard import guard
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.space import Choice, Only, Range


def _check(pull):
    check_number("pull", pull, above=0)


@guard(_check)
def tiny_loss(labels, embeddings, *, pull=2.0):
    """Positives near, negatives far."""
    distances = squared_euclidean(embeddings, embeddings)
    positives, negatives = pair_masks(labels)
    signs = pull * ops.cast(positives, "float32") - ops.cast(negatives, "float32")
    return ops.mean(signs * distances, axis=1)


@saving.register_keras_serializable(package="tests")
class TinyLoss(MetricLoss):
    """The same for `compile`."""

    function = staticmethod(tiny_loss)
    search_space = {"pull": Range(1, 4)}
    positives = "several"
    gap = 0.0

    def __init__(self, pull=2.0, **options):
        super().__init__({"pull": pull}, **options)
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """One file, one row."""
    (tmp_path / "tiny_module.py").write_text(TINY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(table.ROWS, "tiny", "tiny_module:TinyLoss")
    yield losses.LOSSES["tiny"]
    sys.modules.pop("tiny_module")
    keras.saving.get_custom_objects().pop("tests>TinyLoss")


def test_a_new_loss_is_public(tiny):
    assert losses.TinyLoss is tiny
    assert losses.tiny_loss is tiny.function
    assert {"TinyLoss", "tiny_loss"} <= set(dir(losses))
    with pytest.raises(ValueError, match="`pull` must be a number, above 0. Received: pull=0"):
        losses.TinyLoss(pull=0)
    with pytest.raises(ValueError, match="One-hot labels?"):
        losses.tiny_loss(np.eye(4, dtype=int), np.eye(4))
    assert np.isnan(losses.TinyLoss()(np.array([0, 0, 1]), np.full((3, 2), np.nan)))


def test_a_new_loss_is_a_setting_of_a_run(tiny):
    loss = build_loss(TrainConfig(loss="tiny", loss_args={"pull": 3.0}), 7)
    assert (type(loss), loss.pull) == (tiny, 3.0)
    with pytest.raises(ConfigError, match="cos_face, soft_triple, tiny. Received: loss='tinny'"):
        TrainConfig(loss="tinny")


def test_a_new_loss_is_in_the_help(tiny, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert ",tiny}" in "".join(capsys.readouterr().out.split())


def test_a_new_loss_trains_from_the_command_line(tiny, tmp_path):
    arguments = (
        "train --loss tiny --dataset digits --backbone conv4 --image-size 16 --embedding-dim 8 "
        "--classes-per-batch 3 --images-per-class 4 --validation 0.4 --epochs 1 "
        "--steps-per-epoch 2 --no-clustering --no-tensorboard --name tiny --runs-dir"
    )
    assert cli.main([*arguments.split(), str(tmp_path)]) == 0
    model = load_model(tmp_path / "tiny")
    assert type(model.loss) is tiny
    assert json.loads((tmp_path / "tiny/config.json").read_text())["loss"] == "tiny"


def test_a_new_loss_is_compared(tiny):
    (entry,) = parse("tiny")
    assert parse("all")[-1] == entry
    assert space(entry) == {"pull": Range(1, 4)}
    drawn = draws(entry, 1e-3, 4, 0)
    assert drawn[0] == {"learning_rate": 1e-3, "pull": 2.0}
    assert all(1 <= settings["pull"] <= 4 for settings in drawn)
    assert changes(entry, drawn[1])["loss_args"] == {"pull": drawn[1]["pull"]}
    with pytest.raises(ConfigError, match="tiny may hold pull, learning_rate, l2_normalize"):
        check_held(parse("tiny:push=1")[0])
    comparison = Comparison(TrainConfig(validation=0.2, monitor="map_at_r"), parse("tiny"))
    assert comparison.run_config(entry, drawn[1], 0).loss == "tiny"


def test_the_doctor_asks_a_new_loss_for_its_positives(tiny, monkeypatch):
    config = TrainConfig(loss="tiny", classes_per_batch=4, images_per_class=2)

    def diagnose():
        return batch.check_positives(config, np.full(9, 9), Advice(config, {})).level

    assert diagnose() == "look"
    monkeypatch.setattr(tiny, "positives", "one")
    assert diagnose() == "ok"


def test_the_contract_misses_a_new_loss(tiny):
    assert find_untested() == ["tiny: a row", "tiny: an oracle"]


@pytest.mark.parametrize("fact", table.FACTS)
def test_a_fact_that_is_not_stated_is_asked_for(tiny, monkeypatch, fact):
    monkeypatch.delattr(tiny, fact)
    with pytest.raises(TypeError) as raised:
        build_loss(TrainConfig(loss="tiny"), 7)
    assert str(raised.value) == (
        "TinyLoss, the loss 'tiny', must state search_space, positives, gap; see `MetricLoss`. "
        f"Missing: {fact}"
    )


def test_a_function_that_is_not_guarded_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "function", staticmethod(lambda labels, embeddings: embeddings))
    with pytest.raises(TypeError, match="The function of TinyLoss, the loss 'tiny', must be decor"):
        losses.LOSSES["tiny"]
