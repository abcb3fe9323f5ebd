"""What is kept of a training while it goes on: on disk, to go on after a kill, or in memory."""

import math
import shutil

import keras

from mdl_tf.embedding import load_model
from mdl_tf.embedding.parts import embedding_layer
from mdl_tf.runs import phases
from mdl_tf.runs.folder import STATE

TRAINABLE = "resume/trainable.json"
HEAD = "resume/head.json"
_BEGINNING = {
    "epochs_done": 0,
    "checkpoint": None,
    "stopped": False,
    "best": None,
    "wait": 0,
    "last": {},
    "history": [],
}


def monitor_key(config):
    """The key of Keras's logs for a config's `monitor`."""
    return f"val_{config.monitor}"


def read_state(run):
    """What `OnDisk` wrote after the last epoch of a run, or `None` if no epoch was finished."""
    state = run.state
    return state if state and state["epochs_done"] else None


def bytes_of_run(network):
    """About how much a run needs on the disk while it is trained.

    Args:
        network: the embedder.
    """
    # With the moments of Adam the state of an epoch is three times the weights, and the old one
    # stays until the new one is whole; the best model, the start and their new copies; pictures.
    weights = sum(4 * math.prod(weight.shape) for weight in network.weights)
    return 10 * weights + 2_000_000


class _Keep:
    """The history of a training, and its best epoch: by `monitor`, without validation the last."""

    counts_start = True  # whether the start is a candidate for the best

    def __init__(self, config, history=(), start=None):
        self.config = config
        self.history = list(history)  # a dict an epoch: `epoch`, from 1, and what Keras logged
        # What the validation classes had before the first epoch, `epoch` 0; `None` without any.
        self.start = start
        self.learns = None  # what learns after the warm-up, as `phases.begin` returned it
        self.head = None  # how the embedding layer began, as `start.set_head` returned it
        self.is_stopped = False  # whether patience has ended the training
        self._key = monitor_key(config)

    @property
    def epochs_done(self):
        return len(self.history)

    @property
    def best_epoch(self):
        """Number of the best epoch, the first of equal ones, 0 for the start; `None` before it."""
        row = self._best_row()
        return row and row["epoch"]

    @property
    def best_value(self):
        """Value of `monitor` in the best epoch; `None` without validation."""
        row = self._best_row()
        return row and row.get(self._key)

    @property
    def _measured(self):
        """The epochs with validation."""
        return [row for row in self.history if self._key in row]

    def _best_row(self):
        rows = self.candidates
        if not rows or self._key not in rows[-1]:
            return rows[-1] if rows else None
        return max(rows, key=lambda row: row[self._key])

    @property
    def candidates(self):
        """The rows that may be the best, in their order: the start, if it counts, and epochs."""
        first = [self.start] if self.start and self.counts_start else []
        return [*first, *self.history]

    def add_start(self, logs):
        """Take what the validation classes have before the first epoch.

        Args:
            logs: a dict; empty without validation.
        """
        self.start = {"epoch": 0, **logs} if logs else None

    @property
    def rows(self):
        """The start, if there is one, and the epochs; what only epochs have is NaN of the start.

        The columns are those of the first epoch: a run that an earlier version began keeps its own.
        """
        if not self.history:
            return []
        first = [self.start] if self.start else []
        columns = self.history[0]
        return [{key: row.get(key, math.nan) for key in columns} for row in [*first, *self.history]]

    def add_epoch(self, epoch, logs):
        """Add an epoch to the history.

        Args:
            epoch: from 0.
            logs: what Keras logged.

        Returns:
            Whether it is the best one so far.
        """
        # The share last: readers of `history.csv` know the other columns by their place.
        ordered = sorted(logs.items(), key=lambda item: item[0] == "anchors_that_count")
        self.history.append({"epoch": epoch + 1, **{key: float(value) for key, value in ordered}})
        return self.best_epoch == epoch + 1


class InMemory(_Keep):
    """Keeps the weights of the best epoch, for a trial of a comparison.

    The start is no candidate: all losses have the same, which is a row of its own.

    Args:
        config: the `TrainConfig`.
    """

    counts_start = False

    def __init__(self, config):
        super().__init__(config)
        self._weights = None

    def begin(self, learns, network, start, head):
        """As `OnDisk.begin`."""
        self.learns, self.head = learns, head
        self.add_start(start)

    def callback(self, retrieval_metrics, early_stopping):
        """The Keras callback that keeps; it comes last."""

        def keep_epoch(epoch, logs):
            if self.add_epoch(epoch, logs or {}):
                self._weights = phases.embedder_of(callback.model).get_weights()

        callback = keras.callbacks.LambdaCallback(on_epoch_end=keep_epoch)
        return callback

    def best_model(self, model):
        """The embedder of the best epoch, from what was trained; as it is before the first one."""
        embedder = phases.embedder_of(model)
        if self._weights is not None:
            embedder.set_weights(self._weights)
        return phases.make_plain(self.config, self.learns, embedder)


class OnDisk(_Keep):
    """Keeps the best model, the last one and the history in a run folder, after every epoch.

    Each epoch's model is written under a name of its own before `resume/state.json` points to it,
    so that a kill at any moment leaves a state that fits its model.

    Args:
        config: the `TrainConfig`.
        run: a `Run`, new or interrupted.
        data: its `Data`.
        whole: the model from images to embeddings, where its embedding layer alone is trained: it
            is kept, with that layer. Defaults to `None`: what is trained is the whole.

    Raises:
        ConfigError: if the run goes on, and a class has changed sides or a count has changed.
    """

    def __init__(self, config, run, data, whole=None):
        state = read_state(run)
        kept = (state["history"], state.get("start")) if state else ()
        super().__init__(config, *kept)
        self.run, self.state, self._data, self._whole = run, state, data, whole
        if state:
            self._check(state)
            self.learns, self.is_stopped = run.read_json(TRAINABLE), state["stopped"]
            self.head = run.read_json(HEAD)
            self._keep_data(new=False)

    def _check(self, state):
        """Refuse a state that is not of this config, or whose model is gone."""
        rows = [row for row in state["history"] if self.config.validation and self._key not in row]
        if rows:
            raise self.run.damaged(STATE, f"has no {self._key} in epoch {rows[0]['epoch']}")
        if not state["checkpoint"] or not self.checkpoint.is_file():
            raise self.run.damaged(STATE, f"names the model {state['checkpoint']}, which is gone")

    @property
    def checkpoint(self):
        """Path of the model after the last epoch."""
        return self.run.folder / self.state["checkpoint"]

    def begin(self, learns, network, start, head):
        """Write, before the first epoch, what learns after the warm-up, and what there is.

        Args:
            learns: what `phases.begin` returned.
            network: the embedder before its first step, a candidate for the best.
            start: what the validation classes have with it; empty without any.
            head: what `start.set_head` returned.
        """
        self.learns, self.head = learns, head
        # First: it tells that what follows is a training that goes on, if it is killed before its
        # first epoch, and not one that has lost its state.
        self.run.write_json(STATE, _BEGINNING)
        self._keep_data(new=True)
        self.run.write_json(TRAINABLE, learns)
        self.run.write_json(HEAD, head)
        self.add_start(start)
        # Not of `network` itself, which is made plain on the way.
        checkpoint = "resume/start.keras"
        with self.run.writing(checkpoint) as path:
            network.save(path)
        with self.run.writing("model.keras") as path:
            self._write_best(0, network, self.run.folder / checkpoint, path)
        (self.run.folder / checkpoint).unlink()

    def _keep_data(self, *, new):
        self.run.keep_classes(self._data.sides, new=new)
        self.run.keep_images(self._data.sides, new=new)

    def callback(self, retrieval_metrics, early_stopping):
        """The Keras callback that keeps, and restores what the two know; it comes last."""
        return RunCheckpoint(self, retrieval_metrics, early_stopping)

    def keep_epoch(self, epoch, logs, model, retrieval_metrics, early_stopping):
        """Write an epoch: its model, the best one if it is that, and last the state."""
        checkpoint = f"resume/epoch-{epoch + 1:04d}.keras"
        with self.run.writing(checkpoint) as path:
            model.save(path)
        if self.add_epoch(epoch, logs):
            with self.run.writing("model.keras") as path:
                self._write_best(epoch, model, self.run.folder / checkpoint, path)
        self.run.write_rows("history.csv", self.rows)
        self.is_stopped = bool(model.stop_training)
        self.state = {
            "epochs_done": epoch + 1,
            "checkpoint": checkpoint,
            "stopped": self.is_stopped,
            "best": self.best_value,
            "patience_best": max((row[self._key] for row in self._measured), default=None),
            "wait": early_stopping.wait if early_stopping else 0,
            "last": retrieval_metrics.last if retrieval_metrics else {},
            "history": self.history,
            "start": self.start,
        }
        self.run.write_json(STATE, self.state)
        for old in (self.run.folder / "resume").glob("epoch-*.keras"):
            if old != self.checkpoint:
                old.unlink()

    def _write_best(self, epoch, model, checkpoint, path):
        if self._whole is not None:
            trained = embedding_layer(phases.embedder_of(model))
            embedding_layer(self._whole).set_weights(trained.get_weights())
            self._whole.save(path)
        elif phases.changes_layers(self.config, epoch):
            # Of the file, since the model itself goes on to be trained as it is.
            embedder = phases.embedder_of(load_model(checkpoint, compile=False))
            phases.make_plain(self.config, self.learns, embedder).save(path)
        elif phases.embedder_of(model) is not model:
            # The weights of a loss are needed to go on, not to search.
            phases.embedder_of(model).save(path)
        else:
            shutil.copyfile(checkpoint, path)

    def best_model(self, model):
        """The embedder of the best epoch, from its file."""
        return load_model(self.run.model, compile=False)


class RunCheckpoint(keras.callbacks.Callback):
    """The callback of `OnDisk`.

    Args:
        keep: the `OnDisk`.
        retrieval_metrics: a `RetrievalMetrics`, or `None` without validation.
        early_stopping: a `keras.callbacks.EarlyStopping`, or `None`.
    """

    def __init__(self, keep, retrieval_metrics, early_stopping):
        super().__init__()
        self._keep = keep
        self._retrieval_metrics, self._early_stopping = retrieval_metrics, early_stopping

    def on_train_begin(self, logs=None):
        # Keras's callbacks have reset themselves by now: this one comes last.
        state = self._keep.state
        if state and self._early_stopping:
            # Keras 3.6 forgets the best value when it first looks for this.
            self._early_stopping.monitor_op = keras.ops.greater
            # Epochs count, the start does not; 0.1.0 had no start.
            best = state.get("patience_best", state["best"])
            if best is not None:
                self._early_stopping.best = best
            self._early_stopping.wait = state["wait"]
        if state and self._retrieval_metrics:
            self._retrieval_metrics.last = dict(state["last"])

    def on_epoch_end(self, epoch, logs=None):
        self._keep.keep_epoch(
            epoch, logs or {}, self.model, self._retrieval_metrics, self._early_stopping
        )
