"""One network of a run, from its data to its report."""

import keras
import numpy as np

from mdl_tf.callbacks import NeighborBoard
from mdl_tf.callbacks.summaries import write_test
from mdl_tf.config import ConfigError
from mdl_tf.progress import ProgressLine
from mdl_tf.runs import report as run_report
from mdl_tf.runs.data import describe_data, ordered_stream, read_data
from mdl_tf.runs.epoch_table import EpochTable
from mdl_tf.runs.keeping import OnDisk, read_state
from mdl_tf.runs.measure import measure_options, measure_raw, measure_set
from mdl_tf.runs.network import build_loss, build_optimizer
from mdl_tf.runs.training import Watch, build_network, fit

_DISTANCES = "resume/distances_untrained.npz"


class TestSet:
    """The test classes of one or more networks: raw pixels and decoded images are had once.

    Args:
        config: the `TrainConfig`.
        image_set: the `ImageSet`.
    """

    __test__ = False  # no test of pytest's

    def __init__(self, config, image_set):
        self.image_set = image_set
        self._config, self._batches, self._raw = config, None, None

    def measure_raw(self):
        """Metrics without a network, from the first call on the same."""
        if self._raw is None:
            self._raw = measure_raw(self.image_set, self._config.dataset)
        return self._raw

    def measure(self, model, config, name):
        """The set through a model.

        Args:
            model: an embedder.
            config: its `TrainConfig`.
            name: of the model, such as `"untrained"`.

        Returns:
            A `Measured`.
        """
        if self._batches is None:
            self._batches = ordered_stream(self.image_set, self._config)
        return measure_set(
            model,
            self.image_set,
            f"Embed test, {name}",
            image_batches=self._batches,
            **measure_options(config),
        )


def train_network(config, run, report=print, data=None, test_set=None):
    """Train one network, or go on with it, and report on classes never seen in training.

    Args:
        config: a `TrainConfig` of one network.
        run: its `Run`.
        report: a function that prints a line. Defaults to `print`.
        data: its `Data`. Defaults to `None`: read.
        test_set: a `TestSet` that several networks share. Defaults to `None`: its own.

    Returns:
        A dict of metrics on the test classes: `raw_pixels` (or `features`), `untrained`, `trained`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
    """
    state = read_state(run)
    clock, results = run_report.Clock(run), run.read_json("metrics.json", {})
    if state and "untrained" not in results:
        raise ConfigError(
            "The run must have the metrics.json that it had before its first epoch. "
            f"Received: {run.folder}"
        )
    # What cannot be is refused before the data are read, if it can be; features have a size that
    # only the data tell.
    build_loss(config, num_classes=2)
    build_optimizer(config)
    network = None if state or config.backbone == "none" else build_network(config)
    data = data or read_data(config)
    describe_data(data, report)
    run.write_left_out(data.problems)
    test_set = test_set or TestSet(config, data.test)
    if state:
        clock.lap("loading")
    watch = _RunWatch(config, run, data, test_set, results, clock, report)
    best = fit(config, data, OnDisk(config, run, data), watch, network)
    clock.lap("training")
    return watch.end(best)


class _RunWatch(Watch):
    """What is printed, drawn and measured of a run; it fills `metrics.json`."""

    def __init__(self, config, run, data, test_set, results, clock, report):
        self._config, self._run, self._data = config, run, data
        self._test_set, self._results = test_set, results
        self._clock, self._report = clock, report

    def report(self, line):
        self._report(line)

    def begin(self, embedder):
        """The test without a network, and through the network as it begins."""
        self._clock.lap("loading")
        if "untrained" in self._results:
            return
        test, validation = self._data.test, self._data.validation
        watched = len(validation) if validation else 0
        self._report(run_report.forecast(embedder, self._config, len(test), watched))
        raw = "raw_pixels" if test.features is None else "features"
        self._results[raw] = self._test_set.measure_raw()
        measured = self._measure(embedder, "untrained", step=0)
        with self._run.writing(_DISTANCES) as path:
            np.savez(path, positive=measured.distances[0], negative=measured.distances[1])
        self._run.write_json("metrics.json", self._results)
        self._clock.lap("evaluation")

    def callbacks(self, retrieval_metrics):
        config, callbacks = self._config, []
        if config.tensorboard:
            log_dir = self._run.tensorboard
            callbacks.append(keras.callbacks.TensorBoard(str(log_dir), write_graph=False))
            if retrieval_metrics is not None:
                retrieval_metrics.log_dir = log_dir
                callbacks.append(
                    NeighborBoard(
                        retrieval_metrics, self._data.validation, log_dir, seed=config.own_seed
                    )
                )
        line = ProgressLine("Train")
        table = EpochTable(config.steps_per_epoch, config.epochs, line, self._report)
        return [*callbacks, table]

    def end(self, best):
        """The test through the best model; pictures and the closing table."""
        measured = self._measure(best, "trained", step=read_state(self._run)["epochs_done"])
        self._run.write_json("metrics.json", self._results)
        with np.load(self._run.folder / _DISTANCES) as stored:
            before = stored["positive"], stored["negative"]
        distances = {
            "Test classes, untrained": before,
            "Test classes, trained": measured.distances,
        }
        run_report.draw_pictures(self._run, self._config, distances)
        self._clock.lap("evaluation")
        text = run_report.write_report(
            self._run, self._config, self._data.test, self._results, self._clock
        )
        self._report("\n" + text)
        return self._results

    def _measure(self, model, name, step):
        measured = self._test_set.measure(model, self._config, name)
        self._results[name] = measured.metrics
        if self._config.tensorboard:
            write_test(
                self._run.tensorboard,
                step,
                name,
                measured.metrics,
                measured.distances,
                self._data.test,
                measured.embeddings,
                seed=self._config.own_seed,
            )
        return measured
