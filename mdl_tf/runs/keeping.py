"""What `mdl-tf train` keeps of a run at the end of each epoch."""

import math
import shutil

import keras
import numpy as np

from mdl_tf.callbacks.retrieval_metrics import MONITOR
from mdl_tf.runs.folder import STATE


class RunCheckpoint(keras.callbacks.Callback):
    """Keeps the best model, the last one and the history; restores what other callbacks know.

    Put it last, behind the callbacks whose state it keeps. Each epoch's model is written under a
    name of its own before `resume/state.json` points to it, so a kill at any moment leaves a state
    that fits its model.

    Args:
        run: a `Run`.
        retrieval_metrics: a `RetrievalMetrics`, or `None` without validation.
        early_stopping: a `keras.callbacks.EarlyStopping`, or `None`.
        state: the state to go on from, as `read_state` returns it, or `None`.
        for_search: a function from the path of a model to the embedder that is kept as the best
            one. Defaults to `None`: the model itself, without the weights of its loss.
        monitor: the key whose largest value tells the best model; without it the last one is.
            Defaults to `"val_recall_at_1"`.
    """

    def __init__(
        self,
        run,
        retrieval_metrics=None,
        early_stopping=None,
        state=None,
        for_search=None,
        monitor=MONITOR,
    ):
        super().__init__()
        self._run = run
        self._retrieval_metrics = retrieval_metrics
        self._early_stopping = early_stopping
        self._state = state
        self._for_search = for_search
        self._monitor = monitor
        self.history = list(state["history"]) if state else []
        self.best = state["best"] if state else None

    def on_train_begin(self, logs=None):
        # Keras's callbacks have reset themselves by now: this one comes last.
        if self._state and self._early_stopping:
            # Keras 3.6 forgets the best value when it first looks for this.
            self._early_stopping.monitor_op = keras.ops.greater
            self._early_stopping.best = self._state["best"]
            self._early_stopping.wait = self._state["wait"]
        if self._state and self._retrieval_metrics:
            self._retrieval_metrics.last = dict(self._state["last"])

    def on_epoch_end(self, epoch, logs=None):
        logs = dict(logs or {})
        self.history.append({"epoch": epoch + 1, **{k: float(v) for k, v in logs.items()}})
        checkpoint = f"resume/epoch-{epoch + 1:04d}.keras"
        with self._run.writing(checkpoint) as path:
            self.model.save(path)
        value = logs.get(self._monitor)
        if value is None or self.best is None or value > self.best:
            self.best = None if value is None else float(value)
            with self._run.writing("model.keras") as path:
                self._write_best(self._run.folder / checkpoint, path)
        self._run.write_history(self.history)
        self._run.write_json(
            STATE,
            {
                "epochs_done": epoch + 1,
                "checkpoint": checkpoint,
                "stopped": bool(self.model.stop_training),
                "best": self.best,
                "wait": self._early_stopping.wait if self._early_stopping else 0,
                "last": self._retrieval_metrics.last if self._retrieval_metrics else {},
                "history": self.history,
            },
        )
        for old in (self._run.folder / "resume").glob("epoch-*.keras"):
            if old.name not in checkpoint:
                old.unlink()

    def _write_best(self, checkpoint, path):
        # A loss with weights is needed to go on, not to search.
        embedder = getattr(self.model, "embedder", None)
        if self._for_search is not None:
            self._for_search(checkpoint).save(path)
        elif embedder is not None:
            embedder.save(path)
        else:
            shutil.copyfile(checkpoint, path)


class Diverged(ValueError):
    """Training has come to numbers that are none."""


class StopIfDiverged(keras.callbacks.Callback):
    """Ends a run whose loss or weights are no numbers any more, before anything of it is kept.

    Put it before whatever measures or saves. It raises a `Diverged`.

    Args:
        learning_rate: what the message says it was.
    """

    def __init__(self, learning_rate):
        super().__init__()
        self._learning_rate = learning_rate
        self._epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if logs and not math.isfinite(logs["loss"]):
            self._stop(f"the loss is {logs['loss']} after batch {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        # The loss of the last batch was computed before its step.
        for variable in self.model.variables:
            if not np.isfinite(np.asarray(variable, np.float32)).all():
                self._stop(f"{variable.path} is not finite at the end")

    def _stop(self, found):
        raise Diverged(
            f"Training diverged: {found} of epoch {self._epoch + 1}. Lower `learning_rate`. "
            f"Received: learning_rate={self._learning_rate}"
        )


def read_state(run):
    """The state that `RunCheckpoint` left, or `None` if no epoch was finished."""
    return run.read_json(STATE)
