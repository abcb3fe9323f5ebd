"""Runs with a warm-up and other training options: interrupted anywhere, extended, looked into."""

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest
from helpers import slow_but
from helpers.runs import history, policy_as_before, started  # noqa: F401

from mdl_tf import callbacks, cli, load_model
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.embedding.batch_norm import FixedStatistics
from mdl_tf.embedding.trainable import flags
from mdl_tf.runs import phases, train
from mdl_tf.runs.keeping import RunCheckpoint
from mdl_tf.runs.network import build_model
from mdl_tf.runs.resolve import resolve

OWN = """
import keras


@keras.saving.register_keras_serializable(package="phases_network")
class Block(keras.layers.Layer):
    '''Of what is inside Keras stores the weights alone: it forgets that `first` is frozen.'''

    def __init__(self, **options):
        super().__init__(**options)
        self.first = keras.layers.Conv2D(6, 3, strides=2, name="first")
        self.norm = keras.layers.BatchNormalization(momentum=0.5, name="norm")

    def build(self, shape):
        self.first.build(shape)
        self.norm.build((None, None, None, 6))

    def call(self, x, training=None):
        return keras.ops.relu(self.norm(self.first(x), training=training))


def build(input_shape):
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, strides=2, name="for_good", trainable=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.5, name="direct")(x)
    block = Block(name="block")
    x = block(x)
    block.first.trainable = False
    model = keras.Model(inputs, keras.layers.Conv2D(8, 2, name="last")(x))
    return model, lambda x: x / 255
"""


@pytest.fixture
def own_network(tmp_path, monkeypatch):
    (tmp_path / "phases_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "phases_network:build"
    sys.modules.pop("phases_network", None)


def quietly(config, run):
    return train(config, run, report=lambda line: None)


def interrupted_after(epoch, config, run, monkeypatch):
    """Train, or go on, until an interruption right after an epoch was kept."""
    kept = RunCheckpoint.on_epoch_end

    def interrupt(self, number, logs=None):
        kept(self, number, logs)
        if number + 1 == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoint, "on_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            quietly(config, run)
    keras.backend.clear_session()


SHORT = {"tensorboard": False, "steps_per_epoch": 4}
# Settings, and the epochs after which there is an interruption.
COMBINED = {
    "frozen": (
        {
            **{"batch_norm": "frozen", "pooling": "both", "policy": "mixed_bfloat16"},
            **{"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5, "schedule": "step"},
            **{"decay_epochs": 1, "warm_up_epochs": 2, "epochs": 4, "l2_normalize": False},
        },
        (1, 2, 3),
    ),
    "statistics": (
        {
            **{"batch_norm": "statistics", "jit": True, "loss": "proxy_anchor"},
            **{"optimizer": "rmsprop", "momentum": 0.5, "learning_rate": 3e-4},
            # The last one is frozen in the warm-up, and no mistake.
            **{"learning_rate_factors": {"embedding": 10, "proxies": 100, "conv2": 0.5}},
            **{"warm_up_epochs": 1, "epochs": 2, "tensorboard": True},
        },
        (1,),
    ),
    "own": (
        {
            **{"batch_norm": "statistics", "warm_up_epochs": 1, "policy": "mixed_float16"},
            **{"optimizer": "sgd", "clip_norm": 1.0, "learning_rate_factors": {"embedding": 10}},
        },
        (1, 2),
    ),
    "own, without warm-up": (
        {"loss": "margin", "loss_args": {"learn_beta": True}, "batch_norm": "frozen", "epochs": 2},
        (1,),
    ),
}


@pytest.mark.parametrize("name", slow_but((), COMBINED, COMBINED))
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    name, tmp_path, monkeypatch, own_network, recwarn
):
    settings, interruptions = COMBINED[name]
    settings = {**SHORT, **settings}
    if name.startswith("own"):
        settings["backbone"] = own_network
    config, whole = started(tmp_path / "whole", **settings)
    expected = quietly(config, whole)
    config, broken = started(tmp_path / "broken", **settings)
    for epoch in interruptions:
        interrupted_after(epoch, broken.config, broken, monkeypatch)
    found = quietly(broken.config, broken)
    np.testing.assert_allclose(history(broken), history(whole), rtol=1e-4, atol=1e-5)
    assert found["trained"] == pytest.approx(expected["trained"], rel=1e-4, abs=1e-5)
    assert not [w for w in recwarn if "Skipping variable loading" in str(w.message)]
    best = keras.saving.load_model(whole.model, compile=False)
    assert FixedStatistics not in {type(layer) for layer in best._flatten_layers()}
    assert bool(list(whole.folder.glob("tensorboard/**/events.*"))) == config.tensorboard


def weights(model):
    """The weights of an embedder, by number: `backbone 0 kernel`, ..., `embedding 0 kernel`."""
    return {
        f"{'embedding' if layer.name == 'embedding' else 'backbone'} {i} {w.name}": w.numpy()
        for layer in model.layers
        for i, w in enumerate(layer.weights)
    }


def test_the_warm_up_changes_the_embedding_and_the_loss_alone(tmp_path, monkeypatch, own_network):
    """Bit for bit, running statistics included; afterwards all but what its owner froze."""
    kept, seen = RunCheckpoint.on_epoch_end, {}

    def look(self, epoch, logs=None):
        kept(self, epoch, logs)
        seen[epoch + 1] = weights(self.model.embedder)
        seen[epoch + 1]["proxies"] = self.model.loss_weights.weights[0].numpy()
        best[epoch + 1] = [row[1:] for row in flags(load_model(run.model))]

    best = {}
    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", look)
    config, run = started(
        tmp_path,
        **{**SHORT, "backbone": own_network, "loss": "proxy_anchor", "warm_up_epochs": 2},
        validation=0,  # so that every epoch is the best
    )
    keras.utils.set_random_seed(config.seed)
    begun = build_model(config)
    seen[0] = weights(begun)
    quietly(config, run)

    def same(before, after):
        return {name for name in seen[before] if (seen[before][name] == seen[after][name]).all()}

    backbone = {name for name in seen[0] if name.startswith("backbone")}
    assert len(backbone) == 14
    assert same(0, 1) == same(1, 2) == same(0, 2) == backbone
    for_good = {"0 kernel", "1 bias", "6 kernel", "7 bias"}  # of `for_good`, and of the block
    assert same(2, 3) == {f"backbone {name}" for name in for_good}
    assert len({seen[epoch]["proxies"].tobytes() for epoch in (1, 2, 3)}) == 3
    # What is kept for search in the warm-up can be trained on: it is not frozen for that.
    assert best[1] == best[2] == best[3]
    assert best[1][1:].count([False, [False, False]]) == 1


def test_the_network_begins_with_steps_of_the_learning_rate(tmp_path):
    """The first step of Adam goes the learning rate far if its averages begin with it; if it were
    told that many steps have been made, it would go three times as far."""
    config, run = started(
        tmp_path, epochs=40, warm_up_epochs=25, schedule="step", decay_epochs=20, decay_factor=0.1
    )
    config = resolve(config)
    model, learns = phases.begin(config, 2, build_model(config))
    phases.end_warm_up(config, model, learns)
    before = model.get_weights()
    rng = np.random.default_rng(0)
    model.train_on_batch(rng.integers(0, 256, (12, 16, 16, 3)).astype("float32"), np.arange(12) % 3)
    moves = [np.abs(a - b) for a, b in zip(model.get_weights(), before, strict=True)]
    trained = {id(w) for w in model.trainable_variables}
    moves = [m for m, w in zip(moves, model.weights, strict=True) if id(w) in trained]
    assert len(moves) == 4 * 3 + 2
    np.testing.assert_allclose([m.max() for m in moves], 3e-4, rtol=0.02)


@pytest.mark.longest
def test_patience_counts_from_the_end_of_the_warm_up(tmp_path, monkeypatch):
    """Recall is scripted: best in the first epoch, so that patience would end the run after 3."""
    real = callbacks.RetrievalMetrics.on_epoch_end

    def scripted(self, epoch, logs=None):
        real(self, epoch, logs)
        logs["val_recall_at_1"] = 0.9 - 0.1 * epoch

    monkeypatch.setattr(callbacks.RetrievalMetrics, "on_epoch_end", scripted)
    config, run = started(
        tmp_path, **SHORT, epochs=8, warm_up_epochs=3, patience=2, monitor="recall_at_1"
    )
    quietly(config, run)
    assert len(history(run)) == 5


@pytest.mark.longest
def test_a_finished_run_goes_on_to_more_epochs(tmp_path, capsys):
    settings = {**SHORT, "schedule": "step", "decay_epochs": 1, "validation": 0}
    config, whole = started(tmp_path / "whole", **settings, epochs=4)
    quietly(config, whole)
    config, run = started(tmp_path / "short", **settings, epochs=2)
    quietly(config, run)
    assert len(history(run)) == 2
    assert cli.main(["train", "--resume", str(run.folder), "--epochs", "4"]) == 0
    assert "Go on after epoch 2 of 4." in capsys.readouterr().out
    np.testing.assert_allclose(history(run), history(whole), rtol=1e-4, atol=1e-5)
    assert run.config == whole.config
    results = [json.loads((r.folder / "metrics.json").read_text()) for r in (run, whole)]
    assert results[0]["trained"] == pytest.approx(results[1]["trained"], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "epochs", "message"),
    [
        (
            {},
            "9",
            "`epochs` (--epochs) cannot be changed for a run with schedule='cosine', whose "
            "learning rate has fallen for the epochs that it began with; constant and step can go "
            "on. Received: epochs=9 for a run of 3",
        ),
        (
            {"schedule": "constant"},
            "3",
            "`epochs` (--epochs) must be above those of the run, 3. Received: epochs=3",
        ),
        (
            {"schedule": "step"},
            "many",
            "`epochs` must be an integer, at least 1. Received: epochs='many'",
        ),
        (
            {"schedule": "constant", "patience": 2},
            "9",
            "`epochs` (--epochs) cannot be changed for a run that its patience of 2 has ended. "
            "Received: epochs=9 for a run that ended after epoch 3",
        ),
    ],
)
def test_runs_that_cannot_go_on_to_more_epochs(tmp_path, capsys, settings, epochs, message):
    config, run = started(tmp_path, **settings)
    config = dataclasses.replace(resolve(config), batch_norm="train")
    run.keep_config(config)
    history = [{"epoch": epoch, "loss": 1.0} for epoch in (1, 2, 3)]
    state = {"epochs_done": 3, "stopped": "patience" in settings, "history": history, "last": {}}
    state |= {"checkpoint": "resume/epoch-0003.keras", "best": 0.5, "wait": 0}
    run.write_json("resume/state.json", state)
    assert cli.main(["train", "--resume", str(run.folder), "--epochs", epochs]) == 2
    assert capsys.readouterr().err == f"mdl-tf: error: {message}\n"
    assert run.config == config


def test_a_network_without_batch_normalisation_is_told(tmp_path):
    config = TrainConfig(backbone="vgg16", image_size=32, batch_norm="frozen")
    with pytest.raises(ConfigError) as raised:
        build_model(config)
    assert str(raised.value) == (
        "`batch_norm` with backbone='vgg16': `mode` must be 'train' for a model without batch "
        "normalisation. Received: mode='frozen' for model 'embedder'"
    )
