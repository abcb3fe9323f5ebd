"""Where everything meets: a config becomes data, model, loss, `fit`, and a report.

What it keeps goes through `runs.Run`.
"""

import keras
import numpy as np

from mdl_tf.callbacks import summaries
from mdl_tf.runs import folds as cross_validation, phases, data as run_data, report as run_report
from mdl_tf.runs.network import build_loss, build_model, build_optimizer
from mdl_tf.config import ConfigError
from mdl_tf.datasets.image_set import SIDES
from mdl_tf.embedding import load_model
from mdl_tf.runs.evaluate import embedded, options, raw_pixels
from mdl_tf.runs.keeping import read_state
from mdl_tf.runs.training import fit, make_repeatable

_DISTANCES = "resume/distances_untrained.npz"


def train(config, run, *, report=print):
    """Train, or go on with an interrupted run, and report on classes never seen in training.

    Everything is kept in the run folder: `metrics.json` with the numbers of raw pixels and of the
    network before training as soon as they are known, best and last model after every epoch.

    Args:
        config: the `TrainConfig` of the run.
        run: a `Run`, new or interrupted.
        report: a function that prints a line. Defaults to `print`.

    Returns:
        A dict `{"raw_pixels": {...}, "untrained": {...}, "trained": {...}}` of metrics on the test
        classes; `"features"` in place of `"raw_pixels"` for a data set of features; with `folds`
        as `cross_validation.train_folds`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
    """
    if config.cross_validated:
        return cross_validation.train_folds(config, run, _train_one, report)
    return _train_one(config, run, report)


def _train_one(config, run, report):
    training = _Training(config, run, report)
    training.begin()
    training.measure_untrained()
    training.fit()
    return training.measure_trained()


class _Training:
    """One network from its data to its report, in the order of the methods."""

    def __init__(self, config, run, report):
        if config.repeatable:
            make_repeatable()
        self.config, self.run, self.report = config, run, report
        self.clock = run_report.Clock(run)
        self.results = run.read_json("metrics.json", {})
        self.state = read_state(run)
        self.done = self.state["epochs_done"] if self.state else 0

    def begin(self):
        """Data and model; what cannot be is refused before the data are read, if it can be."""
        config = self.config
        keras.utils.set_random_seed(config.own_seed)
        keras.config.set_dtype_policy(config.policy)
        build_loss(config, num_classes=2)
        build_optimizer(config)
        # Features have a size that only the data tell.
        embedder = None if self.state or config.backbone == "none" else build_model(config)
        sets = run_data.load(config, self.run, self.report)
        self.train_set, validation, self.test = sets
        if self.state:
            self._go_on()
        else:
            if embedder is None:
                embedder = build_model(config, feature_size=self.train_set.features.shape[1])
            self.model, learns = phases.begin(config, self.train_set.num_classes, embedder)
        self.stream = run_data.training_stream(self.train_set, config, self.done)
        self.validation = run_data.validated(validation, config)
        named = dict(zip(SIDES, sets, strict=True))
        self.run.keep_classes(named, new=not self.state)
        self.run.keep_counts(named, new=not self.state)
        if not self.state:
            self.run.write_json(phases.TRAINABLE, learns)
        self.clock.lap("loading")

    def _go_on(self):
        if "untrained" not in self.results:
            raise ConfigError(
                "The run must have the metrics.json that it had before its first epoch. "
                f"Received: {self.run.folder}"
            )
        self.model = phases.go_on(self.config, self.run, self.state, self.train_set.num_classes)
        self.report(f"Go on after epoch {self.done} of {self.config.epochs}.")

    def measure_untrained(self):
        """The test without a network, and through the network as it begins."""
        if "untrained" in self.results:
            return
        test = self.test
        watched = len(self.validation.image_set) if self.validation else 0
        self.report(run_report.forecast(self.model, self.config, len(test), watched))
        raw = "raw_pixels" if test.features is None else "features"
        self.results[raw] = raw_pixels(test, self.config.dataset)
        found = self._measured(self.model, "untrained", step=0)
        with self.run.writing(_DISTANCES) as path:
            np.savez(path, positive=found.distances[0], negative=found.distances[1])
        self.run.write_json("metrics.json", self.results)
        self.clock.lap("evaluation")

    def fit(self):
        """The epochs that are left, those of the warm-up with a frozen network."""
        config, run = self.config, self.run
        if self.done >= config.epochs or (self.state and self.state["stopped"]):
            return
        options = self.validation, config, run, self.report
        if self.done < config.warm_up_epochs:
            self.report(
                f"Warm-up to epoch {config.warm_up_epochs}: the embedding layer learns alone."
            )
            fit(self.model, self.stream, *options, warm_up=True)
            phases.end_warm_up(config, self.model, run.read_json(phases.TRAINABLE))
            self.report("The network learns from now on.")
            # The first one goes before the second one is made: both may hold all images.
            self.stream = None
            self.stream = run_data.training_stream(self.train_set, config, config.warm_up_epochs)
        fit(self.model, self.stream, *options)
        self.clock.lap("training")

    def measure_trained(self):
        """The test through the best model; pictures and the closing table."""
        best = load_model(self.run.model, compile=False)
        found = self._measured(best, "trained", step=read_state(self.run)["epochs_done"])
        self.run.write_json("metrics.json", self.results)
        with np.load(self.run.folder / _DISTANCES) as stored:
            before = stored["positive"], stored["negative"]
        distances = {"Test classes, untrained": before, "Test classes, trained": found.distances}
        run_report.draw(self.run, self.config, distances)
        self.clock.lap("evaluation")
        text = run_report.closing(self.run, self.config, self.test, self.results, self.clock)
        self.report("\n" + text)
        return self.results

    def _measured(self, model, name, step):
        label = f"Embed test, {name}"
        found = embedded(model, self.test, label, **options(self.config))
        self.results[name] = found.metrics
        if self.config.tensorboard:
            log_dir, seed = self.run.tensorboard, self.config.own_seed
            summaries.write_test(
                log_dir, step, name, *found[:2], self.test, found.embeddings, seed=seed
            )
        return found
