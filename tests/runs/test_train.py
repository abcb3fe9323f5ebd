"""Training runs in one process: what an interruption, a policy or a missing part changes."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import slow_but
from helpers.runs import SMALL, history, policy_as_before, started  # noqa: F401

from mdl_tf import cli
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.losses import LOSSES, MarginDiscriminateLoss
from mdl_tf.runs import data as run_data
from mdl_tf.runs import evaluate_run, train
from mdl_tf.runs.keeping import RunCheckpoint
from mdl_tf.runs.measure import measure_raw
from mdl_tf.runs.network import build_loss, build_model, build_optimizer, build_training_model
from mdl_tf.runs.resolve import resolve
from mdl_tf.runs.training import build_network


def train_one_epoch(config, run, monkeypatch):
    """Train until an interruption right after the first epoch was kept."""
    kept = RunCheckpoint.on_epoch_end

    def interrupt(self, epoch, logs=None):
        kept(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, run, report=lambda line: None)
    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", kept)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"policy": "mixed_float16"}, marks=pytest.mark.longest),
        pytest.param(
            {"policy": "mixed_bfloat16", "optimizer": "sgd", "schedule": "constant"},
            marks=pytest.mark.longest,
        ),
        pytest.param({"jit": True, "validation": 0.0}, marks=pytest.mark.longest),
        pytest.param(
            {"patience": 1, "tensorboard": False, "loss_args": {"form": "hinge"}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda settings: ",".join(settings),
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, settings):
    config, whole = started(tmp_path / "whole", **settings)
    expected = train(config, whole, report=lambda line: None)

    config, broken = started(tmp_path / "broken", **settings)
    train_one_epoch(config, broken, monkeypatch)
    assert len(history(broken)) == 1
    keras.backend.clear_session()
    found = train(broken.config, broken, report=lambda line: None)

    np.testing.assert_allclose(history(broken), history(whole), rtol=1e-4, atol=1e-5)
    assert found["trained"] == pytest.approx(expected["trained"], rel=1e-4, abs=1e-5)
    assert found["untrained"] == expected["untrained"]
    assert [p.name for p in (broken.folder / "resume").glob("epoch-*")] == [
        p.name for p in (whole.folder / "resume").glob("epoch-*")
    ]


@pytest.mark.longest
def test_patience_counts_on_across_an_interruption(tmp_path, monkeypatch):
    """Recall is scripted to fall from the second epoch on; patience ends the run after epoch 5."""
    from mdl_tf import callbacks

    real = callbacks.RetrievalMetrics.on_epoch_end

    def scripted(self, epoch, logs=None):
        real(self, epoch, logs)
        logs["val_recall_at_1"] = [0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4][epoch]

    kept = RunCheckpoint.on_epoch_end

    def interrupt(self, epoch, logs=None):
        kept(self, epoch, logs)
        if epoch == 3:  # two epochs without a better value
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.RetrievalMetrics, "on_epoch_end", scripted)
    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", interrupt)
    config, run = started(tmp_path, epochs=7, patience=3, monitor="recall_at_1")
    scripted_start(monkeypatch, 0.3)
    with pytest.raises(KeyboardInterrupt):
        train(config, run, report=lambda line: None)
    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", kept)
    best = run.model.read_bytes()
    train(config, run, report=lambda line: None)
    assert len(history(run)) == 5
    assert run.model.read_bytes() == best, "0.6 is not better than the 0.9 before the interruption"
    train(config, run, report=lambda line: None)
    assert len(history(run)) == 5, "stopped stays stopped"


def test_divergence_is_told_and_keeps_nothing_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(
        MarginDiscriminateLoss, "compute", lambda self, labels, x: float("nan") * x[:, 0]
    )
    config, run = started(tmp_path)
    with pytest.raises(ValueError) as raised:
        train(config, run, report=lambda line: None)
    assert str(raised.value) == (
        "Training diverged: the loss is nan after batch 1 of epoch 1. Lower `learning_rate`. "
        "Received: learning_rate=0.003"
    )
    # What it began with is still there.
    best = keras.saving.load_model(run.model, compile=False).get_weights()
    for found, expected in zip(best, build_network(config).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def pictures(folder, names):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def test_a_class_that_was_trained_on_never_gets_into_the_test(tmp_path, monkeypatch, capsys):
    pictures(tmp_path / "photos", [f"m{i}" for i in range(12)])
    config, run = started(
        tmp_path / "runs",
        dataset="folder",
        data_dir=str(tmp_path / "photos"),
        images_per_class=2,
        epochs=1,
    )
    train(config, run, report=lambda line: None)
    assert evaluate_run(run, clustering=False)["classes"] == 6
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert cli.main(["evaluate", str(run.folder), "--data-dir", "photos", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 6, "its own data by a relative path"
    pictures(tmp_path / "photos", ["a0", "a1", "a2"])  # now m5 would be a test class
    for again in (
        lambda: evaluate_run(run),
        lambda: train(config, run, report=lambda line: None),
    ):
        with pytest.raises(ConfigError, match="must be split as it was when the run began"):
            again()
    assert evaluate_run(run, split="all", clustering=False)["classes"] == 15


@pytest.mark.longest
def test_the_same_seed_gives_the_same_history_and_another_seed_another(tmp_path):
    histories = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config, run = started(tmp_path / name, seed=seed, epochs=2, augment="paper")
        train(config, run, report=lambda line: None)
        histories.append(history(run))
    np.testing.assert_array_equal(histories[0], histories[1])
    assert not np.allclose(histories[0], histories[2], rtol=1e-3)


def test_repeatable_runs_one_operation_at_a_time():
    """What makes the history of branched networks repeat: with two at once it differs from the
    third batch of Inception-BN on. A fresh process, since it is too late once TensorFlow runs."""
    script = (
        "import tensorflow as tf\n"
        "from mdl_tf.config import TrainConfig\n"
        "from mdl_tf.runs.training import prepare_keras\n"
        "prepare_keras(TrainConfig(repeatable=True))\n"
        "print(tf.config.threading.get_inter_op_parallelism_threads())\n"
        "tf.constant(0)\n"
        "prepare_keras(TrainConfig(repeatable=True))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


def scripted_start(monkeypatch, recall):
    """Let the validation classes have this Recall@1 before training."""
    from mdl_tf import callbacks

    real = callbacks.RetrievalMetrics.measure
    monkeypatch.setattr(
        callbacks.RetrievalMetrics,
        "measure",
        lambda self, model: {**real(self, model), "val_recall_at_1": recall},
    )


def test_model_keras_is_the_best_epoch_not_the_last(tmp_path, monkeypatch):
    """Recall is scripted: the second of three epochs is the best."""
    from mdl_tf import callbacks

    real = callbacks.RetrievalMetrics.on_epoch_end

    def scripted(self, epoch, logs=None):
        real(self, epoch, logs)
        logs["val_recall_at_1"] = [0.1, 0.9, 0.5][epoch]
        weights[epoch] = self.model.get_weights()

    weights = {}
    monkeypatch.setattr(callbacks.RetrievalMetrics, "on_epoch_end", scripted)
    scripted_start(monkeypatch, 0.3)
    config, run = started(tmp_path, monitor="recall_at_1")
    train(config, run, report=lambda line: None)
    best = keras.saving.load_model(run.model, compile=False).get_weights()
    for found, expected in zip(best, weights[1], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert json.loads((run.folder / "resume" / "state.json").read_text())["best"] == 0.9


def test_without_validation_the_last_model_is_kept_and_the_table_has_no_recall(tmp_path):
    lines = []
    config, run = started(tmp_path, validation=0, epochs=2)
    train(config, run, report=lines.append)
    assert not (run.folder / "recall.png").exists()
    assert (run.folder / "loss.png").exists()
    assert any(line.startswith("  2/2") and line.count(" -") >= 5 for line in lines)
    with pytest.raises(ValueError, match="'validation' is empty"):
        evaluate_run(run, split="validation")


def test_raw_pixels_are_those_of_the_images(tmp_path):
    from mdl_tf import datasets
    from mdl_tf.metrics import recall_at_k

    _, _, test = datasets.load("digits", validation=0)
    found = measure_raw(test)["recall_at_1"]
    directly = recall_at_k(test.images.reshape(len(test), -1), test.labels)
    assert found == pytest.approx(directly, abs=0.02), "32 x 32 by interpolation against 8 x 8"


def test_config_becomes_what_it_says():
    config = TrainConfig(
        **{**SMALL, "loss_args": {"margin": 0.4, "distance": "cosine"}, "l2_normalize": False}
    )
    loss = build_loss(config, 2)
    assert (loss.margin, loss.sharpness, loss.distance) == (0.4, 20.0, "cosine")
    model = build_model(config)
    assert model.input_shape == (None, 16, 16, 3)
    assert model.output_shape == (None, 8)
    assert [layer.name for layer in model.layers][-1] == "embedding"
    config = resolve(TrainConfig(schedule="constant"))
    assert float(build_optimizer(config).learning_rate) == pytest.approx(3e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "vgg"}, "Did you mean vgg19, vgg16? Received: backbone='vgg'"),
        (
            {"backbone": "vgg16"},
            "images of 16 x 16 (`image_size`). Received: backbone='vgg16', weights=None, and Keras "
            "says: Input size must be at least 32x32",
        ),
        ({"backbone": "not_there:build"}, "and there is no module not_there"),
        ({"weights": "/nowhere/a.weights.h5"}, "that exists, such as a .weights.h5. Received: "),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_before_data_are_read(
    tmp_path, monkeypatch, settings, message
):
    monkeypatch.setattr(run_data.datasets, "read", lambda *a, **k: pytest.fail("data were read"))
    config, run = started(tmp_path, **settings)
    with pytest.raises(ConfigError) as raised:
        train(config, run, report=lambda line: None)
    assert message in str(raised.value)


@pytest.mark.longest
def test_weights_that_were_fetched_are_not_needed_to_go_on(tmp_path, monkeypatch):
    network = build_model(resolve(TrainConfig(**SMALL)))
    network.get_layer("conv4").save_weights(tmp_path / "w.weights.h5")
    config, run = started(tmp_path, weights=str(tmp_path / "w.weights.h5"), epochs=2)
    train_one_epoch(config, run, monkeypatch)
    (tmp_path / "w.weights.h5").unlink()
    train(run.config, run, report=lambda line: None)
    assert len(history(run)) == 2


# Settings that some losses need to be worth training, and where one is enough to see that they come
# through.
LOSS_ARGS = {
    "triplet": {"mining": "all", "margin": 0.1},
    "margin": {"learn_beta": True},
    "soft_triple": {"centers_per_class": 2},
}


# Of pairs, and with proxies.
KINDS = ("margin_discriminate", "proxy_anchor")
# The others are of those kinds, and `test_loss_contract` has all of them.


@pytest.mark.parametrize("loss", slow_but(KINDS[:1], LOSSES, set(LOSSES) - set(KINDS)))
def test_every_loss_trains_resumes_and_evaluates(tmp_path, monkeypatch, loss):
    config, run = started(
        tmp_path, loss=loss, loss_args=LOSS_ARGS.get(loss, {}), epochs=2, tensorboard=False
    )
    train_one_epoch(config, run, monkeypatch)
    found = train(run.config, run, report=lambda line: None)
    assert history(run)[:, 0].tolist() == [1, 2]
    model = keras.saving.load_model(run.model, compile=False)
    assert model.output_shape == (None, 8), "the embedder alone, whatever the loss"
    again = evaluate_run(run, clustering=False)
    assert again["recall_at_1"] == pytest.approx(found["trained"]["recall_at_1"])


def test_weights_of_the_loss_have_the_classes_of_the_training_set_and_a_rate_of_their_own():
    settings = {"loss": "proxy_anchor", "learning_rate_factors": {"proxies": 100, "embedding": 10}}
    config = resolve(TrainConfig(**SMALL, **settings))
    model = build_training_model(config, 7, build_model(config))
    assert model.metric_loss.num_classes == 7
    factors = dict(
        zip(
            [v.path for v in model.trainable_variables],
            model.optimizer._factor_of_variable,
            strict=True,
        )
    )
    assert factors["loss_weights/proxies"] == 100
    assert sum(factor != 1 for factor in factors.values()) == 3
    assert factors["embedding/kernel"] == factors["embedding/bias"] == 10
    settings = {"loss": "margin", "loss_args": {"learn_beta": True}}
    config = resolve(TrainConfig(**SMALL, **settings, learning_rate_factors={"boundary": 1000}))
    model = build_training_model(config, 7, build_model(config))
    assert sum(factor == 1000 for factor in model.optimizer._factor_of_variable) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"loss": "proxy_nca", "loss_args": {"num_classes": 5}},
            "`num_classes` must be at least the number of training classes, 7. "
            "Received: num_classes=5",
        ),
        (
            {"loss": "arc_face", "loss_args": {"scales": 5}},
            "`loss_args` of loss='arc_face' may have the keys num_classes, margin, scale. "
            "Received: 'scales'",
        ),
        (
            {"loss": "triplet", "loss_args": {"mining": "easy"}},
            "`loss_args`: `mining` must be one of ('all', 'semi_hard', 'hard'). "
            "Received: mining='easy'",
        ),
        (
            {"learning_rate_factors": {"proxies": 10}},
            "must have names of layers or weights that are trained. Received: proxies. Known: ",
        ),
        (
            {"learning_rate_factors": {"embedding": "10"}},
            "`learning_rate_factors` must be numbers, at least 0. Received: 'embedding': '10'",
        ),
    ],
)
def test_settings_that_fit_no_loss_or_layer(settings, message):
    config = TrainConfig(**{**SMALL, **settings})
    with pytest.raises(ValueError) as raised:
        build_training_model(config, 7, build_model(config))
    assert message in str(raised.value)


def test_margin_of_the_reports_is_one_between_euclidean_distances():
    for loss, args, margin in (
        ("margin_discriminate", {"margin": 0.3}, 0.3),
        ("margin_discriminate", {"margin": 0.3, "distance": "cosine"}, 0.0),
        ("triplet", {"margin": 0.3, "distance": "euclidean"}, 0.3),
        ("triplet", {"margin": 0.3}, 0.0),
        ("cos_face", {}, 0.0),
        ("contrastive", {}, 0.0),
    ):
        config = TrainConfig(loss=loss, loss_args=args)
        assert build_loss(config, 2).gap == margin


def test_cosine_schedule_rises_then_falls_to_nearly_nothing():
    config = TrainConfig(epochs=10, steps_per_epoch=10, learning_rate=0.5)
    schedule = build_optimizer(config)._learning_rate
    rates = [float(schedule(step)) for step in range(100)]
    assert np.argmax(rates) == 5
    assert max(rates) == pytest.approx(0.5)
    assert rates[0] < 0.2
    assert rates[99] < 0.01


def test_loss_args_that_do_not_fit():
    with pytest.raises(ConfigError, match="may have the keys margin, sharpness, distance, form"):
        build_loss(TrainConfig(loss_args={"beta": 1}), 2)


def test_state_that_is_damaged_is_a_clear_error(tmp_path):
    config, run = started(tmp_path)
    run.write_text("resume/state.json", "{")
    with pytest.raises(ConfigError, match="state.json is damaged: it is no JSON"):
        train(config, run, report=lambda line: None)


def test_writing_leaves_the_old_file_if_the_new_one_fails(tmp_path):
    _, run = started(tmp_path)
    run.write_json("timing.json", {"a": 1})
    with pytest.raises(RuntimeError), run.writing("timing.json") as path:
        path.write_text("half")
        raise RuntimeError
    assert run.read_json("timing.json") == {"a": 1}
    assert sorted(p.name for p in run.folder.iterdir()) == ["config.json", "timing.json"]
    with run.writing("resume/a.npz") as path:
        left_by_a_kill = path.with_name(path.name + ".npz")
        left_by_a_kill.write_text("half")
    run.remove_unfinished()
    assert [p.name for p in (run.folder / "resume").iterdir()] == ["a.npz"]
    with pytest.raises(ValueError):
        run.write_json("timing.json", {"a": float("nan")})
    assert run.read_json("timing.json") == {"a": 1}
