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
from mdl_tf.compare.frozen import build_layer
from mdl_tf.runs.divergence import Diverged
from mdl_tf.runs.keeping import InMemory
from mdl_tf.runs.measure import measure_options, measure_set
from mdl_tf.runs.start import set_head
from mdl_tf.runs.training import Watch, build_network, fit

BINS = 60  # of the distances' histograms
_SKIPPED = 2  # first steps of a fit, in which the graph is built


class Trained(NamedTuple):
    """What one training has come to."""

    record: dict  # start, history, best_epoch, value, seconds_per_step, failed
    embedder: keras.Model | None  # of the best epoch; `None` if the training failed


def build_untrained(config, data, whole=None):
    """The network of a config before its first step, and before its embedding layer is set.

    Args:
        config: a `TrainConfig`.
        data: its `Data`.
        whole: the network that made the features of `data`, of which the embedding layer alone is
            trained. Defaults to `None`: the whole network is.

    Returns:
        An embedder of what is in `data`, not compiled.
    """
    # Layers are named by a counter, and what is left of earlier networks takes memory.
    keras.backend.clear_session()
    if whole is not None:
        return build_layer(config, whole)
    return build_network(config, data.feature_size)


def build_start(config, data, whole=None):
    """What every training of a config begins with: `build_untrained`, with its embedding layer set.

    Args:
        config: a `TrainConfig`.
        data: its `Data`.
        whole: as for `build_untrained`. Defaults to `None`.

    Returns:
        An embedder, not compiled.
    """
    network, watch = build_untrained(config, data, whole), Watch()
    watch.stream = io.StringIO()
    set_head(config, data.train, network, network, watch)
    return network


def train(config, data, progress=None, whole=None):
    """Train a config on the training classes, watched on the validation classes.

    Args:
        config: a `TrainConfig` with validation classes.
        data: its `Data`.
        progress: a function of the steps that are done. Defaults to `None`.
        whole: as for `build_untrained`. Defaults to `None`.

    Returns:
        A `Trained`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data; a run that
            diverges is no error, but has failed.
    """
    network = build_untrained(config, data, whole)
    clock, keep = _Clock(progress), InMemory(config)
    embedder = failed = None
    try:
        embedder = fit(config, data, keep, _TrialWatch(clock), network)
    except Diverged as error:
        failed = str(error)
    record = {
        "start": keep.start,
        "history": keep.history,
        "best_epoch": keep.best_epoch,
        "value": None if failed else keep.best_value,
        "seconds_per_step": clock.seconds_per_step,
        "failed": failed,
    }
    return Trained(record, embedder)


def measure(embedder, data, config):
    """The test classes through an embedder.

    Args:
        embedder: a `keras.Model`.
        data: a `Data`.
        config: its `TrainConfig`.

    Returns:
        A `Measured`.
    """
    return measure_set(embedder, data.test, "", stream=io.StringIO(), **measure_options(config))


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
    counts = [np.histogram(values, BINS, (0, highest))[0].tolist() for values in distances]
    return {"highest": highest, "positive": counts[0], "negative": counts[1]}


def describe_machine():
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


class _TrialWatch(Watch):
    """Nothing is shown but the steps, and they are timed."""

    def __init__(self, clock):
        self.stream = io.StringIO()
        self._clock = clock

    def callbacks(self, retrieval_metrics, start):
        return [self._clock]


class _Clock(keras.callbacks.Callback):
    """Seconds from one step to the next; evaluations and the building of the graph do not count."""

    def __init__(self, progress):
        super().__init__()
        self._progress = progress
        self._last, self._steps, self._seconds, self._steps_of_fit = None, 0, [], 0

    def on_train_begin(self, logs=None):
        self._steps_of_fit = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._last = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self._steps_of_fit += 1
        if self._last is not None and self._steps_of_fit > _SKIPPED:
            self._seconds.append(now - self._last)
        self._last = now
        self._steps += 1
        if self._progress:
            self._progress(self._steps)

    @property
    def seconds_per_step(self):
        """The median: other programs of a shared machine hold up some steps, not most."""
        return float(np.median(self._seconds)) if self._seconds else None


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    except OSError:
        names = []  # not Linux
    return (names[0] if names else platform.processor() or platform.machine()).strip()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
