"""What all runs of a comparison share: the data, and that every loss can be trained on them."""

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from mdl_tf.compare import trial
from mdl_tf.compare.comparison import Comparison
from mdl_tf.compare.spaces import check_held
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.embedding import embed
from mdl_tf.embedding.parts import feature_model
from mdl_tf.progress import ProgressLine
from mdl_tf.runs.batch_size import settle_batches
from mdl_tf.runs.data import Data, ordered_stream, training_stream
from mdl_tf.runs.frozen import featurize
from mdl_tf.runs.measure import measure_features, measure_raw
from mdl_tf.runs.network import build_loss, build_training_model
from mdl_tf.runs.resolve import is_pretrained, resolve
from mdl_tf.runs.training import read_and_build


class Shared(NamedTuple):
    """What all runs of a comparison share."""

    comparison: Comparison  # nothing of its config is left open
    asked: TrainConfig  # as it was asked for
    network: keras.Model  # of the config, before anything is set or trained
    data: Data
    trained_on: Data  # the same; of a network that is not trained, the features that it makes
    whole: keras.Model | None  # that network, of which the embedding layer alone is trained


def prepare(comparison, folder, report, stream=None):
    """Read the data, settle the config, and refuse what would stop a run later on.

    Args:
        comparison: a `Comparison`.
        folder: its `Folder`.
        report: a function that prints a line.
        stream: where progress goes. Defaults to standard output.

    Returns:
        A `Shared`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
    """
    config, asked = _begin_with(comparison.config, folder, report), comparison.config
    data, network = read_and_build(config, report)
    config = settle_batches(config, np.bincount(data.train.labels), network, report)
    comparison = dataclasses.replace(comparison, config=config).settled(network)
    trained_on, whole, embedder = data, None, network
    if config.frozen:
        trained_on, whole = featurize(config, data, network, stream), network
        embedder = trial.build_untrained(comparison.config, trained_on, whole)
    _check(comparison, trained_on, embedder)
    return Shared(comparison, asked, network, data, trained_on, whole)


def _begin_with(asked, folder, report):
    """The config that a comparison has, from what is asked for: that of its folder, if any."""
    resolved = dataclasses.replace(resolve(asked), loss_args={})
    if folder.read_settings() is None:
        return resolved
    kept = folder.comparison.config
    pairs = zip(kept.to_dict().items(), resolved.to_dict().values(), strict=True)
    stay = [f"{name}={value!r}" for (name, value), now in pairs if now not in (None, value)]
    if stay:
        report(f"This comparison goes on with what it began with: {', '.join(stay)}.")
    return kept


def _check(comparison, data, embedder):
    """Refuse what would stop a run later on, before the first is trained.

    Args:
        comparison: a `Comparison`.
        data: its `Data`, of features if the network is frozen.
        embedder: what its config makes of them.

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
    facts = {"kind": data.test.kind, "name": data.test.name.removesuffix(" test"), **counts}
    facts["digest"] = digest.hexdigest()[:16]
    # Another file may have the size of the old one.
    contents = [part.digests for part in data.sides.values() if part.digests is not None]
    if contents:
        facts["content"] = hashlib.sha256(b"".join(d.tobytes() for d in contents)).hexdigest()[:16]
    return facts


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


def measure_without_network(shared, stream=None):
    """Metrics of the test without a network: of small grey images, or of the features.

    Args:
        shared: a `Shared`.
        stream: not used.
    """
    return measure_raw(shared.data.test, shared.comparison.config.dataset, io.StringIO())


def measure_network(shared, stream=None):
    """Metrics of the test as the features that a network makes of it, of unit length.

    Args:
        shared: a `Shared`.
        stream: where the progress goes. Defaults to standard output.

    Returns:
        A dict of metrics; `None` of features, and of a network that begins at random.
    """
    config, test = shared.comparison.config, shared.data.test
    if config.frozen:
        return measure_features(shared.trained_on.test.features, test, config.dataset)
    if not is_pretrained(config) or test.features is not None:
        return None
    with ProgressLine(f"Embed {test.name}, features", len(test), stream) as line:
        batches = ordered_stream(test, config, stream)
        features, _ = embed(feature_model(shared.network), batches, progress=line)
    return measure_features(features, test, config.dataset)
