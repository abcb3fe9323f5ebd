"""What all runs of a comparison share: the data, and that every loss can be trained on them."""

import io
from typing import NamedTuple

from mdl_tf import datasets, run_data
from mdl_tf.assemble import build_loss
from mdl_tf.compare.spaces import check_held
from mdl_tf.evaluation import raw_pixels
from mdl_tf.runs import Run


class Data(NamedTuple):
    """The data set of a comparison."""

    train: datasets.ImageSet
    validation: run_data.Validation
    test: datasets.ImageSet


def load(comparison, folder, report=print):
    """The data set, split; what is left out of it is listed in the folder.

    Args:
        comparison: a `Comparison`.
        folder: its `Folder`.
        report: a function that prints a line. Defaults to `print`.

    Returns:
        A `Data`.

    Raises:
        ConfigError, ValueError: if the data are not there, or do not fit the config.
    """
    config = comparison.config
    train, validation, test = run_data.load(config, Run(folder.path), report)
    return Data(train, run_data.validated(validation, config), test)


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
    run_data.training_stream(data.train, config)
    for entry in comparison.entries:
        check_held(entry)
        for settings in comparison.drawn(entry):
            one = comparison.run_config(entry, settings, config.seed)
            build_loss(one, data.train.num_classes)


def facts(data):
    """Sizes of the three parts, for the report."""
    sets = {"train": data.train, "validation": data.validation.image_set, "test": data.test}
    counts = {
        name: {"images": len(part), "classes": part.num_classes} for name, part in sets.items()
    }
    return {"kind": data.test.kind, "name": _common_name(data.test), **counts}


def raw(comparison, data):
    """Metrics of the test without a network: of small grey images, or of the features.

    Args:
        comparison: a `Comparison`.
        data: its `Data`.
    """
    return raw_pixels(data.test, comparison.config.dataset, io.StringIO())


def _common_name(image_set):
    return image_set.name.removesuffix(" test")
