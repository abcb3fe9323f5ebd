"""Cross-validation: a network for each fold of the training classes, separated and concatenated.

The protocol of "A Metric Learning Reality Check" (Musgrave, Belongie, Lim, ECCV 2020).
"""

import dataclasses
import time

import keras
import numpy as np

from mdl_tf.callbacks.summaries import write_test
from mdl_tf.embedding import concatenated, load_model
from mdl_tf.progress import duration
from mdl_tf.runs import report as run_report
from mdl_tf.runs.data import read_folds
from mdl_tf.runs.keeping import read_state
from mdl_tf.runs.single import TestSet, train_network


def train_folds(config, run, report=print):
    """Train the network of each fold, or those that are left, and report on all of them.

    Each has a run folder of its own, `fold-1` and so on, and a seed of its own
    (`TrainConfig.own_seed`), the same as if it were trained alone. The run's `model.keras` gives
    their concatenated embeddings.

    Args:
        config: a `TrainConfig` with `folds`.
        run: the `Run` of all folds.
        report: a function that prints a line. Defaults to `print`.

    Returns:
        A dict of metrics on the test classes: `"raw_pixels"` (or `"features"`); `"untrained"` and
        `"separated"`, the means over the networks; `"separated_sd"`, the standard deviation of the
        latter; `"concatenated"`, of the concatenated embeddings.
    """
    clock, start = run_report.Clock(run), time.perf_counter()
    run.check_resumable()
    parts = [] if run.begins_again else run.parts
    if run.begins_again:
        clock.seconds.clear()
    for part in parts:
        part.check_resumable()
    finished = {part.config.fold for part in parts if _finished_results(part)}
    missing = [number for number in range(1, config.folds + 1) if number not in finished]
    config, whole, folds = read_folds(config, report)
    test_set = TestSet(config, whole.test)
    earlier = run.set_aside_if_restarted()
    if earlier:
        report(f"What this run had is kept in {earlier}.")
    run.keep_config(config)
    if not missing:
        report(
            f"This run is already finished, with {config.folds} folds: nothing is trained, and its "
            "report is written again."
        )
    run.write_left_out(whole.problems)
    for done, number in enumerate(missing):
        report(f"\nFold {number} of {config.folds}" + _time_left(start, done, len(missing)))
        part = run.part(f"fold-{number}", dataclasses.replace(config, fold=number))
        # Layers are named by a counter, which would go on over the folds.
        keras.backend.clear_session()
        with part.alone("A run must be trained"):
            part.remove_unfinished()
            try:
                train_network(part.config, part, report, folds[number], test_set)
            except BaseException:
                part.discard_if_new()
                if run.has_epochs:
                    clock.lap("folds")
                raise
        clock.lap("folds")
    results = _summarize([_finished_results(part) for part in run.parts])
    run.keep_classes(whole.sides, new=False)
    keras.backend.clear_session()
    model = concatenated([load_model(part.model, compile=False) for part in run.parts])
    with run.writing("model.keras") as path:
        model.save(path)
    measured = test_set.measure(model, config, "concatenated")
    results["concatenated"] = measured.metrics
    run.write_json("metrics.json", results)
    run_report.draw_pictures(run, config, {"Test classes, concatenated": measured.distances})
    if config.tensorboard:
        step = max(read_state(part)["epochs_done"] for part in run.parts)
        write_test(
            run.tensorboard,
            step,
            "concatenated",
            measured.metrics,
            measured.distances,
            whole.test,
            measured.embeddings,
            seed=config.seed,
        )
    clock.lap("evaluation")
    text = run_report.write_report(
        run, config, whole.test, results, clock, why_not_calibrated="folds"
    )
    report("\n" + text)
    return results


def _finished_results(part):
    """The metrics of a fold that is finished, else `None`."""
    # The report is what it writes last.
    if not (part.folder / run_report.REPORT).is_file():
        return None
    return part.read_json("metrics.json")


def _time_left(start, done, count):
    if not done:
        return ""
    spent = time.perf_counter() - start
    return f", about {duration(spent / done * (count - done))} left for all"


def _summarize(folds):
    """Means over the folds, and how far they lie apart."""
    (raw,) = [name for name in folds[0] if name not in ("untrained", "trained")]

    def over_folds(key, statistic):
        rows = [fold[key] for fold in folds]
        return {name: float(statistic([row[name] for row in rows])) for name in rows[0]}

    return {
        raw: folds[0][raw],
        "untrained": over_folds("untrained", np.mean),
        "separated": over_folds("trained", np.mean),
        "separated_sd": over_folds("trained", lambda values: np.std(values, ddof=1)),
    }
