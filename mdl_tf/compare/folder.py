"""The folder of a comparison, and the only writer of its runs: a small file for each that is done.

A run is known by what it was run with: found again if all its settings are the same, whatever else
has changed about the comparison. So more losses, draws or seeds may be asked for later, and what is
done already is not done again. Whatever kills the process, a file is old or new.
"""

import contextlib
import re
from pathlib import Path

from mdl_tf.compare.comparison import Comparison, chosen
from mdl_tf.compare.results import Results
from mdl_tf.config import ConfigError
from mdl_tf.files import locked, replacing
from mdl_tf.runs import Run

SETTINGS = "compare.json"
_LOCK = ".lock"
_BEGUN_WITH = {SETTINGS, "data.json", "raw.json", "left_out.csv", _LOCK}  # without any run


class Folder:
    """A comparison's folder: `compare.json`, `trials/LOSS/search-003.json` and so on.

    Args:
        path: of the folder.
    """

    def __init__(self, path):
        self.path = Path(path)

    @classmethod
    def of(cls, comparison, runs_dir="runs", name=None):
        """The folder of a comparison, new, or that of an earlier one to go on with.

        Args:
            comparison: a `Comparison`.
            runs_dir: folder of runs and comparisons. Defaults to `"runs"`.
            name: of the folder. Defaults to `compare-` and data set and network, with a number
                where something else has that name.

        Raises:
            ConfigError: if `name` is taken by something else, or nothing can be written there.
        """
        config = comparison.config
        default = re.sub(r"[:/\\]+", "-", f"compare-{config.dataset}-{config.backbone}")
        number = 1
        while True:
            suffix = f"-{number}" if number > 1 else ""
            folder = cls(Path(runs_dir) / (name or default + suffix))
            differs = folder._differs(config)
            if differs is None:
                break
            if name:
                raise ConfigError(
                    f"`name` must be new, or that of a comparison with the same settings, which "
                    f"goes on. Received: name={name!r}, {differs}"
                )
            number += 1
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"`runs_dir` must be a folder that can be written. Received: {error}"
            ) from error
        return folder

    @classmethod
    def open(cls, path):
        """The folder of a comparison that exists.

        Raises:
            ConfigError: if it is none.
        """
        folder = cls(path)
        if not (folder.path / SETTINGS).is_file():
            raise ConfigError(f"It must be a folder with a {SETTINGS}. Received: {path}")
        return folder

    @contextlib.contextmanager
    def alone(self):
        """While the block runs, no other process may run this comparison.

        Two would do the same runs. When the block fails, a folder without any run is removed.

        Raises:
            ConfigError: if another process is at it.
        """
        # An earlier one that failed at once has taken it away.
        self.path.mkdir(parents=True, exist_ok=True)
        in_use = ConfigError(
            "A comparison must be run by one process at a time. Received: "
            f"{self.path}, where another one is at work"
        )
        with locked(self.path / _LOCK, in_use):
            try:
                yield
            except BaseException:
                self._discard_if_empty()
                raise

    def _discard_if_empty(self):
        if self._is_empty():
            for path in self.path.iterdir():
                path.unlink()
            self.path.rmdir()

    def _is_empty(self):
        return {path.name for path in self.path.iterdir()} <= _BEGUN_WITH

    def keep(self, comparison):
        """Keep what is compared, once it is known that it can be."""
        self.write_json(SETTINGS, comparison.to_dict())

    @property
    def comparison(self):
        return Comparison.from_dict(self.read_json(SETTINGS))

    def _differs(self, config):
        """What keeps the folder from being that of a comparison with this config, or `None`."""
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            return "which is a file"
        kept = self.read_json(SETTINGS)
        if kept is None:
            return None if self._is_empty() else "which is something else"
        kept, wanted = kept["config"], config.to_dict()
        others = [f"{k}={kept.get(k)!r}" for k in wanted if kept.get(k) != wanted[k]]
        return f"which has {', '.join(others)}" if others else None

    def trial(self, entry, phase, number, config):
        """A run that is done, or `None`.

        Args:
            entry: its `Entry`.
            phase: `"search"` or `"final"`.
            number: of the draw, or the seed.
            config: the `TrainConfig` that it must have had.
        """
        found = self.read_json(_file(entry.slug, phase, number))
        return found if found and found["config"] == config.to_dict() else None

    def keep_trial(self, trial, slug):
        """Keep a run that is done, as `Results` describes it."""
        self.write_json(_file(slug, trial["phase"], trial["number"]), trial)

    def keep_model(self, slug, save):
        """Keep a model of an entry as `models/LOSS.keras`.

        Args:
            slug: of the entry.
            save: a function of a path that writes it.
        """
        with replacing(self.path / "models" / f"{slug}.keras") as path:
            save(path)

    def keep_picture(self, name, pixels):
        """Keep a picture in `pictures/`; returns its name.

        Args:
            name: of the file, ending in .png.
            pixels: uint8 RGB, shape `(h, w, 3)`.
        """
        from PIL import Image

        with replacing(self.path / "pictures" / name) as path:
            Image.fromarray(pixels).save(path, optimize=True)
        return name

    def results(self):
        """All that is known, as the report reads it; runs that no longer belong are left out."""
        comparison = self.comparison
        trials = []
        for entry in comparison.entries:
            drawn = comparison.drawn(entry)
            configs = [comparison.run_config(entry, s, comparison.config.seed) for s in drawn]
            found = [self.trial(entry, "search", i, c) for i, c in enumerate(configs)]
            # The defaults alone are no search, whatever an earlier one has left.
            found = found if comparison.search > 1 else []
            trials += found
            settings = chosen(comparison, entry, found)
            for seed in comparison.final_seeds if settings else ():
                config = comparison.run_config(entry, settings, seed)
                trials.append(self.trial(entry, "final", seed, config))
        facts = self.read_json("data.json", {})
        return Results(
            name=self.path.name,
            labels=tuple(entry.label for entry in comparison.entries),
            search=comparison.search,
            seeds=comparison.final_seeds,
            config=comparison.config.to_dict(),
            data=facts,
            raw=self.read_json("raw.json"),
            untrained={
                seed: found
                for seed in comparison.final_seeds
                if (found := self.read_json(f"untrained/seed-{seed}.json")) is not None
            },
            trials=tuple(trial for trial in trials if trial),
        )

    def write_json(self, name, value):
        Run(self.path).write_json(name, value)

    def read_json(self, name, default=None):
        return Run(self.path).read_json(name, default)


def changed_data(kept, found):
    """The message for a data set that is not the one with which a comparison began."""
    return (
        "The data set must be the one that the comparison began with, or its runs could not be "
        f"compared: {kept}. Received: {found}"
    )


def _file(slug, phase, number):
    name = f"search-{number:03d}" if phase == "search" else f"seed-{number}"
    return f"trials/{slug}/{name}.json"
