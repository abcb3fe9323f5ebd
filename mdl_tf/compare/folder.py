"""The folder of a comparison, and the only writer of its runs: a small file for each that is done.

A run is known by what it was run with: found again if all its settings are the same, whatever else
has changed about the comparison. So more losses, draws or seeds may be asked for later, and what is
done already is not done again. A draw that is done stays the one it was, also when a later version
draws from other ranges.
"""

import contextlib
import fnmatch
import re
from pathlib import Path
from typing import NamedTuple

from mdl_tf.compare.asked import find_changes, find_left_open, read_left_open
from mdl_tf.compare.comparison import Comparison, choose_settings
from mdl_tf.compare.results import Results
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.runs import shapes
from mdl_tf.runs.store import EARLIER, LOCK, UNFINISHED, Store, check_name

SETTINGS = "compare.json"
# Measured or trained again if they are not there.
_MADE_AGAIN = ("trials/*", "untrained/*", "raw.json", "features.json")


class Standing(NamedTuple):
    """How far an entry is: pairs of a `PlannedTrial` and its trial, `None` if it is not done."""

    search: list
    settings: dict | None  # of the final runs, once the search is over
    final: list

    @property
    def trials(self):
        """All trials that are done."""
        return [trial for _, trial in (*self.search, *self.final) if trial is not None]


class Folder(Store):
    """A comparison's folder: `compare.json`, `trials/LOSS/search-003.json` and so on.

    Args:
        path: of the folder.
    """

    shapes = shapes.COMPARISON

    def __init__(self, path):
        super().__init__(path)
        self.path = self.folder
        self._begins_again = False

    def damaged(self, name, reason):
        """The error of a file that is damaged; a run that is gone is made again."""
        self.restart = "restore it from a copy, or begin again with --restart, which loses nothing"
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in _MADE_AGAIN):
            self.restart = "remove it, and the same command makes it again"
        return super().damaged(name, reason)

    @classmethod
    def of(cls, comparison, runs_dir="runs", name=None, *, restart=False):
        """The folder of a comparison, new, or that of an earlier one to go on with.

        Args:
            comparison: a `Comparison`.
            runs_dir: folder of runs and comparisons. Defaults to `"runs"`.
            name: of the folder. Defaults to `compare-` and data set and network, with a number
                where something else has that name.
            restart: whether a comparison of that name begins again, perhaps with other settings or
                data; what it has is then moved into its folder `earlier-1`. Defaults to `False`.

        Raises:
            ConfigError: if `name` is taken by something else, or nothing can be written there.
        """
        config, name = comparison.config, check_name(name)
        default = re.sub(r"[:/\\]+", "-", f"compare-{config.dataset}-{config.backbone}")
        number = 1
        while True:
            suffix = f"-{number}" if number > 1 else ""
            folder = cls(Path(runs_dir) / (name or default + suffix))
            folder._begins_again = restart and (folder.path / SETTINGS).exists()
            difference = None if folder._begins_again else folder._difference(config)
            if difference is None:
                break
            if name:
                raise ConfigError(
                    f"`name` must be new, or that of a comparison with the same settings, which "
                    f"goes on. Received: name={name!r}, {difference}"
                )
            number += 1
        folder._make()
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

    def _make(self):
        try:
            self.make()
        except FileExistsError:
            pass
        except OSError as error:
            raise ConfigError(
                f"`runs_dir` must be a folder that can be written. Received: {error}"
            ) from error

    def set_aside_if_restarted(self):
        """Move aside what a comparison that begins again has; once its data are there.

        Returns:
            The path of the folder with all that, or `None` if there was nothing to move.
        """
        earlier = self.set_aside() if self._begins_again else None
        self._begins_again = False
        return earlier

    @contextlib.contextmanager
    def alone(self):
        """While the block runs, no other process may run this comparison.

        When the block fails, a folder that this process made is removed again, if no run is in it.

        Raises:
            ConfigError: if another process is at it.
        """
        # One that failed at once has been taken away.
        self._make()
        with super().alone("A comparison must be run"):
            # Of the folder's own files only: nothing else writes here now.
            self.remove_unfinished()
            try:
                yield
            except BaseException:
                self._discard_if_new()
                raise

    def _discard_if_new(self):
        has_runs = any((self.path / name).exists() for name in ("trials", "untrained"))
        if self.is_new and not has_runs:
            self.discard()

    def keep(self, comparison, asked=None):
        """Keep what is compared, once it is known that it can be.

        Args:
            comparison: a `Comparison`.
            asked: the config as it was asked for, with open values. Defaults to `None`, that of
                the comparison.
        """
        before = self.read_settings()
        if before is None:
            left_open = find_left_open(asked or comparison.config, comparison.config)
        else:
            left_open = read_left_open(before)
        self.write_json(SETTINGS, {**comparison.to_dict(), "asked": left_open})

    def read_settings(self, default=None):
        """What `keep` wrote; `default` if nothing is kept, or it begins again.

        Args:
            default: a value. Defaults to `None`.
        """
        return default if self._begins_again else self.read_json(SETTINGS, default)

    @property
    def comparison(self):
        settings = self.read_json(SETTINGS)
        try:
            return Comparison.from_dict(settings)
        except ConfigError as error:
            raise self.damaged(SETTINGS, f"has a config that cannot be: {error}") from error

    def _difference(self, config):
        """What keeps the folder from being that of a comparison with this config, or `None`."""
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            return "which is a file"
        settings = self.read_json(SETTINGS)
        if settings is None:
            # A lock, and what a kill has left, are no reason: they are of a comparison.
            names = {path.name for path in self.path.iterdir()} - {LOCK}
            names = {name for name in names if not name.startswith((UNFINISHED, EARLIER))}
            return "which is something else" if names else None
        try:
            changed = find_changes(settings, config)
        except ConfigError as error:
            raise self.damaged(SETTINGS, f"has a config that cannot be: {error}") from error
        return f"which has {', '.join(changed)}" if changed else None

    def read_trial(self, planned):
        """A run that is done, or `None`.

        Args:
            planned: a `PlannedTrial`.
        """
        name = _file(planned)
        trial = self.read_json(name)
        if trial is None:
            return None
        self._check_trial(name, trial)
        try:
            config = TrainConfig.from_kept(trial["config"])
        except ConfigError as error:
            raise self.damaged(name, f"has a config that cannot be: {error}") from error
        if config != planned.config:
            return None
        if trial["settings"] != planned.settings:
            raise self.damaged(name, "has settings that are not those of its config")
        return trial

    def _check_trial(self, name, trial):
        """Refuse a trial that says neither that it failed nor what came of it."""
        if trial["failed"] is None:
            key = f"val_{trial['config'].get('monitor')}"
            wanted = ["value", "best_epoch"]
            wanted += ["metrics", "distances"] if trial["phase"] == "final" else []
            missing = [key for key in wanted if trial.get(key) is None]
            missing += [key] if any(key not in row for row in trial["history"]) else []
            if missing:
                raise self.damaged(name, f"has no {missing[0]!r}")

    def keep_trial(self, planned, record):
        """Keep a run that is done.

        Args:
            planned: a `PlannedTrial`.
            record: what `Results` says of a trial, but for what is planned.

        Returns:
            The trial.
        """
        trial = {
            "label": planned.entry.label,
            "phase": planned.phase,
            "number": planned.number,
            "config": planned.config.to_kept(),
            "settings": planned.settings,
            **record,
        }
        self.write_json(_file(planned), trial)
        return trial

    def keep_model(self, slug, save):
        """Keep a model of an entry as `models/LOSS.keras`.

        Args:
            slug: of the entry.
            save: a function of a path that writes it.
        """
        with self.writing(f"models/{slug}.keras") as path:
            save(path)

    def keep_picture(self, name, pixels):
        """Keep a picture in `pictures/`; returns its name.

        Args:
            name: of the file, ending in .png.
            pixels: uint8 RGB, shape `(h, w, 3)`.
        """
        from PIL import Image

        with self.writing(f"pictures/{name}") as path:
            Image.fromarray(pixels).save(path, optimize=True)
        return name

    def standing(self, comparison, entry):
        """How far an entry of a comparison is.

        Args:
            comparison: a `Comparison`.
            entry: one of its entries.

        Returns:
            A `Standing`.
        """
        planned_search = self.plan_search(comparison, entry)
        search = [(planned, self.read_trial(planned)) for planned in planned_search]
        settings = choose_settings(comparison, entry, [trial for _, trial in search])
        planned_final = comparison.plan_final(entry, settings)
        final = [(planned, self.read_trial(planned)) for planned in planned_final]
        return Standing(search, settings, final)

    def plan_search(self, comparison, entry):
        """The search of an entry; draws that are done are those that they were.

        Args:
            comparison: a `Comparison`.
            entry: one of its entries.

        Returns:
            A list of `PlannedTrial`s, as `Comparison.plan_search`.
        """
        return [self._as_done(comparison, one) for one in comparison.plan_search(entry)]

    def _as_done(self, comparison, planned):
        trial = self.read_json(_file(planned))
        if trial is None:
            return planned
        entry, number, seed = planned.entry, planned.number, planned.config.seed
        done = comparison.plan(entry, "search", number, trial["settings"], seed)
        return done if self.read_trial(done) else planned

    def results(self):
        """All that is known, as the report reads it; runs that no longer belong are left out."""
        comparison = self.comparison
        standings = [self.standing(comparison, entry) for entry in comparison.entries]
        untrained = {
            seed: self.read_json(f"untrained/seed-{seed}.json") for seed in comparison.final_seeds
        }
        return Results(
            name=self.path.name,
            labels=tuple(entry.label for entry in comparison.entries),
            search=comparison.search,
            seeds=comparison.final_seeds,
            config=comparison.config.to_dict(),
            data=self.read_json("data.json", {}),
            raw=self.read_json("raw.json"),
            untrained={seed: row for seed, row in untrained.items() if row is not None},
            trials=tuple(trial for standing in standings for trial in standing.trials),
            features=self.read_json("features.json"),
        )


def describe_changed_data(kept, found):
    """The message for a data set that is not the one with which a comparison began."""
    return (
        "The data set must be the one that the comparison began with, or its runs could not be "
        f"compared (--restart begins again, and keeps what is there): {kept}. Received: {found}"
    )


def _file(planned):
    number = planned.number
    name = f"search-{number:03d}" if planned.phase == "search" else f"seed-{number}"
    return f"trials/{planned.entry.slug}/{name}.json"
