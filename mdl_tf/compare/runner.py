"""The runs of a comparison, one after the other: what is done is kept, what is kept is not done."""

import contextlib
import logging
import time

from mdl_tf.compare import frozen, prepare, trial
from mdl_tf.compare.folder import describe_changed_data
from mdl_tf.config import ConfigError
from mdl_tf.pictures.mosaic import NeighborMosaic
from mdl_tf.progress import ProgressLine, duration
from mdl_tf.words import count

_QUERIES, _NEIGHBORS = 6, 6  # of the pictures


class Runner:
    """What is to be run, and how long it may take.

    Args:
        comparison: a `Comparison`.
        folder: its `Folder`.
        report: a function that prints a line.
        stream: where the bar of a run goes, or `None` for standard output.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
    """

    def __init__(self, comparison, folder, report, stream=None):
        self._folder, self._report, self._stream = folder, report, stream
        self._shared = shared = prepare.prepare(comparison, folder, report, stream)
        self._comparison = comparison = shared.comparison
        self._keep_beginning()
        self._shared = shared._replace(network=None)  # it takes memory
        self._steps = comparison.config.epochs * comparison.config.steps_per_epoch
        # One draw, that of the defaults, would decide nothing.
        searched = comparison.search if comparison.search > 1 else 0
        self._planned = {entry.label: searched + comparison.seeds for entry in comparison.entries}
        self._spent = {entry.label: [] for entry in comparison.entries}
        self._machine = trial.describe_machine()

    def _keep_beginning(self):
        """Write what is compared on what, unless the data are not those of an earlier time."""
        facts = prepare.describe_data(self._shared.data)
        earlier = self._folder.set_aside_if_restarted()
        if earlier:
            self._report(f"What this comparison had is kept in {earlier}.")
        kept = self._folder.read_json("data.json")
        # What an earlier version did not keep, it cannot be compared by.
        if kept is not None and kept != {key: facts.get(key) for key in kept}:
            raise ConfigError(describe_changed_data(kept, facts))
        self._tell_what_is_left_out()
        # 0.1.0 measured features as they were, not of unit length.
        before = self._folder.read_settings()
        is_old = before is not None and "version" not in before["config"]
        # First: it tells that the folder is one of a comparison.
        self._folder.keep(self._comparison, self._shared.asked)
        self._folder.write_json("data.json", facts)
        self._folder.write_left_out(self._shared.data.problems)
        for name, measure in (
            ("raw.json", prepare.measure_without_network),
            ("features.json", prepare.measure_network),
        ):
            if is_old or self._folder.read_json(name) is None:
                metrics = measure(self._shared, self._stream)
                if metrics is not None:
                    self._folder.write_json(name, metrics)

    def _tell_what_is_left_out(self):
        """An earlier comparison of this folder may have had more than is asked for now."""
        before, now = self._folder.read_settings({}), self._comparison.to_dict()
        losses = [label for label in before.get("losses", ()) if label not in now["losses"]]
        named = (("search", "settings each"), ("seeds", "seeds"))
        counts = [f"{before[k]} {name}" for k, name in named if before.get(k, 0) > now[k]]
        if losses or counts:
            self._report(
                f"This folder has had more: {', '.join(losses + counts)}. It is kept, but not in "
                "this report."
            )

    def forecast(self):
        """What is going to happen."""
        done = len(self._folder.results().trials)
        entries, config = self._comparison.entries, self._comparison.config
        seeds = self._comparison.seeds
        search = "the defaults of each"
        if self._comparison.search > 1:
            validation = self._shared.data.validation
            search = (
                f"{self._comparison.search} settings each on {len(validation):,} {validation.kind} "
                "of validation classes"
            )
        text = (
            f"Compare {count(len(entries), 'loss')}: {search}, then "
            f"{count(seeds, 'seed')} each on the test; "
            f"{sum(self._planned.values())} runs of {self._steps} batches of "
            f"{config.classes_per_batch} classes x {config.images_per_class}."
        )
        return text + (f" {done} of them are done already." if done else "")

    def run(self):
        """Everything that is left, in the order of the methods below."""
        # Each network of a comparison is traced anew, which TensorFlow takes for a mistake.
        logger = logging.getLogger("tensorflow")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            self.search()
            self.final()
        finally:
            logger.setLevel(level)

    def search(self):
        """The draws of every loss, on the validation classes.

        Draw by draw, so that after an interruption all losses have had as many.
        """
        comparison = self._comparison
        searches = [self._folder.plan_search(comparison, entry) for entry in comparison.entries]
        for draws in zip(*searches, strict=True):
            for planned in draws:
                self._run(planned, f"{planned.number + 1}/{comparison.search}")

    def final(self):
        """The best draw of every loss with fresh seeds, on the test classes.

        Seed by seed, so that after an interruption all losses have the same ones.
        """
        comparison, finals = self._comparison, []
        for entry in comparison.entries:
            settings = self._folder.standing(comparison, entry).settings
            if settings is None:
                self._report(f"{entry.label}: every setting has failed, no final runs.")
                self._planned[entry.label] -= comparison.seeds
            else:
                finals.append(comparison.plan_final(entry, settings))
        for i, seed in enumerate(comparison.final_seeds):
            self._measure_untrained(seed)
            for planned in finals:
                self._run(planned[i], f"{i + 1}/{comparison.seeds}")

    def _measure_untrained(self, seed):
        name = f"untrained/seed-{seed}.json"
        if self._folder.read_json(name) is None:
            config = self._comparison.config
            config = self._comparison.run_config(
                self._comparison.entries[0], {"learning_rate": config.learning_rate}, seed
            )
            model = trial.build_start(config, self._shared.trained_on, self._shared.whole)
            measured = trial.measure(model, self._shared.trained_on, config)
            self._folder.write_json(name, measured.metrics)

    def _run(self, planned, what):
        """One run, unless it is done."""
        kept = self._folder.read_trial(planned)
        if kept is None:
            start = time.perf_counter()
            record = self._train(planned, what)
            record["machine"] = self._machine
            record["seconds"] = round(time.perf_counter() - start, 2)
            kept = self._folder.keep_trial(planned, record)
            self._spent[planned.entry.label].append(kept["seconds"])
            self._tell(kept, what)
        else:
            self._spent[planned.entry.label].append(kept["seconds"])

    def _train(self, planned, what):
        """Train one run, and measure it on the test if it is a final one."""
        label, shared = f"{planned.entry.label}, {planned.phase} {what}", self._shared
        with self._bar(label) as progress:
            trained = trial.train(planned.config, shared.trained_on, progress, shared.whole)
        record = trained.record
        if planned.phase == "search" or record["failed"] is not None:
            return record
        measured = trial.measure(trained.embedder, self._shared.trained_on, planned.config)
        record["metrics"] = measured.metrics
        record["distances"] = trial.histograms(measured.distances)
        record["neighbors"] = None
        # The pictures, and a model to search with, of one seed are enough.
        if planned.number == self._comparison.final_seeds[0]:
            model = trained.embedder
            if self._shared.whole is not None:
                model = frozen.join(planned.config, model, self._comparison.config.seed)
            self._folder.keep_model(planned.entry.slug, model.save)
            record["neighbors"] = self._picture(planned.entry, measured.embeddings)
        return record

    def _picture(self, entry, embeddings):
        if self._shared.data.test.features is not None:
            return None
        if self._mosaic is None:
            # The same queries for every loss.
            self._mosaic = NeighborMosaic(
                self._shared.data.test, _QUERIES, _NEIGHBORS, self._comparison.config.seed
            )
        return self._folder.keep_picture(
            f"neighbors-{entry.slug}.png", self._mosaic.draw(embeddings)
        )

    _mosaic = None

    @contextlib.contextmanager
    def _bar(self, label):
        """A bar on a terminal, and nothing elsewhere: a line follows each run anyway."""
        line = ProgressLine(label, self._steps, self._stream)
        try:
            yield line
        finally:
            line.clear()

    def _tell(self, trial, what):
        config = trial["config"]
        if trial["failed"] is not None:
            value = "failed"
        elif trial["phase"] == "search":
            value = f"{config['monitor']} {trial['value']:.4f}"
            start = (trial.get("start") or {}).get(f"val_{config['monitor']}")
            if start is not None and trial["value"] <= start:
                value += f", not above the start, {start:.4f}"
        else:
            value = f"test map_at_r {trial['metrics']['map_at_r']:.4f}"
        settings = " ".join(f"{key}={value}" for key, value in trial["settings"].items())
        done, planned = sum(map(len, self._spent.values())), sum(self._planned.values())
        self._report(
            f"{done:>{len(str(planned))}}/{planned}  {trial['label']} {trial['phase']} {what}: "
            f"{value}  ({settings})  {duration(trial['seconds'])}, about "
            f"{duration(self._left())} left"
        )

    def _left(self):
        """Seconds for what is left, by the runs of the same loss; of all, before it has one."""
        means = {label: sum(s) / len(s) for label, s in self._spent.items() if s}
        usual = sum(means.values()) / len(means)
        return sum(
            (planned - len(self._spent[label])) * means.get(label, usual)
            for label, planned in self._planned.items()
        )
