"""Small training runs."""

import keras
import numpy as np
import pytest

from mdl_tf.config import TrainConfig
from mdl_tf.runs import Run

SMALL = {
    "dataset": "digits",
    "backbone": "conv4",
    "image_size": 16,
    "embedding_dim": 8,
    "classes_per_batch": 3,
    "images_per_class": 6,
    "validation": 0.4,
    "epochs": 3,
    "steps_per_epoch": 6,
    "clustering": False,
}


@pytest.fixture(autouse=True)
def policy_as_before():
    yield
    keras.config.set_dtype_policy("float32")


def started(folder, **settings):
    config = TrainConfig(**{**SMALL, **settings})
    return config, Run.create(config, folder)


def history(run):
    """The epochs of a run, without its start."""
    rows = np.loadtxt(run.folder / "history.csv", delimiter=",", skiprows=1, ndmin=2)
    return rows[rows[:, 0] > 0]
