"""Cross-validation: a network for each fold of the training classes, separated and concatenated.

The protocol of "A Metric Learning Reality Check" (Musgrave, Belongie, Lim, ECCV 2020).
"""

import dataclasses
import time

import keras
import numpy as np

from mdl_tf.callbacks import summaries
from mdl_tf.runs import data as run_data, report as run_report
from mdl_tf.datasets.image_set import SIDES
from mdl_tf.embedding import concatenated, load_model
from mdl_tf.runs.evaluate import embedded, options
from mdl_tf.progress import duration
from mdl_tf.runs.keeping import read_state


def train_folds(config, run, train_one, report=print):
    """Train the network of each fold, or those that are left, and report on all of them.

    Each has a run folder of its own, `fold-1` and so on, and a seed of its own
    (`TrainConfig.own_seed`), the same as if it were trained alone. The run's `model.keras` gives
    the embeddings of all, one behind the other.

    Args:
        config: a `TrainConfig` with `folds`.
        run: the `Run` of all folds.
        train_one: a function (config, run, report) that trains the network of one fold.
        report: a function that prints a line. Defaults to `print`.

    Returns:
        A dict of metrics on the test classes: `"raw_pixels"` (or `"features"`); `"untrained"` and
        `"separated"`, the means over the networks; `"separated_sd"`, the standard deviation of the
        latter; `"concatenated"`, of the embeddings one behind the other.
    """
    clock, start = run_report.Clock(run), time.perf_counter()
    finished = {part.config.fold for part in run.parts if _results(part)}
    missing = [number for number in range(1, config.folds + 1) if number not in finished]
    if missing:
        run_data.check_folds(config)
    for done, number in enumerate(missing):
        report(f"\nFold {number} of {config.folds}" + _left(start, done, len(missing)))
        part = _fold(config, run, number)
        # Layers are named by a counter, which would go on over the folds.
        keras.backend.clear_session()
        try:
            train_one(part.config, part, report)
        except BaseException:
            part.discard_if_empty()
            if run.has_epochs:
                clock.lap("folds")
            raise
        clock.lap("folds")
    results = _summary([_results(part) for part in run.parts])
    test, found = _concatenated(config, run)
    results["concatenated"] = found.metrics
    run.write_json("metrics.json", results)
    run_report.draw(run, config, {"Test classes, concatenated": found.distances})
    if config.tensorboard:
        step = max(read_state(part)["epochs_done"] for part in run.parts)
        name, shown = "concatenated", (test, found.embeddings)
        summaries.write_test(run.tensorboard, step, name, *found[:2], *shown, seed=config.seed)
    clock.lap("evaluation")
    text = run_report.closing(run, config, test, results, clock)
    report("\n" + text)
    return results


def _fold(config, run, number):
    return run.part(f"fold-{number}", dataclasses.replace(config, fold=number))


def _results(part):
    """The metrics of a fold that is finished, else `None`."""
    # The report is what it writes last.
    if not (part.folder / run_report.REPORT).is_file():
        return None
    return part.read_json("metrics.json")


def _left(start, done, count):
    if not done:
        return ""
    spent = time.perf_counter() - start
    return f", about {duration(spent / done * (count - done))} left for all"


def _summary(folds):
    """Means over the folds, and how far they lie apart."""
    (raw,) = [name for name in folds[0] if name not in ("untrained", "trained")]

    def over(key, statistic):
        rows = [fold[key] for fold in folds]
        return {name: float(statistic([row[name] for row in rows])) for name in rows[0]}

    return {
        raw: folds[0][raw],
        "untrained": over("untrained", np.mean),
        "separated": over("trained", np.mean),
        "separated_sd": over("trained", lambda values: np.std(values, ddof=1)),
    }


def _concatenated(config, run):
    """The test classes through the networks of all folds, kept as the model of the run."""
    sets = run_data.load(config, run, report=lambda line: None)
    run.keep_classes(dict(zip(SIDES, sets, strict=True)), new=False)
    keras.backend.clear_session()
    model = concatenated([load_model(part.model, compile=False) for part in run.parts])
    with run.writing("model.keras") as path:
        model.save(path)
    return sets[-1], embedded(model, sets[-1], "Embed test, concatenated", **options(config))
