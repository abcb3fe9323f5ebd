"""How a run begins, and that it never ends with less: head, frozen networks, start, refit."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.runs import SMALL, history, policy_as_before, started  # noqa: F401

from mdl_tf import batches, callbacks, cli, datasets, metrics
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.embedding import embed, fit_head, load_model
from mdl_tf.embedding.parts import embedding_layer, feature_model
from mdl_tf.runs import Run, evaluate_run, frozen, train
from mdl_tf.runs.keeping import RunCheckpoint
from mdl_tf.runs.network import build_model
from mdl_tf.runs.resolve import resolve, settle

QUICK = {"epochs": 2, "steps_per_epoch": 3, "tensorboard": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a network that has learned something of digits that no run here is measured on."""
    path = tmp_path_factory.mktemp("weights") / "w.weights.h5"
    keras.utils.set_random_seed(5)
    build_model(resolve(TrainConfig(**SMALL))).get_layer("conv4").save_weights(path)
    return str(path)


@pytest.fixture
def pretrained(weights):
    settings = {"weights": weights, "image_size": 16, "embedding_dim": 8}
    return {**QUICK, **settings}


def quietly(config, run):
    lines = []
    return train(config, run, report=lines.append), lines


def test_values_that_are_left_open_are_chosen_by_the_network(weights):
    small = {
        key: value for key, value in SMALL.items() if key not in ("image_size", "embedding_dim")
    }
    table = {
        (None, None): (64, 64, "random", "train", 3e-3, {}),
        ("weights", weights): (32, None, "whitened", None, 3e-4, {"embedding": 3.0}),
        ("learning_rate", 1e-3): (64, 64, "random", "train", 1e-3, {}),
    }
    for (name, value), expected in table.items():
        config = resolve(TrainConfig(**small, **({name: value} if name else {})))
        found = config.image_size, config.embedding_dim, config.head, config.batch_norm
        assert (*found, config.learning_rate, config.learning_rate_factors) == expected
    config = resolve(TrainConfig(**small, weights=weights))
    config = settle(config, build_model(config))
    assert (config.embedding_dim, config.batch_norm) == (64, "statistics"), "conv4 has 64 features"
    config = resolve(TrainConfig(**small, weights=weights, frozen=True))
    assert (config.batch_norm, config.learning_rate) == ("train", 1e-3)
    config = resolve(TrainConfig(dataset="npz", data_dir="f.npz", backbone="none"))
    assert (config.head, config.embedding_dim, config.learning_rate) == ("whitened", None, 1e-3)
    assert resolve(config) == config


def test_a_pretrained_network_sees_the_window_in_the_middle(tmp_path, weights):
    random = resolve(TrainConfig(**SMALL))
    assert random.augment == "none" and resolve(random) == random
    features = resolve(TrainConfig(dataset="npz", data_dir="f.npz", backbone="none"))
    assert features.augment == "none" and resolve(features) == features
    for stays, expected in ((True, "center"), (False, "crop")):
        config = resolve(TrainConfig(**SMALL, weights=weights, frozen=stays))
        assert config.augment == expected and resolve(config) == config
        asked = TrainConfig(**SMALL, weights=weights, frozen=stays, augment="none")
        assert resolve(asked).augment == "none"
    # After a start its window stays where it was.
    for before, stays, expected in (
        ("center", False, "crop"),
        ("crop", True, "center"),
        ("none", False, "none"),
        ("modern", True, "modern"),
        ("paper", False, "paper"),
    ):
        first = resolve(TrainConfig(**SMALL, augment=before))
        run = Run.create(first, tmp_path, f"{before}-{stays}")
        config = resolve(TrainConfig(**SMALL, start=str(run.folder), frozen=stays))
        assert config.augment == expected and resolve(config) == config


def test_a_shrinkage_without_use_is_refused_when_the_network_is_known():
    with pytest.raises(ConfigError, match="of head='whitened' only.*head='random' by default"):
        resolve(TrainConfig(**SMALL, shrinkage=0.3))


def test_a_pretrained_network_begins_with_a_whitening_of_the_training_classes(tmp_path, pretrained):
    config, run = started(tmp_path, **{**pretrained, "epochs": 1}, shrinkage=0.5)
    results, lines = quietly(config, run)
    assert list(results) == ["raw_pixels", "features", "untrained", "trained"]
    train_set, _, test = datasets.load("digits", validation=0.4)
    config = run.config
    model = build_model(config)
    seen = {"image_size": (16, 16), "augment": "center"}
    fit_head(model, batches.ordered(train_set, **seen), shrinkage=0.5)
    stream = batches.ordered(test, **seen)
    assert results["untrained"]["map_at_r"] == pytest.approx(
        metrics.map_at_r(*embed(model, stream)), abs=1e-4
    )
    features, labels = embed(feature_model(model), stream)
    expected = metrics.evaluate(features / np.linalg.norm(features, axis=1)[:, None], labels)
    assert results["features"]["recall_at_1"] == pytest.approx(expected["recall_at_1"], abs=1e-3)
    assert any("whitening of the training classes, 8 numbers; shrinkage 0.5" in x for x in lines)
    assert run.read_json("resume/head.json")["shrinkage"] == 0.5
    assert config.batch_norm == "statistics" and config.head == "whitened"


@pytest.mark.longest
@pytest.mark.parametrize(
    ("frozen", "loss"),
    [
        (False, "margin_discriminate"),
        (False, "proxy_anchor"),
        (True, "margin_discriminate"),
        (True, "proxy_anchor"),
    ],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    tmp_path, pretrained, monkeypatch, frozen, loss
):
    settings = {**pretrained, "frozen": frozen, "loss": loss, "epochs": 3}
    config, whole = started(tmp_path / "whole", **settings)
    expected, _ = quietly(config, whole)
    config, broken = started(tmp_path / "broken", **settings)
    kept = RunCheckpoint.on_epoch_end

    def interrupt(self, epoch, logs=None):
        kept(self, epoch, logs)
        if epoch == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        quietly(config, broken)
    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", kept)
    found, _ = quietly(config, broken)
    np.testing.assert_allclose(history(broken), history(whole), rtol=1e-4, atol=1e-5)
    for name in ("features", "untrained", "trained"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5)
    states = [run.read_json("resume/state.json") for run in (whole, broken)]
    assert states[0]["start"] == states[1]["start"] and states[0]["start"]["epoch"] == 0


def scripted(monkeypatch, start, epochs):
    """Let the validation classes have these MAP@R, before training and after each epoch."""
    measure, real = callbacks.RetrievalMetrics.measure, callbacks.RetrievalMetrics.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        real(self, epoch, logs)
        logs["val_map_at_r"] = epochs[epoch]

    monkeypatch.setattr(callbacks.RetrievalMetrics, "on_epoch_end", on_epoch_end)
    monkeypatch.setattr(
        callbacks.RetrievalMetrics,
        "measure",
        lambda self, model: {**measure(self, model), "val_map_at_r": start},
    )


@pytest.mark.parametrize(
    ("frozen", "epochs", "is_kept"),
    [
        pytest.param(False, (0.2, 0.3), True, marks=pytest.mark.slow),
        pytest.param(False, (0.2, 0.31), False, marks=pytest.mark.longest),
        pytest.param(True, (0.2, 0.3), True, marks=pytest.mark.longest),
        (True, (0.2, 0.31), False),
    ],
)
def test_training_never_ends_with_less_than_it_began_with(
    tmp_path, pretrained, monkeypatch, frozen, epochs, is_kept
):
    scripted(monkeypatch, 0.3, epochs)
    config, run = started(tmp_path, **pretrained, frozen=frozen)
    results, lines = quietly(config, run)
    told = any("No epoch was better than the start by val_map_at_r, 0.3000" in x for x in lines)
    assert told == is_kept
    assert ("the start is what this run has" in lines[-1]) == is_kept
    same = results["trained"]["map_at_r"] == pytest.approx(results["untrained"]["map_at_r"])
    assert same == is_kept
    # model.keras is what was measured.
    _, _, test = datasets.load("digits", validation=0.4)
    found = metrics.map_at_r(
        *embed(load_model(run.model), batches.ordered(test, image_size=(16, 16), augment="center"))
    )
    assert found == pytest.approx(results["trained"]["map_at_r"], abs=1e-4)


@pytest.mark.longest
def test_a_random_network_has_its_start_as_a_candidate_too(tmp_path, monkeypatch):
    scripted(monkeypatch, 0.3, (0.2, 0.1))
    config, run = started(tmp_path, **QUICK)
    results, lines = quietly(config, run)
    assert list(results) == ["raw_pixels", "untrained", "trained"]
    assert results["trained"] == pytest.approx(results["untrained"])
    rows = (run.folder / "history.csv").read_text().splitlines()
    assert rows[1].startswith("0,nan,") and len(rows) == 4


@pytest.mark.longest
def test_without_validation_nothing_is_compared_and_the_run_says_so(tmp_path, pretrained):
    config, run = started(tmp_path, **{**pretrained, "validation": 0})
    results, lines = quietly(config, run)
    assert "No validation classes: the last epoch counts, better than the start or not." in lines
    assert "Without validation classes nothing was compared" in lines[-1]
    assert run.read_json("resume/state.json")["start"] is None
    assert len(history(run)) == 2


def test_a_frozen_network_is_whole_in_the_end_and_loads_without_this_library(
    tmp_path, pretrained, monkeypatch
):
    scripted(monkeypatch, 0.1, (0.2, 0.3))
    config, run = started(tmp_path, **pretrained, frozen=True)
    results, _ = quietly(config, run)
    _, _, test = datasets.load("digits", validation=0.4)
    [(images, _)] = list(
        batches.ordered(test.take(slice(0, 32)), image_size=(16, 16), augment="center")
    )
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, numpy as np, keras\n"
        f"model = keras.saving.load_model({str(run.model)!r})\n"
        f"x = model.predict(np.load({str(tmp_path / 'images.npy')!r}), verbose=0)\n"
        f"np.save({str(tmp_path / 'x.npy')!r}, x)\n"
        "assert not [name for name in sys.modules if name.startswith('mdl_tf')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    expected, _ = embed(load_model(run.model), np.asarray(images))
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-6)
    # Nothing but the embedding layer has changed, and that has.
    before = build_model(run.config)
    after = load_model(run.model)
    for old, new in zip(
        feature_model(before).get_weights(), feature_model(after).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    fit_head(
        before,
        batches.ordered(
            datasets.load("digits", validation=0.4)[0], image_size=(16, 16), augment="center"
        ),
    )
    kernels = [embedding_layer(model).kernel.numpy() for model in (before, after)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
    assert evaluate_run(run, clustering=False)["map_at_r"] == pytest.approx(
        results["trained"]["map_at_r"], abs=1e-4
    )


@pytest.mark.longest
def test_features_are_computed_once_and_found_by_content(tmp_path, pretrained, monkeypatch):
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(frozen, "_PART", 200)
    counted = []
    real = frozen.embed
    monkeypatch.setattr(frozen, "embed", lambda *a, **k: (counted.append(1), real(*a, **k))[1])
    config, run = started(tmp_path / "a", **pretrained, frozen=True)
    expected, _ = quietly(config, run)
    parts = sorted((tmp_path / "home" / "features").rglob("*.npz"))
    # 543, 358 and 896 images, 200 at a time.
    assert len(counted) == len(parts) == 3 + 2 + 5
    # Another split and loss find them; a damaged file and one of a kill are computed again.
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    parts[1].unlink()
    counted.clear()
    config, run = started(tmp_path / "b", **{**pretrained, "validation": 0}, frozen=True)
    found, _ = quietly(config, run)
    assert 2 <= len(counted) <= 4
    assert found["features"] == pytest.approx(expected["features"])
    # Other weights are another network.
    counted.clear()
    keras.utils.set_random_seed(6)
    other = str(tmp_path / "o.weights.h5")
    build_model(resolve(TrainConfig(**SMALL))).get_layer("conv4").save_weights(other)
    config, run = started(tmp_path / "c", **{**pretrained, "weights": other}, frozen=True)
    assert quietly(config, run)[0]["features"] != expected["features"]
    assert len(counted) == 10


def test_a_run_begins_with_the_model_of_another(tmp_path, pretrained):
    config, first = started(tmp_path / "a", **pretrained, frozen=True)
    before, _ = quietly(config, first)
    settings = {**QUICK, "start": str(first.folder), "image_size": None, "embedding_dim": None}
    config, second = started(tmp_path / "b", **settings)
    results, lines = quietly(config, second)
    assert second.config.head == "kept" and second.config.embedding_dim == 8
    for name in ("features", "untrained"):
        expected = before["features" if name == "features" else "trained"]
        assert results[name]["map_at_r"] == pytest.approx(expected["map_at_r"], abs=1e-4)
    weights = [feature_model(load_model(run.model)).get_weights() for run in (first, second)]
    moved = max(np.abs(a - b).max() for a, b in zip(*weights, strict=True))
    assert moved > 0 or "the start is kept" in "".join(lines)


def test_a_start_that_does_not_fit_is_refused(tmp_path, pretrained):
    config, first = started(tmp_path / "a", **{**pretrained, "epochs": 1}, frozen=True)
    quietly(config, first)
    start = {**QUICK, "start": str(first.folder)}
    cases = [
        ({"image_size": 32}, "`image_size` must be that of the run of `start`, 16"),
        ({"embedding_dim": 4}, "`embedding_dim` must be that of the run of `start`, 8"),
        ({"pooling": "max"}, "`pooling` must be that of the run of `start`, 'avg'"),
        ({"backbone": "inception_bn", "image_size": None}, "`backbone` must be that of the run"),
        ({"start": str(tmp_path)}, "must be a folder with a config.json"),
        # Its training classes would be validation classes here.
        ({"validation": 0.6, "classes_per_batch": 2}, "trained on no validation class of this one"),
        ({"dataset": "glyphs"}, None),
    ]
    for number, (settings, message) in enumerate(cases[:-1]):
        config, run = started(tmp_path / str(number), **{**start, **settings})
        with pytest.raises(ConfigError) as raised:
            quietly(config, run)
        assert message in str(raised.value) and "\n" not in str(raised.value)
        assert not (run.folder / "model.keras").exists()


@pytest.mark.longest
def test_refit_trains_again_on_the_validation_classes_too(tmp_path, pretrained, monkeypatch):
    scripted(monkeypatch, 0.1, (0.3, 0.2, 0.2))
    config, run = started(tmp_path, **{**pretrained, "epochs": 3}, frozen=True, refit=True)
    results, lines = quietly(config, run)
    assert list(results) == ["raw_pixels", "features", "untrained", "trained", "refitted"]
    # Of classes that the model was trained on.
    assert not (run.folder / "calibration.json").exists()
    assert any("Refit on training and validation classes: 1 of 3 epochs" in x for x in lines)
    again = Run.open(run.folder / "refit")
    assert len(history(again)) == 1 and again.config.shrinkage is not None
    classes = again.read_json("classes.json")
    first = run.read_json("classes.json")
    assert classes["train"] == first["train"] + first["validation"] and not classes["validation"]
    # It is the model of the run, and measured on the test alone.
    assert run.model.read_bytes() == again.model.read_bytes()
    assert evaluate_run(run, clustering=False)["map_at_r"] == pytest.approx(
        results["refitted"]["map_at_r"], abs=1e-4
    )
    with pytest.raises(ValueError, match="must be train or test for a run with `refit`"):
        evaluate_run(run, split="validation")
    found, _ = quietly(config, run)
    assert found["refitted"] == pytest.approx(results["refitted"])


@pytest.mark.longest
def test_refit_after_a_start_that_nothing_beat_fits_the_head_alone(
    tmp_path, pretrained, monkeypatch
):
    scripted(monkeypatch, 0.4, (0.3, 0.2))
    config, run = started(tmp_path, **pretrained, refit=True)
    results, lines = quietly(config, run)
    assert any("the embedding layer alone begins anew" in line for line in lines)
    assert not (run.folder / "refit" / "history.csv").exists()
    model = build_model(run.config)
    train_set, validation, test = datasets.load("digits", validation=0.4)
    both = datasets.load("digits", validation=0)[0]
    assert len(both) == len(train_set) + len(validation)
    shrinkage = run.read_json("resume/head.json")["shrinkage"]
    fit_head(
        model, batches.ordered(both, image_size=(16, 16), augment="center"), shrinkage=shrinkage
    )
    expected = metrics.map_at_r(
        *embed(model, batches.ordered(test, image_size=(16, 16), augment="center"))
    )
    assert results["refitted"]["map_at_r"] == pytest.approx(expected, abs=2e-3)


@pytest.mark.longest
def test_features_with_folds_and_proxies(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(16), 8)
    vectors = rng.normal(size=(16, 12))[labels] + rng.normal(size=(128, 12))
    np.savez(tmp_path / "f.npz", features=vectors.astype(np.float32), labels=labels)
    config = TrainConfig(
        **QUICK,
        dataset="npz",
        data_dir=str(tmp_path / "f.npz"),
        backbone="none",
        folds=2,
        loss="soft_triple",
        classes_per_batch=3,
        images_per_class=3,
    )
    run = Run.create(config, tmp_path)
    results, _ = quietly(config, run)
    assert list(results) == ["features", "untrained", "separated", "separated_sd", "concatenated"]
    assert [part.config.embedding_dim for part in run.parts] == [12, 12]


def test_the_command_line_says_what_cannot_be_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 6)).astype(np.float32)
    features[3] = np.nan
    labels = np.repeat(np.arange(10), 4)
    np.savez("nan.npz", features=features, labels=labels)
    np.savez("same.npz", features=np.ones((40, 6), np.float32), labels=labels)
    for name, message in (
        ("nan", "`features` must be finite in float32. Received: NaN or infinity in 1 rows"),
        ("same", "must have features that differ"),
    ):
        arguments = f"train --dataset npz --data-dir {name}.npz --backbone none --name {name} "
        arguments += "--classes-per-batch 3 --epochs 1 --steps-per-epoch 1"
        assert cli.main(arguments.split()) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert cli.main(["train", "--start", "nowhere"]) == 2
    assert "must be a folder with a config.json" in capsys.readouterr().err


@pytest.mark.longest
def test_what_a_run_keeps_is_complete(tmp_path, pretrained):
    config, run = started(tmp_path, **{**pretrained, "embedding_dim": None})
    quietly(config, run)
    kept = json.loads((run.folder / "config.json").read_text())
    assert (kept["embedding_dim"], kept["batch_norm"], kept["head"]) == (
        64,
        "statistics",
        "whitened",
    )
