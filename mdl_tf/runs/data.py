"""The data of a run: what its config names, split by class, and batches of it."""

import dataclasses
from typing import NamedTuple

import numpy as np

from mdl_tf import batches, datasets
from mdl_tf.config import ConfigError
from mdl_tf.datasets.duplicates import describe_groups, find_groups
from mdl_tf.datasets.image_set import SIDES
from mdl_tf.progress import ProgressLine
from mdl_tf.runs.batch_size import settle_batches
from mdl_tf.runs.replicas import find_strategy

BATCH = 64  # images of an evaluation that go through the network at once
LISTED = 20  # files that are left out, in the output


class Data(NamedTuple):
    """The data set of a config, split: sets of disjoint classes.

    `problems` are the files that were left out; whoever owns a folder writes them down.
    """

    train: datasets.ImageSet
    validation: datasets.ImageSet | None
    test: datasets.ImageSet
    problems: tuple = ()

    @property
    def sides(self):
        """The sets by the names of their sides."""
        return dict(zip(SIDES, self[:3], strict=True))

    @property
    def feature_size(self):
        """F of a data set of features, `None` for images."""
        return None if self.train.features is None else self.train.features.shape[1]


def read_collection(config, progress=None):
    """The whole data set of a config, as `datasets.read` gives it with the config's settings.

    Args:
        config: the `TrainConfig`.
        progress: a function of (done, total). Defaults to `None`.

    Returns:
        A `Collection`.

    Raises:
        ValueError: as `datasets.read`.
    """
    return datasets.read(
        config.dataset,
        data_dir=config.data_dir,
        crop_to_box=config.crop_to_box,
        on_corrupt=config.on_corrupt,
        duplicates=config.duplicates,
        split_by=config.split_by,
        split_seed=config.split_seed,
        progress=progress,
    )


def read_data(config):
    """The data set of a config, split.

    Args:
        config: the `TrainConfig`.

    Returns:
        A `Data`.

    Raises:
        ConfigError, ValueError: if the data are not there, or do not fit the config.
    """
    collection = _read_with_progress(config)
    data = Data(*collection.split(**config.split), collection.problems)
    _check(config, data.train, collection.images.num_classes)
    return data


def read_folds(config, report=None):
    """The data of every fold; refuses folds of which one could not be trained.

    Args:
        config: a `TrainConfig` with `folds`.
        report: a function that prints a line, about batches that the config leaves open. Defaults
            to `None`.

    Returns:
        The config, which leaves nothing open about its batches, the same for all folds; a `Data`
        without validation, of all that is trained on in one fold or another, and a dict
        from the number of each fold, from 1, to its `Data`. All have the same test set.

    Raises:
        ConfigError, ValueError: as `read_data`, and as `batches.balanced`.
    """
    collection = _read_with_progress(config)
    whole = Data(*collection.split(**config.split), collection.problems)
    folds, smallest = {}, None
    for number in range(1, config.folds + 1):
        train, _, _ = collection.split(**dataclasses.replace(config, fold=number).split)
        sizes = np.bincount(train.labels)
        smallest = sizes if smallest is None or len(sizes) < len(smallest) else smallest
    config = settle_batches(config, smallest, report=report)
    for number in range(1, config.folds + 1):
        fold = dataclasses.replace(config, fold=number, cache="none")
        train, validation, _ = collection.split(**fold.split)
        _check(fold, train, collection.images.num_classes)
        training_stream(train, fold)
        folds[number] = Data(train, validation, whole.test, whole.problems)
    return config, whole, folds


def _read_with_progress(config):
    with ProgressLine(f"Load {config.dataset}") as line:
        collection = read_collection(config, line)
        line.done(len(collection.images), collection.images.kind)
    return collection


def describe_data(data, report):
    """Print how many images and classes each set has, what is there twice, and what was left out.

    Args:
        data: a `Data`.
        report: a function that prints a line.
    """
    for problem in data.problems[:LISTED]:
        report(f"  left out: {problem}")
    if len(data.problems) > LISTED:
        report(f"  left out in all: {len(data.problems):,} (left_out.csv)")
    for part in data.sides.values():
        if part is not None:
            report(f"  {part.name}: {len(part):,} {part.kind} of {part.num_classes:,} classes")
    for line in describe_groups(find_groups(data.sides)):
        report(f"  {line}")
    if data.test.queries is not None:
        queries = int(data.test.queries.sum())
        report(f"  of the test {queries:,} are queries, {len(data.test) - queries:,} the gallery")


def _check(config, train_set, all_classes):
    if (config.backbone == "none") != (train_set.features is not None):
        has = "images" if train_set.features is None else "features"
        raise ConfigError(
            "`backbone` must be none for a data set of features, and a network for images. "
            f"Received: backbone={config.backbone!r}, and {config.dataset} has {has}"
        )
    if (config.classes_per_batch or 2) > train_set.num_classes:
        raise ConfigError(
            "`classes_per_batch` (--classes-per-batch) must be at most the number of training "
            f"classes, {train_set.num_classes} of {all_classes} in all. "
            f"Received: classes_per_batch={config.classes_per_batch}"
        )


def training_stream(train_set, config, epochs_done=0, stream=None):
    """Balanced batches of a run from some epoch on.

    Args:
        train_set: the `ImageSet`.
        config: the `TrainConfig`.
        epochs_done: epochs whose batches are passed over. Defaults to `0`.
        stream: where the progress of decoding goes. Defaults to standard output.

    Returns:
        A `tf.data.Dataset` without an end.
    """
    return _make_batches(
        batches.balanced,
        train_set,
        config,
        stream,
        classes_per_batch=config.classes_per_batch,
        images_per_class=config.images_per_class,
        seed=config.own_seed,
        start_step=epochs_done * config.steps_per_epoch,
        short_classes=config.short_classes,
        strategy=find_strategy(config),
        numbered=config.memory > 0,
    )


def ordered_stream(image_set, config, stream=None):
    """Batches of every image once, in order, as the network of a config sees them.

    Args:
        image_set: an `ImageSet`.
        config: the `TrainConfig`.
        stream: where the progress of decoding goes. Defaults to standard output.

    Returns:
        A `tf.data.Dataset`.
    """
    return _make_batches(batches.ordered, image_set, config, stream, batch_size=BATCH)


def _make_batches(make, image_set, config, stream, **options):
    """Batches as a config wants them, with a progress line if they are decoded at once."""
    options = {
        "image_size": (config.image_size, config.image_size),
        # Of a frozen network the features have been made of what it sees.
        "augment": config.augment if image_set.features is None else None,
        "cache": config.cache,
        **options,
    }
    if config.cache == "none" or image_set.features is not None:
        return make(image_set, **options)
    with ProgressLine(f"Decode {image_set.name}", len(image_set), stream) as line:
        return make(image_set, progress=line, **options)
