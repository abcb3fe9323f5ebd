"""`fit` for a run: its callbacks, from the last epoch that was kept to the end of a phase."""

import contextlib
import functools

import keras
import tensorflow as tf

from mdl_tf.runs import phases
from mdl_tf.callbacks.neighbor_board import NeighborBoard
from mdl_tf.callbacks import RetrievalMetrics, standard_callbacks
from mdl_tf.progress import ProgressLine
from mdl_tf.metrics.columns import ks
from mdl_tf.runs.keeping import EpochTable, RunCheckpoint, StopIfDiverged, read_state


def make_repeatable():
    """Let a CPU add up a branched network's gradients in the same order every time.

    With several operations at once the order changes from run to run, and rounding with it. One
    operation at a time, each on all cores, repeats bit by bit, and keeps the data waiting.
    """
    # Too late once TensorFlow runs, as in a notebook; training works all the same.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(1)


def fit(model, stream, validation, config, run, report=print, *, warm_up=False):
    """Train to the end of the warm-up, or of the run; what is kept of earlier epochs goes on.

    Args:
        model: compiled for this phase (`mdl_tf.phases`).
        stream: of training batches, from the first that is not done.
        validation: a `Validation`, or `None`.
        config: the `TrainConfig`.
        run: the `Run`.
        report: a function that prints a line. Defaults to `print`.
        warm_up: whether to stop at the end of the warm-up. Defaults to `False`.
    """
    state = read_state(run)
    callbacks, retrieval_metrics, early_stopping = _watching(
        model, validation, config, run, warm_up
    )
    for_search = None
    if warm_up or config.batch_norm == "statistics":
        for_search = functools.partial(phases.for_search, config, run)
    checkpoint = RunCheckpoint(
        run,
        retrieval_metrics,
        early_stopping,
        state,
        for_search,
        monitor=_monitor(config),
    )
    model.fit(
        stream,
        epochs=config.warm_up_epochs if warm_up else config.epochs,
        initial_epoch=state["epochs_done"] if state else 0,
        steps_per_epoch=config.steps_per_epoch,
        verbose=0,
        shuffle=False,
        callbacks=[
            StopIfDiverged(config.learning_rate),
            *callbacks,
            EpochTable(config.steps_per_epoch, config.epochs, ProgressLine("Train"), report),
            checkpoint,
        ],
    )
    if model.stop_training and early_stopping:
        best = max(checkpoint.history, key=lambda row: row[_monitor(config)])
        report(
            f"No better {_monitor(config)} in {config.patience} epochs: training ends. The best is "
            f"that of epoch {best['epoch']}."
        )


def _monitor(config):
    """The key of Keras's logs for a config's `monitor`."""
    return f"val_{config.monitor}"


def _watching(model, validation, config, run, warm_up):
    """Keras's callbacks of a run, and which of them measures and which stops, or `None`."""
    log_dir = run.tensorboard if config.tensorboard else None
    if validation is None:
        scalars = keras.callbacks.TensorBoard(str(log_dir), write_graph=False)
        return [scalars] if log_dir else [], None, None
    retrieval_metrics = RetrievalMetrics(
        validation.batches,
        ks(config.dataset),
        margin=model.loss.gap,
        seed=config.own_seed,
    )
    # While the network is frozen a standstill says nothing.
    patience = None if warm_up else config.patience or None
    callbacks = standard_callbacks(
        retrieval_metrics, monitor=_monitor(config), patience=patience, log_dir=log_dir
    )
    if log_dir:
        images = validation.image_set
        callbacks.append(NeighborBoard(retrieval_metrics, images, log_dir, seed=config.own_seed))
    early_stopping = next(
        (c for c in callbacks if isinstance(c, keras.callbacks.EarlyStopping)), None
    )
    return callbacks, retrieval_metrics, early_stopping
