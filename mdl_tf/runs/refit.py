"""Once the best epoch is known: the same training again, on the validation classes as well.

Those who have few classes cannot spare some. The new network is never measured on classes that it
has seen: the validation classes have told how long to train, and are no longer held out.
"""

import dataclasses
import shutil

from mdl_tf.datasets.image_set import join
from mdl_tf.embedding.parts import head_model
from mdl_tf.runs.data import Data
from mdl_tf.runs.keeping import OnDisk
from mdl_tf.runs.training import Watch, build_network, fit

FOLDER = "refit"


def refit(config, run, keep, data, features, report):
    """Train once more, or go on with it, on training and validation classes together.

    Args:
        config: the `TrainConfig` of the run.
        run: the `Run`; its `model.keras` becomes the new one.
        keep: the `OnDisk` of the training that has told the best epoch.
        data: the `Data`.
        features: the `Data` as features of a frozen network, or `None`.
        report: a function that prints a line.

    Returns:
        The new embedder.
    """
    epochs = keep.best_epoch
    what = "the embedding layer alone begins anew, as no epoch was better than the start"
    if epochs:
        what = f"{epochs} of {config.epochs} epochs, as many as the best one took"
    report(f"\nRefit on training and validation classes: {what}.")
    again = dataclasses.replace(config, refit=False, validation=0, patience=0, monitor="map_at_r")
    if keep.head is not None:
        # What the features of a half told is not asked again.
        again = dataclasses.replace(again, head=keep.head["kind"], shrinkage=keep.head["shrinkage"])
    part = run.part(FOLDER, again)
    with part.alone("A run must be trained"):
        part.remove_unfinished()
        part.check_resumable()
        network = whole = build_network(again, data.feature_size)
        if features is not None:
            network = head_model(whole)
        kept = OnDisk(again, part, _together(data), whole if features is not None else None)
        trained_on = _together(features or data)
        best = fit(again, trained_on, kept, _RefitWatch(report), network, epochs)
    with run.writing("model.keras") as path:
        shutil.copyfile(part.model, path)
    return best


def _together(data):
    """A `Data` whose training classes are those of training and validation."""
    name = f"{data.train.name} and validation"
    return Data(join(data.train, data.validation, name), None, data.test, data.problems)


class _RefitWatch(Watch):
    """Tells what goes on in lines; there is nothing to measure."""

    def __init__(self, report):
        self._report = report

    def report(self, line):
        self._report(line)
