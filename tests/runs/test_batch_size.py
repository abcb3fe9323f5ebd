"""What a batch has where nobody says it: as much as data and memory allow, and it is said."""

import keras
import numpy as np
import pytest
from helpers.runs import started

from mdl_tf.batches import BalancedPlan
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.runs import batch_size, train
from mdl_tf.runs.batch_size import settle_batches

ODD = [2] * 3 + [3] * 2 + [50] * 40


@pytest.mark.parametrize(
    ("sizes", "settings", "expected", "said"),
    [
        ([4] * 600, {}, (32, 4, "error"), ""),
        ([100] * 50, {}, (32, 4, "error"), ""),
        ([3] * 5, {}, (5, 3, "error"), "Batches of 5 classes x 3 images, as the data allow ("),
        ([100] * 2, {}, (2, 8, "error"), "Batches of 2 classes x 8 images, as the data allow ("),
        ([100] * 20, {}, (20, 6, "error"), "Batches of 20 classes x 6 images"),
        ([2] * 300, {}, (32, 2, "error"), "Batches of 32 classes x 2 images"),
        (ODD, {}, (32, 4, "repeat"), "; 5 of 45 classes have fewer, and repeat theirs ("),
        ([1] * 3 + [5] * 9, {}, (12, 5, "repeat"), "; 3 of 12 classes have fewer"),
        ([1] * 9, {}, (9, 2, "repeat"), "; 9 of 9 classes have fewer"),
        # What is said stays; the rest goes with it.
        ([100] * 2, {"images_per_class": 3}, (2, 3, "error"), "Batches of 2 classes x 3"),
        ([100] * 9, {"classes_per_batch": 4}, (4, 4, "error"), "Batches of 4 classes x 4"),
        ([2] * 9, {"classes_per_batch": 4}, (4, 2, "error"), "Batches of 4 classes x 2"),
        (ODD, {"images_per_class": 4}, (32, 4, "error"), ""),
        (ODD, {"short_classes": "error"}, (32, 4, "error"), ""),
        (ODD[:20], {"short_classes": "drop"}, (15, 6, "drop"), "Batches of 15 classes x 6"),
        (ODD, {"classes_per_batch": 2, "images_per_class": 2}, (2, 2, "error"), "Batches of 2"),
    ],
)
def test_batches_fit_the_data(sizes, settings, expected, said):
    lines = []
    config = settle_batches(TrainConfig(**settings), np.array(sizes), report=lines.append)
    found = config.classes_per_batch, config.images_per_class, config.short_classes
    assert found == expected
    assert bool(lines) == bool(said)
    assert said in "".join(lines)
    again = []
    assert settle_batches(config, sizes, report=again.append) == config
    assert again == []
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if expected[2] != "error" or min(sizes) >= expected[1]:
        plan = BalancedPlan(labels, expected[0], expected[1], short_classes=expected[2])
        assert len(plan.batch(0)) == expected[0] * expected[1]


def test_batches_fit_the_memory(monkeypatch):
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3, padding="same"), keras.layers.Flatten()]
    )
    # 192 and twice 1,024 numbers of 4 bytes, and half of that again.
    assert batch_size._image_memory(network) == (192 + 2 * 1024) * 4 * 1.5
    monkeypatch.setattr(batch_size.checks, "memory_limit", lambda: 2 * 10 * 4 * 13440)
    lines = []
    config = settle_batches(TrainConfig(), [4] * 600, network, lines.append)
    assert (config.classes_per_batch, config.images_per_class) == (10, 4)
    assert lines[0].startswith("Batches of 10 classes x 4 images, as memory allows (")
    monkeypatch.setattr(batch_size.checks, "memory_limit", lambda: 1)
    assert settle_batches(TrainConfig(), [4] * 600, network).classes_per_batch == 2
    monkeypatch.undo()
    assert settle_batches(TrainConfig(), [4] * 600, network).classes_per_batch == 32


def test_a_run_keeps_what_was_settled_and_earlier_runs_what_they_had(tmp_path):
    settings = {"epochs": 1, "steps_per_epoch": 1, "tensorboard": False}
    settings |= {"classes_per_batch": None, "images_per_class": None}
    config, run = started(tmp_path, **settings)
    lines = []
    train(config, run, report=lines.append)
    kept = run.config
    assert (kept.classes_per_batch, kept.images_per_class) == (3, 8)
    assert kept.short_classes == "error"
    assert any("Batches of 3 classes x 8 images" in line for line in lines)
    before = TrainConfig.from_kept({"dataset": "digits"})  # of 0.1.0, without a version
    batch = before.classes_per_batch, before.images_per_class, before.short_classes
    assert batch == (32, 4, "error")
    with pytest.raises(ConfigError, match="`classes_per_batch` .* must be at most the number of"):
        _, run = started(tmp_path, **{**settings, "classes_per_batch": 32})
        train(run.config, run, report=lines.append)
