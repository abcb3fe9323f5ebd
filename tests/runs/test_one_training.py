"""One way to train: a run and a trial of a comparison are the same training, bit by bit."""

import io
import subprocess
import sys

import numpy as np
import pytest
from helpers import slow_but
from helpers.runs import SMALL, policy_as_before, started  # noqa: F401

from mdl_tf import batches, datasets
from mdl_tf.compare import trial
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.embedding import embed
from mdl_tf.runs import single, train
from mdl_tf.runs.data import read_data
from mdl_tf.runs.measure import measure_set
from mdl_tf.runs.network import build_model
from mdl_tf.runs.resolve import resolve

SHORT = {**SMALL, "epochs": 2, "steps_per_epoch": 3, "tensorboard": False, "repeatable": True}
# A loss of pairs, one with weights, phases and batch normalisation, precision.
TRAININGS = {
    "pairs": {},
    "proxies": {"loss": "proxy_anchor", "learning_rate_factors": {"proxies": 10}},
    "warm-up": {"warm_up_epochs": 1, "batch_norm": "statistics", "epochs": 3},
    "half precision": {"policy": "mixed_bfloat16", "optimizer": "adamw", "schedule": "step"},
}


@pytest.mark.parametrize("name", slow_but((), TRAININGS, set(TRAININGS) - {"pairs"}))
def test_a_run_and_a_trial_have_the_same_history(name, tmp_path):
    config, run = started(tmp_path, **{**SHORT, **TRAININGS[name]})
    train(config, run, report=lambda line: None)
    rows = run.read_json("resume/state.json")["history"]
    record, embedder = trial.train(resolve(config), read_data(config))
    assert record["history"] == rows
    assert len({row["loss"] for row in rows}) == len(rows), "not all the same"
    best = [a for a in trial.measure(embedder, read_data(config), config).metrics.values()]
    kept = run.read_json("metrics.json")["trained"]
    assert best == pytest.approx(list(kept.values()), rel=1e-6)


@pytest.mark.slow
def test_what_a_comparison_keeps_loads_without_this_library(tmp_path):
    """Also with `batch_norm="statistics"`, for which training has a layer of its own."""
    config = resolve(TrainConfig(**{**SHORT, "batch_norm": "statistics"}))
    data = read_data(config)
    _, embedder = trial.train(config, data)
    embedder.save(tmp_path / "kept.keras")
    images = batches.ordered(data.test, image_size=(16, 16))
    np.save(tmp_path / "expected.npy", embed(embedder, images)[0][:8])
    np.save(tmp_path / "images.npy", next(iter(images))[0][:8])
    script = (
        "import sys, keras, numpy as np\n"
        "model = keras.saving.load_model('kept.keras', compile=False)\n"
        "assert 'mdl_tf' not in sys.modules\n"
        "got = model.predict(np.load('images.npy'), verbose=0)\n"
        "np.testing.assert_allclose(got, np.load('expected.npy'), atol=1e-5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.longest
def test_raw_pixels_are_measured_once_for_all_folds_and_a_cache_decodes_once(tmp_path, monkeypatch):
    calls, real = {"raw": 0, "decoded": 0}, single.measure_raw

    def counted(*arguments, **options):
        calls["raw"] += 1
        return real(*arguments, **options)

    ordered = single.ordered_stream

    def decoded(*arguments):
        calls["decoded"] += 1
        return ordered(*arguments)

    monkeypatch.setattr(single, "measure_raw", counted)
    monkeypatch.setattr(single, "ordered_stream", decoded)
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    settings = {**SHORT, "folds": 2, "cache": "disk", "classes_per_batch": 2, "epochs": 1}
    del settings["validation"]
    config, run = started(tmp_path / "runs", **settings, validation=0.1)
    train(config, run, report=lambda line: None)
    assert calls == {"raw": 1, "decoded": 1}
    raw = [part.read_json("metrics.json")["raw_pixels"] for part in run.parts]
    assert raw[0] == raw[1] == run.read_json("metrics.json")["raw_pixels"]


def test_a_measured_set_must_be_that_of_the_batches():
    """Labels of one and embeddings of the other would be measured as if they were one set."""
    _, _, test = datasets.load("digits", validation=0)
    shuffled = test.take(np.random.default_rng(0).permutation(len(test)))
    model = build_model(TrainConfig(**SMALL))
    with pytest.raises(ValueError, match="`image_batches` must be those of `image_set`, in its"):
        measure_set(
            model,
            test,
            "",
            image_batches=batches.ordered(shuffled, image_size=(16, 16)),
            stream=io.StringIO(),
        )


def test_what_cannot_be_made_is_refused_before_anything_is_measured(tmp_path):
    config, run = started(tmp_path, **{**SHORT, "images_per_class": 500})
    with pytest.raises(ValueError, match="`images_per_class` must be at most the images of every"):
        train(config, run, report=lambda line: None)
    run.discard_if_new()
    assert not run.folder.exists()


def test_a_run_keeps_every_value(tmp_path):
    config, run = started(tmp_path, **{**SHORT, "optimizer": "adamw", "epochs": 1})
    train(config, run, report=lambda line: None)
    kept = run.read_json("config.json")
    assert kept["loss_args"] == {
        "margin": 0.2,
        "sharpness": 20.0,
        "distance": "euclidean",
        "form": "smooth",
    }
    assert kept["weight_decay"] == 0.004
    open_ones = {"data_dir", "weights", "start", "shrinkage", "clip_norm", "devices"}
    open_ones.add("micro_batch")
    assert {name for name, value in kept.items() if value is None} <= open_ones
    assert run.config == resolve(config) != config


def test_of_two_runs_of_other_counts_one_is_refused(tmp_path):
    config, run = started(tmp_path, **{**SHORT, "epochs": 1})
    train(config, run, report=lambda line: None)
    counts = run.read_json("resume/images.json")
    run.write_json("resume/images.json", {**counts, "test": counts["test"] + 1})
    with pytest.raises(ConfigError, match="must hold the images that it held when the run began"):
        train(config, run, report=lambda line: None)
