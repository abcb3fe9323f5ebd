"""Batches of several replicas: each gets its rows of the same plan, and decodes no others."""

import types

import numpy as np
import pytest
import tensorflow as tf

from mdl_tf import batches
from mdl_tf.batches import streams
from mdl_tf.datasets import ImageSet

LABELS = np.repeat(np.arange(6), 5)
NAMES = tuple("abcdef")
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 20, 20, 3), np.uint8)
SETTINGS = {"classes_per_batch": 4, "images_per_class": 3, "image_size": (16, 16), "seed": 5}


class Strategy:
    """As a strategy of some workers with some replicas each, one of whose streams is read."""

    extended = types.SimpleNamespace()

    def __init__(self, workers, replicas, worker):
        self.num_replicas_in_sync = workers * replicas
        self._context = tf.distribute.InputContext(workers, worker, workers * replicas)

    def distribute_datasets_from_function(self, function):
        return types.SimpleNamespace(stream=function(self._context))


def train():
    return ImageSet("train", LABELS, NAMES, images=IMAGES)


def read(stream, number):
    return [(x.numpy(), y.numpy()) for x, y in stream.take(number)]


@pytest.mark.parametrize("workers, replicas", [(1, 2), (1, 4), (2, 1), (3, 1), (2, 2), (3, 2)])
def test_shares_are_the_rows_of_the_whole_in_order(workers, replicas):
    settings = {**SETTINGS, "augment": "modern", "start_step": 7}
    whole = read(batches.balanced(train(), **settings), 3)
    shares = []
    for worker in range(workers):
        strategy = Strategy(workers, replicas, worker)
        shared = batches.balanced(train(), **settings, strategy=strategy)
        assert shared.is_balanced
        shares.append(read(shared.stream, 3 * replicas))
    for step, (x, y) in enumerate(whole):
        # Replica by replica, worker by worker.
        parts = [part for share in shares for part in share[step * replicas :][:replicas]]
        assert len(parts) == workers * replicas
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), x)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), y)


def test_a_worker_decodes_its_own_rows_alone(monkeypatch):
    decoded = []
    make = streams._decoder

    def counting(image_set, view):
        load = make(image_set, view)

        def count(i):
            tf.py_function(lambda i: decoded.append(int(i)), [i], [])
            return load(i)

        return count

    monkeypatch.setattr(streams, "_decoder", counting)
    monkeypatch.setattr(tf.data, "AUTOTUNE", 1)  # nothing far ahead
    shared = batches.balanced(train(), **SETTINGS, strategy=Strategy(3, 1, 1))
    rows = 12 // 3
    wanted = [
        batches.BalancedPlan(LABELS, 4, 3, seed=5).batch(step)[rows : 2 * rows] for step in (0, 1)
    ]
    read(shared.stream, 2)
    assert decoded[: 2 * rows] == np.concatenate(wanted).tolist()


def test_what_replicas_cannot_share_is_refused():
    with pytest.raises(ValueError, match="must be divisible by the replicas"):
        batches.balanced(train(), **SETTINGS, strategy=Strategy(5, 1, 0))


def test_one_replica_has_the_whole():
    stream = batches.balanced(train(), **SETTINGS, strategy=Strategy(1, 1, 0))
    assert isinstance(stream, tf.data.Dataset)
    np.testing.assert_array_equal(
        read(stream, 1)[0][1], read(batches.balanced(train(), **SETTINGS), 1)[0][1]
    )
