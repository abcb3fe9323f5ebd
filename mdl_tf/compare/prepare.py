"""What all runs of a comparison share: the data, and that every loss can be trained on them."""

import hashlib
import io
import json
from pathlib import Path

from mdl_tf.compare.spaces import check_held
from mdl_tf.config import ConfigError
from mdl_tf.runs.data import ordered_stream, training_stream
from mdl_tf.runs.measure import measure_raw
from mdl_tf.runs.network import build_loss, build_model, build_training_model


def check(comparison, data):
    """Refuse what would stop a run later on, before the first is trained.

    Args:
        comparison: a `Comparison`.
        data: its `Data`.

    Raises:
        ConfigError, ValueError: for batches that cannot be made, and settings that a loss has not.
    """
    config = comparison.config
    # Decoded here with its progress, if it is to be kept: the runs find it done.
    training_stream(data.train, config)
    ordered_stream(data.validation, config)
    for entry in comparison.entries:
        check_held(entry)
        for settings in comparison.drawn(entry):
            build_loss(comparison.run_config(entry, settings, config.seed), data.train.num_classes)
    # Factors of learning rates are refused where a model is compiled: the defaults have fewer.
    embedder = build_model(config, data.feature_size)
    for entry in comparison.entries:
        for settings in comparison.drawn(entry)[:2]:
            one = comparison.run_config(entry, settings, config.seed)
            try:
                build_training_model(one, data.train.num_classes, embedder)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"`losses`: {entry.label} cannot be trained: {error}") from error


def describe_data(data):
    """Sizes of the three parts, for the report, and a digest that tells whether they are the same.

    Args:
        data: a `Data`.

    Returns:
        A dict for JSON.
    """
    counts = {
        name: {"images": len(part), "classes": part.num_classes}
        for name, part in data.sides.items()
    }
    digest = hashlib.sha256()
    for part in data.sides.values():
        for content in _contents(part):
            digest.update(content)
    name = data.test.name.removesuffix(" test")
    return {"kind": data.test.kind, "name": name, **counts, "digest": digest.hexdigest()[:16]}


def _contents(image_set):
    """What makes a set what it is, as bytes; of files their names and sizes."""
    yield json.dumps(image_set.class_names).encode()
    yield image_set.labels.tobytes()
    if image_set.paths is None:
        yield (image_set.images if image_set.features is None else image_set.features).tobytes()
        return
    for path in map(Path, image_set.paths):
        # Not the whole path: the folder may have been moved.
        yield f"{path.parent.name}/{path.name} {path.stat().st_size}".encode()


def measure_without_network(comparison, data):
    """Metrics of the test without a network: of small grey images, or of the features.

    Args:
        comparison: a `Comparison`.
        data: its `Data`.
    """
    return measure_raw(data.test, comparison.config.dataset, io.StringIO())
