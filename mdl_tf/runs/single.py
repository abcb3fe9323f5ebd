"""One network of a run, from its data to its report."""

import keras
import numpy as np

from mdl_tf.callbacks import NeighborBoard
from mdl_tf.callbacks.summaries import write_test
from mdl_tf.embedding import embed, load_model
from mdl_tf.embedding.parts import feature_model, head_model
from mdl_tf.files import check_room
from mdl_tf.progress import ProgressLine
from mdl_tf.reading import read_arrays
from mdl_tf.runs import calibration as run_calibration
from mdl_tf.runs import report as run_report
from mdl_tf.runs.batch_size import settle_batches
from mdl_tf.runs.data import describe_data, ordered_stream, read_data
from mdl_tf.runs.epoch_table import EpochTable
from mdl_tf.runs.frozen import featurize
from mdl_tf.runs.keeping import OnDisk, bytes_of_run, read_state
from mdl_tf.runs.measure import (
    measure_embeddings,
    measure_features,
    measure_options,
    measure_raw,
    measure_set,
)
from mdl_tf.runs.network import build_loss, build_optimizer
from mdl_tf.runs.refit import refit
from mdl_tf.runs.replicas import runs_on_devices
from mdl_tf.runs.resolve import is_pretrained, settle
from mdl_tf.runs.training import Watch, fit, read_and_build
from mdl_tf.words import count

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
            config = self._config
            self._raw = measure_raw(
                self.image_set, config.dataset, verification=config.verification
            )
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
        return measure_set(
            model,
            self.image_set,
            f"Embed test, {name}",
            image_batches=self._stream(),
            **measure_options(config),
        )

    def embed(self, model, name):
        """What a model makes of the set, such as features, in its order.

        Args:
            model: a `keras.Model` that takes the images.
            name: of the model, for the progress line.

        Returns:
            An array `(N, ...)`.
        """
        with ProgressLine(f"Embed test, {name}", len(self.image_set)) as line:
            return embed(model, self._stream(), progress=line)[0]

    def _stream(self):
        if self._batches is None:
            self._batches = ordered_stream(self.image_set, self._config)
        return self._batches


@runs_on_devices
def train_network(config, run, report=print, data=None, test_set=None):
    """Train, or go on with an interrupted run, and report on classes never seen in training.

    Args:
        config: a `TrainConfig` of one network.
        run: its `Run`.
        report: a function that prints a line. Defaults to `print`.
        data: its `Data`. Defaults to `None`: read.
        test_set: a `TestSet` that several networks share. Defaults to `None`: its own.

    Returns:
        A dict of metrics on the test classes: `raw_pixels` of images, `features` of features and of
        a pretrained network, `untrained`, `trained`, and with `refit` `refitted`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
    """
    run.check_resumable()
    state = read_state(run)
    clock, results = run_report.Clock(run), {}
    if state:
        # Of a run without an epoch they are measured again: its data may have changed since.
        results = run.read_json("metrics.json", {})
        if "untrained" not in results:
            raise run.damaged("metrics.json", "has not what was measured before the first epoch")
    # Before the data are read.
    build_loss(config, num_classes=2)
    build_optimizer(config)
    network = None
    if state:
        data = data or read_data(config)
        describe_data(data, report)
        clock.lap("loading")
        _tell_if_finished(state, config, report)
    else:
        if not run.is_new:
            report("No epoch of this run is kept: its training begins.")
        data, network = read_and_build(config, report, data)
        check_room(run.folder, bytes_of_run(network), "A run")
        config = settle(config, network)
        config = settle_batches(config, np.bincount(data.train.labels), network, report)
        earlier = run.set_aside_if_restarted()
        if earlier:
            clock.seconds.clear()
            report(f"What this run had is kept in {earlier}.")
        run.keep_config(config)
    run.write_left_out(data.problems)
    test_set = test_set or TestSet(config, data.test)
    watch = _RunWatch(config, run, data, test_set, results, clock, report)
    features = None
    if not _is_finished(state, config):
        run_calibration.forget(run)
    if config.frozen:
        whole = network or load_model(run.model, compile=False)
        features = featurize(config, data, whole)
        watch.features = features.test.features
        keep = OnDisk(config, run, data, whole)
        best = fit(config, features, keep, watch, head_model(whole))
    else:
        keep = OnDisk(config, run, data)
        best = fit(config, data, keep, watch, network)
    clock.lap("training")
    distances = watch.measure_best(best)
    calibration, why_none = _calibrate(config, run, (features or data).validation, best)
    if config.refit:
        again = refit(config, run, keep, data, features, report)
        clock.lap("refit")
        watch.measure_refitted(again)
    return watch.end(distances, keep.best_epoch == 0, calibration, why_none)


def _calibrate(config, run, validation, best):
    """A `Calibration`, or `None` and why there is none."""
    if config.refit or validation is None:
        return None, "refit" if config.refit else "validation"
    try:
        return run_calibration.calibrate_run(config, run, validation, best), None
    except ValueError as error:
        # Training is not lost for it.
        run_calibration.forget(run)
        return None, f"of the validation classes: {error}"


def _is_finished(state, config):
    return bool(state) and (state["stopped"] or state["epochs_done"] >= config.epochs)


def _tell_if_finished(state, config, report):
    if _is_finished(state, config):
        report(
            f"This run is already finished, with {count(state['epochs_done'], 'epoch')}: nothing "
            "is trained, and its report is written again."
        )


class _RunWatch(Watch):
    """What is printed, drawn and measured of a run; it fills `metrics.json`.

    Attributes:
        features: those of the test, of a network that is not trained; else `None`.
    """

    features = None

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
        # Of a network that is trained they are others from its first step on.
        features = self.features
        if features is None and test.features is None and is_pretrained(self._config):
            features = self._test_set.embed(feature_model(embedder), "features")
        if features is not None:
            config = self._config
            self._results["features"] = measure_features(
                features, test, config.dataset, config.verification
            )
        measured = self._measure(embedder, "untrained", 0, features)
        with self._run.writing(_DISTANCES) as path:
            np.savez(path, positive=measured.distances[0], negative=measured.distances[1])
        self._run.write_json("metrics.json", self._results)
        self._clock.lap("evaluation")

    def callbacks(self, retrieval_metrics, start):
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
        table = EpochTable(config.steps_per_epoch, config.epochs, line, self._report, start)
        return [*callbacks, table]

    def measure_best(self, best):
        """The test through the best model; a sample of its distances."""
        step = read_state(self._run)["epochs_done"]
        measured = self._measure(best, "trained", step, self.features)
        self._run.write_json("metrics.json", self._results)
        return measured.distances

    def measure_refitted(self, model):
        """The test through what was trained again on the validation classes, too."""
        step = read_state(self._run)["epochs_done"]
        self._measure(model, "refitted", step, self.features)
        self._run.write_json("metrics.json", self._results)

    def end(self, distances, start_is_kept, calibration, why_not_calibrated):
        """Pictures and the closing table."""
        distances = {"Test classes, trained": distances}
        before = self._distances_before()
        if before is not None:
            distances = {"Test classes, untrained": before, **distances}
        run_report.draw_pictures(self._run, self._config, distances, calibration)
        self._clock.lap("evaluation")
        text = run_report.write_report(
            self._run,
            self._config,
            self._data.test,
            self._results,
            self._clock,
            start_is_kept=start_is_kept,
            calibration=calibration,
            why_not_calibrated=why_not_calibrated,
        )
        self._report("\n" + text)
        return self._results

    def _distances_before(self):
        """The distances before training, or `None`: the picture alone is poorer without them."""
        path = self._run.folder / _DISTANCES
        try:
            stored = read_arrays(path, ("positive", "negative"))
            before = stored["positive"], stored["negative"]
            if all(each.ndim == 1 and each.dtype.kind == "f" for each in before):
                return before
            why = "is not what was written there"
        except FileNotFoundError:
            why = "is gone"
        except KeyError as error:
            why = f"has no {error}"
        except ValueError as error:
            why = str(error)
        self._report(f"{path} {why}: distances.png shows the trained model alone.")
        return None

    def _measure(self, model, name, step, features):
        """The test through a model; through its embedding layer alone where there are features."""
        config = self._config
        if features is None:
            measured = self._test_set.measure(model, config, name)
        else:
            measured = self._measure_features(head_model(model), features)
        self._results[name] = measured.metrics
        if config.tensorboard:
            write_test(
                self._run.tensorboard,
                step,
                name,
                measured.metrics,
                measured.distances,
                self._data.test,
                measured.embeddings,
                seed=config.own_seed,
            )
        return measured

    def _measure_features(self, head, features):
        """The test through an embedding layer, from the features that its network makes of it."""
        embeddings, _ = embed(head, features)
        options = measure_options(self._config)
        del options["augment"]
        return measure_embeddings(embeddings, self._test_set.image_set, **options)
