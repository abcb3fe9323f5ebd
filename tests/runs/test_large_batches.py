"""Micro-batches and a cross-batch memory on the command line's own way."""

import numpy as np
import pytest
from helpers.runs import history, started

from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.runs import train
from mdl_tf.runs.data import read_data, training_stream
from mdl_tf.runs.network import build_model, build_training_model
from mdl_tf.runs.resolve import resolve

LARGE = {"micro_batch": 5, "memory": 40, "memory_start": 2, "batch_norm": "statistics"}


def quiet(line):
    pass


def test_settings_reach_the_model_and_the_stream():
    config = resolve(
        TrainConfig(
            dataset="digits",
            backbone="conv4",
            image_size=16,
            classes_per_batch=3,
            images_per_class=4,
            short_classes="error",
            **LARGE,
        )
    )
    model = build_training_model(config, 5, build_model(config))
    assert (model.micro_batch, model.memory.size, model.memory.start) == (5, 40, 2)
    data = read_data(config)
    _, labels = next(iter(training_stream(data.train, config)))
    numbers = labels["images"].numpy()
    np.testing.assert_array_equal(data.train.labels[numbers], labels["labels"])
    assert len(set(numbers)) == len(numbers)


def test_what_cannot_be_is_one_line():
    with pytest.raises(ConfigError, match="`memory_start` is of a `memory` only"):
        TrainConfig(memory_start=5)
    with pytest.raises(ConfigError, match="`micro_batch` must be an integer, at least 1"):
        TrainConfig(micro_batch=0)
    config = resolve(TrainConfig(backbone="conv4", image_size=16, loss="proxy_nca", memory=8))
    with pytest.raises(ConfigError, match="`memory` needs a loss that compares images"):
        build_training_model(config, 5, build_model(config))
    config = resolve(TrainConfig(backbone="conv4", image_size=16, micro_batch=8))
    with pytest.raises(ValueError, match="--batch-norm statistics"):
        build_training_model(config, 5, build_model(config))


@pytest.mark.longest
def test_a_run_that_goes_on_has_its_memory(tmp_path):
    config, run = started(tmp_path / "whole", **LARGE)
    train(config, run, report=quiet)
    expected = history(run)
    config, run = started(tmp_path / "parts", **{**LARGE, "epochs": 3})
    from mdl_tf.runs import keeping

    kept = keeping.OnDisk.keep_epoch

    def stop_after(self, epoch, *arguments):
        kept(self, epoch, *arguments)
        if epoch == 1:
            raise KeyboardInterrupt

    keeping.OnDisk.keep_epoch = stop_after
    try:
        with pytest.raises(KeyboardInterrupt):
            train(config, run, report=quiet)
    finally:
        keeping.OnDisk.keep_epoch = kept
    from mdl_tf.runs import Run

    train(config, Run.open(run.folder), report=quiet)
    np.testing.assert_allclose(history(run), expected, rtol=1e-4)
