"""What the studies share: a training in memory, watched on the validation classes; what is done."""

import json

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


def read_done(path):
    """What a study has kept so far, a dict from the key of a run to what it found."""
    return json.loads(path.read_text()) if path.is_file() else {}


def keep_done(path, done, key, found):
    """Add a run to what is done, on disk and on the screen, so that the same command goes on."""
    done[key] = found
    print(key, found, flush=True)
    path.write_text(json.dumps(done, indent=1) + "\n")
