"""Thresholds for "the same or not" of a run: settled on its validation classes, never on the test.

They are of `model.keras` and of no other model, so they are gone while training may replace it.
"""

import dataclasses

import numpy as np

from mdl_tf.embedding import embed
from mdl_tf.embedding.parts import head_model
from mdl_tf.metrics.calibration import Calibration, calibrate
from mdl_tf.progress import ProgressLine
from mdl_tf.runs.data import ordered_stream

FILE = "calibration.json"
_ADVICE = (
    "`mdl-tf index calibrate INDEX FOLDER` settles them for an index, on classes that trained "
    "nothing and are no test"
)
WHY_NONE = {
    "validation": "there are no validation classes",
    "refit": "the model was trained on the validation classes in the end",
    "folds": "each class trained the network of some fold",
}


def explain_none(why):
    """What a run without thresholds says.

    Args:
        why: one of `WHY_NONE`, or other words that go on after "as".

    Returns:
        A text.
    """
    return f"No thresholds ({FILE}), as {WHY_NONE.get(why, why)}: {_ADVICE}."


def forget(run):
    """Remove the thresholds of a run, before its model may become another one.

    Args:
        run: the `Run`.
    """
    (run.folder / FILE).unlink(missing_ok=True)


def read(run):
    """The thresholds of a run.

    Args:
        run: the `Run`.

    Returns:
        A `Calibration`, or `None` if there is none.

    Raises:
        ConfigError: if the file is damaged.
    """
    path = run.folder / FILE
    if not path.is_file():
        return None
    try:
        return Calibration.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise run.damaged(FILE, "is not what was written there") from error


def calibrate_run(config, run, validation, model, stream=None):
    """Settle thresholds with the best model, and keep them in the run folder.

    Args:
        config: the `TrainConfig`.
        run: the `Run`.
        validation: the `ImageSet` of the validation classes; of features, if the embedding layer
            alone was trained.
        model: the embedder of the run, or its embedding layer alone.
        stream: where progress goes. Defaults to standard output.

    Returns:
        A `Calibration`.

    Raises:
        ValueError: if the classes have no pair of one class, or of two.
    """
    if validation.features is not None and config.backbone != "none":
        model = head_model(model)
    # Once decoded they are used once.
    config = dataclasses.replace(config, cache="none") if config.cache == "ram" else config
    images = ordered_stream(validation, config, stream)
    with ProgressLine(f"Embed {validation.name}, trained", len(validation), stream) as line:
        embeddings, labels = embed(model, images, progress=line)
    if not np.isfinite(embeddings).all():
        raise ValueError("the embeddings of the validation classes are not finite")
    source = f"{len(labels):,} {validation.kind} of the validation classes"
    calibration = calibrate(embeddings, labels, seed=config.own_seed, source=source)
    run.write_text(FILE, calibration.to_json())
    return calibration
