"""One run of a comparison: a config is trained in memory, and measured at its best epoch."""

import io
import os
import platform
import time
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mdl_tf import __version__
from mdl_tf.callbacks import RetrievalMetrics
from mdl_tf.compare.prepare import feature_size
from mdl_tf.metrics.columns import ks
from mdl_tf.runs import phases
from mdl_tf.runs.data import training_stream
from mdl_tf.runs.evaluate import embedded, options
from mdl_tf.runs.keeping import Diverged, StopIfDiverged
from mdl_tf.runs.network import build_model

BINS = 60  # of the distances' histograms
_SKIPPED = 2  # first steps of a fit, in which the graph is built


class Trained(NamedTuple):
    """What one training has come to."""

    record: dict  # history, best_epoch, value, seconds_per_step, failed
    embedder: keras.Model  # with the weights of the best epoch


def untrained(config, data):
    """The network of a config before its first step.

    Args:
        config: a `TrainConfig`.
        data: a `prepare.Data`.

    Returns:
        An embedder, not compiled.
    """
    # Layers are named by a counter, and what is left of earlier networks takes memory.
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.own_seed)
    keras.config.set_dtype_policy(config.policy)
    return build_model(config, feature_size=feature_size(data))


def train(config, data, progress=None):
    """Train a config on the training classes, watched on the validation classes.

    Args:
        config: a `TrainConfig` with validation classes.
        data: a `prepare.Data`.
        progress: a function of the steps that are done. Defaults to `None`.

    Returns:
        A `Trained`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data; a run that
            diverges is no error, but has failed.
    """
    embedder = untrained(config, data)
    model, learns = phases.begin(config, data.train.num_classes, embedder)
    clock, best = _Clock(progress), _Best(f"val_{config.monitor}", embedder)
    failed = None
    try:
        for first, last in _phases(config):
            if first and first == config.warm_up_epochs:
                phases.end_warm_up(config, model, learns)
            model.fit(
                training_stream(data.train, config, first, io.StringIO()),
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=config.steps_per_epoch,
                verbose=0,
                shuffle=False,
                callbacks=[
                    StopIfDiverged(config.learning_rate),
                    clock,
                    RetrievalMetrics(
                        data.validation.batches, ks(config.dataset), seed=config.own_seed
                    ),
                    best,
                ],
            )
    except Diverged as error:
        failed = str(error)
    best.restore()
    record = {
        "history": best.history,
        "best_epoch": best.epoch,
        "value": None if failed else best.value,
        "seconds_per_step": clock.seconds_per_step,
        "failed": failed,
    }
    return Trained(record, embedder)


def _phases(config):
    """The first and the last epoch of the warm-up, if there is one, and of the rest."""
    ends = sorted({0, config.warm_up_epochs, config.epochs})
    return zip(ends[:-1], ends[1:], strict=True)


def measure(embedder, data, config):
    """The test classes through an embedder.

    Args:
        embedder: a `keras.Model`.
        data: a `prepare.Data`.
        config: its `TrainConfig`.

    Returns:
        An `Embedded`.
    """
    return embedded(embedder, data.test, "", stream=io.StringIO(), **options(config))


def histograms(distances):
    """Positive and negative distances as counts in equal bins.

    Args:
        distances: positive and negative ones, two arrays.

    Returns:
        A dict of `highest`, `positive` and `negative`.
    """
    highest = max(float(values.max()) for values in distances if len(values))
    # All equal ones still need a bin.
    highest = highest or 1e-6
    counted = [np.histogram(values, BINS, (0, highest))[0].tolist() for values in distances]
    return {"highest": highest, "positive": counted[0], "negative": counted[1]}


def machine():
    """What a run was made on."""
    return {
        "processor": _processor(),
        "cores": tf.config.threading.get_intra_op_parallelism_threads() or _cores(),
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "mdl_tf": __version__,
    }


class _Clock(keras.callbacks.Callback):
    """Seconds from one step to the next; evaluations and the building of the graph do not count."""

    def __init__(self, progress):
        super().__init__()
        self._progress = progress
        self._last, self._steps, self._spent, self._fresh = None, 0, [], 0

    def on_train_begin(self, logs=None):
        self._fresh = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._last = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self._fresh += 1
        if self._last is not None and self._fresh > _SKIPPED:
            self._spent.append(now - self._last)
        self._last = now
        self._steps += 1
        if self._progress:
            self._progress(self._steps)

    @property
    def seconds_per_step(self):
        """The median: other programs of a shared machine hold up some steps, not most."""
        return float(np.median(self._spent)) if self._spent else None


class _Best(keras.callbacks.Callback):
    """Keeps the weights of the best epoch in memory, and what every epoch came to."""

    def __init__(self, monitor, embedder):
        super().__init__()
        self._monitor, self._embedder, self._weights = monitor, embedder, None
        self.history, self.value, self.epoch = [], None, None

    def on_epoch_end(self, epoch, logs=None):
        logs = {key: float(value) for key, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **logs})
        value = logs[self._monitor]
        if self.value is None or value > self.value:
            self.value, self.epoch = value, epoch + 1
            self._weights = self._embedder.get_weights()

    def restore(self):
        """Give the embedder the weights of its best epoch, if there was one."""
        if self._weights is not None:
            self._embedder.set_weights(self._weights)


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    except OSError:
        names = []  # not Linux
    return (names[0] if names else platform.processor() or platform.machine()).strip()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
