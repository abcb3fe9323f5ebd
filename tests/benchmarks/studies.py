"""What the studies share: one training in memory, watched on the validation classes."""

import numpy as np

from mdl_tf.runs.batch_size import settle_batches
from mdl_tf.runs.keeping import InMemory
from mdl_tf.runs.resolve import resolve, settle
from mdl_tf.runs.training import build_network, fit


def train(config, data):
    """Train a config as `mdl-tf train` would, and keep nothing on disk.

    Args:
        config: a `TrainConfig` with validation classes.
        data: its `Data`.

    Returns:
        An `InMemory`, with `start` and `history`.
    """
    config = resolve(config)
    network = build_network(config, data.feature_size)
    config = settle_batches(settle(config, network), np.bincount(data.train.labels))
    keep = InMemory(config)
    fit(config, data, keep, network=network)
    return keep
