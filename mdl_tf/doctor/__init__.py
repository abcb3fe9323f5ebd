"""What may be wrong with a training run, each finding with the numbers behind it and what to do.

For somebody whose embeddings do not get better, or who wonders about their labels. Images of test
classes are never looked at: a diagnosis is something to tune by. Of what the run itself has
measured on them it says whether the trained network is behind what there was without training.

>>> for finding in doctor.diagnose(Run.open("runs/photos")).findings:
...     print(finding.level, finding.name, finding.said)
"""

import json
import math
from typing import NamedTuple

import numpy as np

from mdl_tf.config import ConfigError
from mdl_tf.doctor import batch, beginning, copies, examine, labels, pictures, spread, training
from mdl_tf.doctor.advice import Advice
from mdl_tf.doctor.finding import LEVELS, Finding, as_text
from mdl_tf.doctor.suspects import find_suspects
from mdl_tf.runs.batch_size import settle_batches

__all__ = ["Diagnosis", "Finding", "diagnose"]

FOLDER = "doctor"
_SHOWN = ("suspects.csv", "classes.csv", "suspects.png", "classes.png", "distances.png")


class Diagnosis(NamedTuple):
    """What was found out about a run, and the files that show it."""

    findings: list  # `Finding`s, worst first
    files: list  # paths
    notes: list  # what could not be looked at, and why

    def __str__(self):
        return "\n".join([as_text(self.findings), *self.notes])

    def to_json(self):
        """The same for programs, as JSON."""
        findings = [{**f._asdict(), "numbers": dict(f.numbers)} for f in self.findings]
        files = [str(path) for path in self.files]
        return json.dumps({"findings": findings, "notes": self.notes, "files": files}, indent=2)


def diagnose(run, *, stream=None):
    """Looks at a run's history, batches, embeddings and labels; writes into its folder `doctor/`.

    Args:
        run: a `Run`, finished, interrupted, or still going on.
        stream: where the progress goes. Defaults to standard output.

    Returns:
        A `Diagnosis`. Without a `model.keras` it is about the history and the batches alone.

    Raises:
        ConfigError, ValueError: if the run has several folds, its data are not there or are split
            otherwise than they were, or its folder cannot be written.
    """
    config = run.config
    if config.cross_validated:
        raise ConfigError(
            "The run must be of one network; of a run with folds name one, such as "
            f"{run.folder / 'fold-1'}. Received: {run.folder}, a run of {config.folds} folds"
        )
    history = examine.read_history(run)
    data = examine.read_data(run, config, stream)
    # Of a run that has not begun yet.
    config = settle_batches(config, data.sizes)
    available = len(data.sizes)
    advice = Advice(config, examine.loss_settings(config, available))
    findings, files, notes = [*_of_training(config, history, data, advice)], {}, []
    findings += _of_the_beginning(run, config, history, data, advice)
    suspects = None
    if run.model.is_file():
        embeddings = examine.embeddings_of(run, config, data.images, stream)
        findings.append(_of_space(data, embeddings, advice))
        if np.isfinite(embeddings).all():
            suspects = find_suspects(embeddings, data.images.labels, data.sides)
            files = _draw_and_write(data, embeddings, suspects)
    else:
        notes.append(
            f"{run.folder} has no model.keras, which is kept after the first epoch: collapse and "
            "labels were not looked at."
        )
    findings += _of_batches(config, data, advice)
    findings.append(copies.check_copies(data))
    if suspects is not None:
        findings += _of_labels(data, suspects, is_fold=config.folds > 1)
    findings.append(_of_the_end(run, config, history, data, advice))
    # Sorting keeps this order within a level: what may be the cause of the rest stands first.
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    diagnosis = Diagnosis(findings, [], notes)
    files["report.txt"] = f"{diagnosis}\n"
    return diagnosis._replace(files=_write(run, files))


def _of_training(config, history, data, advice):
    """What the history says, as far as there is one."""
    if not history:
        return
    watched, available = int(data.validation.sum()), len(data.sizes)
    yield training.check_direction(history, advice)
    if all(math.isfinite(row["loss"]) for row in history):
        collapsed = examine.collapsed_loss(config, available)
        yield training.check_stuck(history, collapsed, advice, available)
        overfitting = training.check_overfitting(history, watched, advice)
        if overfitting is not None:
            yield overfitting


def _of_the_beginning(run, config, history, data, advice):
    """Whether training is ahead of its start, and of the features."""
    start = run.read_json("resume/state.json", {}).get("start")
    watched, available = int(data.validation.sum()), len(data.sizes)
    metrics = run.read_json("metrics.json", {})
    found = (
        beginning.check_start(history, start, config.monitor, watched, advice, available),
        beginning.check_features(metrics, advice, available),
    )
    return [finding for finding in found if finding is not None]


def _of_the_end(run, config, history, data, advice):
    """Whether the run came to its end."""
    stopped = bool(run.read_json("resume/state.json", {}).get("stopped"))
    watched = int(data.validation.sum())
    return training.check_finished(history, config.epochs, stopped, watched, advice, run.folder)


def _of_batches(config, data, advice):
    """What the plan of the batches says."""
    yield batch.check_positives(config, data.sizes, advice)
    yield batch.check_classes(config, len(data.sizes), advice)
    yield batch.check_short_classes(config, data.sizes)
    yield batch.check_unequal(config, data.sizes, data.training_names)


def _of_space(data, embeddings, advice):
    """Whether the embeddings of the validation classes, or those of training, have collapsed."""
    broken = int((~np.isfinite(embeddings).all(axis=1)).sum())
    if broken:
        said = f"The network gives {broken:,} of {len(embeddings):,} images no finite embedding."
        todo = (*advice.lower_rate(), *advice.clip())
        return Finding("collapse", "wrong", said, "embeddings must be finite.", todo)
    of, seen = "validation", data.validation
    if not seen.any():
        of, seen = "training", ~seen
    labels_seen = data.images.labels[seen]
    return spread.check_collapse(embeddings[seen], labels_seen, of, advice, len(data.sizes))


def _of_labels(data, suspects, is_fold):
    """What the embeddings say about the labels."""
    yield labels.check_images(suspects, is_fold=is_fold)
    if suspects.judges:
        yield labels.check_classes(suspects, data.images.class_names)


def _draw_and_write(data, embeddings, suspects):
    """Tables and pictures, by file name."""
    image_set = data.images
    files = {"distances.png": pictures.distances(embeddings, image_set.labels, data.validation)}
    if not suspects.judges:
        return files
    files["suspects.csv"] = labels.write_suspects(suspects, image_set, data.sides, data.file_of)
    files["classes.csv"] = labels.write_classes(suspects, image_set, data.sides)
    if image_set.features is None:
        if len(suspects.order):
            files["suspects.png"] = pictures.draw_suspects(
                suspects, image_set, embeddings, data.file_of
            )
        figure = pictures.draw_classes(suspects, image_set)
        if figure is not None:
            files["classes.png"] = figure
    return files


def _write(run, files):
    """Writes texts and figures; what an earlier diagnosis left and this one has not is removed."""
    paths = []
    try:
        for name in _SHOWN:
            if name not in files:
                (run.folder / FOLDER / name).unlink(missing_ok=True)
        for name, content in files.items():
            if isinstance(content, str):
                run.write_text(f"{FOLDER}/{name}", content)
            else:
                with run.writing(f"{FOLDER}/{name}") as path:
                    content.savefig(path, dpi=150)
            paths.append(run.folder / FOLDER / name)
    except OSError as error:
        raise ConfigError(f"The run folder must be writable. Received: {error}") from error
    return paths
