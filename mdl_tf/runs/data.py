"""The data of a run: what its config names, split by class, and batches of it."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from mdl_tf import batches, datasets
from mdl_tf.config import ConfigError
from mdl_tf.runs.evaluate import BATCH
from mdl_tf.progress import ProgressLine

LISTED = 20  # files that are left out, in the output


class Validation(NamedTuple):
    """The validation classes: their images, and batches of all of them in order."""

    image_set: datasets.ImageSet
    batches: tf.data.Dataset


def load(config, run, report=print):
    """The data set of a config, split; what is left out is listed in the run folder.

    Args:
        config: the `TrainConfig`.
        run: the `Run`.
        report: a function that prints a line. Defaults to `print`.

    Returns:
        train, validation (or `None`) and test, `ImageSet`s of disjoint classes.

    Raises:
        ConfigError, ValueError: if the data are not there, or do not fit the config.
    """
    collection = _read_with_progress(config)
    sets = collection.split(**config.split)
    run.write_left_out(collection.problems)
    _tell(sets, collection.problems, report)
    _check(config, sets[0], collection.images.num_classes)
    return sets


def read(config, progress=None):
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
        progress=progress,
    )


def _read_with_progress(config):
    with ProgressLine(f"Load {config.dataset}") as line:
        collection = read(config, line)
        line.done(len(collection.images), collection.images.kind)
    return collection


def check_folds(config):
    """Refuse folds of which one could not be trained, before the first is.

    Args:
        config: a `TrainConfig` with `folds`.

    Raises:
        ConfigError, ValueError: as `load`, and as `batches.balanced`.
    """
    collection = _read_with_progress(config)
    for number in range(1, config.folds + 1):
        fold = dataclasses.replace(config, fold=number, cache="none")
        train_set, _, _ = collection.split(**fold.split)
        _check(fold, train_set, collection.images.num_classes)
        training_stream(train_set, fold)


def _tell(sets, problems, report):
    for problem in problems[:LISTED]:
        report(f"  left out: {problem.path}, which {problem.reason}")
    if len(problems) > LISTED:
        report(f"  left out in all: {len(problems):,} (left_out.csv)")
    for part in sets:
        if part is not None:
            report(f"  {part.name}: {len(part):,} {part.kind} of {part.num_classes:,} classes")
    test = sets[-1]
    if test.queries is not None:
        queries = int(test.queries.sum())
        report(f"  of the test {queries:,} are queries, {len(test) - queries:,} the gallery")


def _check(config, train_set, all_classes):
    if (config.backbone == "none") != (train_set.features is not None):
        has = "images" if train_set.features is None else "features"
        raise ConfigError(
            "`backbone` must be none for a data set of features, and a network for images. "
            f"Received: backbone={config.backbone!r}, and {config.dataset} has {has}"
        )
    if config.classes_per_batch > train_set.num_classes:
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
    return _stream(
        batches.balanced,
        train_set,
        config,
        stream,
        classes_per_batch=config.classes_per_batch,
        images_per_class=config.images_per_class,
        seed=config.own_seed,
        start_step=epochs_done * config.steps_per_epoch,
        short_classes=config.short_classes,
    )


def validated(image_set, config):
    """The validation classes with batches of every image once, in order.

    Args:
        image_set: an `ImageSet`, or `None`.
        config: the `TrainConfig`.

    Returns:
        A `Validation`, or `None`.
    """
    if image_set is None:
        return None
    made = _stream(batches.ordered, image_set, config, None, batch_size=BATCH)
    return Validation(image_set, made)


def _stream(make, image_set, config, stream, **options):
    """Batches as a config wants them, with a progress line if they are decoded at once."""
    options = {
        "image_size": (config.image_size, config.image_size),
        "augment": config.augment,
        "cache": config.cache,
        **options,
    }
    if config.cache == "none" or image_set.features is not None:
        return make(image_set, **options)
    with ProgressLine(f"Decode {image_set.name}", len(image_set), stream) as line:
        return make(image_set, progress=line, **options)
