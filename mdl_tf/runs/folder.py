"""The folder of a run: its config, what it was trained on, how far it is."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.runs import shapes
from mdl_tf.runs.store import EARLIER, LOCK, UNFINISHED, Store, check_name

STATE = "resume/state.json"  # what was reached, after every epoch; no epoch when training begins
CONFIG, RECIPE = "config.json", "recipe.json"
# Values that training replaces before its first epoch.
_OPEN = {
    "learning_rate": None,
    "image_size": None,
    "embedding_dim": None,
    "batch_norm": None,
    "augment": None,
    "head": "auto",
}
# What there is of a run before anything is measured or trained, and what others put there.
_BEFORE = {CONFIG, RECIPE, LOCK, "left_out.csv", "timing.json", "doctor"}


class Run(Store):
    """One training run in its folder.

    `config.json`, `metrics.json` (test), `history.csv` (validation, every epoch), `model.keras`,
    plots as PNG, `tensorboard/`, and in `resume/` what going on after an interruption needs.

    Args:
        folder: path of the run folder.
    """

    shapes = shapes.RUN

    def __init__(self, folder):
        super().__init__(folder)
        self._begins_again = False
        self.model = self.folder / "model.keras"
        self.tensorboard = self.folder / "tensorboard"

    @classmethod
    def create(cls, config, runs_dir="runs", name=None, *, recipe=None):
        """A new run folder with its `config.json`, and `recipe.json` if it has one.

        Args:
            config: a `TrainConfig`.
            runs_dir: folder of the runs. Defaults to `"runs"`.
            name: name of the run. Defaults to that of the recipe, or to data set and backbone,
                with a number if taken.
            recipe: what is kept of its recipe (`Recipe.record`). Defaults to `None`, no recipe.

        Raises:
            ConfigError: if there is a run of that name, or the folder cannot be written.
        """
        runs_dir, name = Path(runs_dir), check_name(name)
        # Both may hold what a folder's name must not, such as the path of a preset.
        default = re.sub(r"[:/\\]+", "-", f"{config.dataset}-{config.backbone}")
        if recipe:
            default = recipe["name"] + "-smoke" * recipe["smoke"]
        run = cls(runs_dir / (name or default))
        number = 1
        while True:
            try:
                run.make()
                break
            except FileExistsError:
                if name and run.is_left_by_a_kill:
                    break
                if name:
                    raise ConfigError(
                        f"`name` must be new, or go on with `--resume {run.folder}`. "
                        f"Received: name={name!r}, which exists"
                    ) from None
                number += 1
                run = cls(runs_dir / f"{default}-{number}")
            except OSError as error:
                raise ConfigError(
                    f"`runs_dir` must be a folder that can be written. Received: {error}"
                ) from error
        try:
            run.keep_config(config)
            if recipe:
                run.write_json(RECIPE, recipe)
        except BaseException:
            run.discard()
            raise
        return run

    @classmethod
    def open(cls, folder):
        """An existing run folder.

        Raises:
            ConfigError: if it holds no `config.json`.
        """
        run = cls(folder)
        if not (run.folder / "config.json").is_file():
            raise ConfigError(
                f"The run must be a folder with a config.json. Received: {run.folder}"
            )
        return run

    def part(self, name, config):
        """A run inside this one, such as that of a fold; begun if it is not there.

        Args:
            name: of its folder.
            config: its `TrainConfig`, if it begins.
        """
        part = Run(self.folder / name)
        if not (part.folder / CONFIG).is_file():
            if not part.folder.exists():
                part.make()
            part.keep_config(config)
        return part

    @property
    def parts(self):
        """The runs inside this one, of the folds, in their order."""
        parts = [Run(path.parent) for path in self.folder.glob("fold-*/config.json")]
        return sorted(parts, key=lambda part: part.config.fold)

    @property
    def restart(self):
        """What to do about a damaged file."""
        return (
            "restore it from a copy, or let the run begin again by "
            f"`mdl-tf train --resume {self.folder} --restart`, which keeps what is there"
        )

    @property
    def state(self):
        """What was kept after the last epoch, a dict; `None` of a run that has not begun.

        Raises:
            ConfigError: if it is damaged.
        """
        state = None if self._begins_again else self.read_json(STATE)
        if state and state["epochs_done"] != len(state["history"]):
            raise self.damaged(
                STATE, f"has {len(state['history'])} epochs in its history, not the epochs_done"
            )
        return state

    @property
    def has_epochs(self):
        """Whether an epoch is kept, of this run or of one inside it."""
        if self._begins_again:
            return False
        return any(run.epochs_done for run in (self, *self.parts))

    @property
    def epochs_done(self):
        """How many epochs are kept."""
        return (self.state or {"epochs_done": 0})["epochs_done"]

    def check_resumable(self):
        """Refuse to go on with a run that has lost what it was to go on from.

        Raises:
            ConfigError: if there are results of a training, but not how far it was.
        """
        if self._begins_again or (self.folder / STATE).is_file():
            return
        # What a kill has left half-written, or a folder made for it, is no result.
        whole = (path for path in self.folder.rglob("*") if path.is_file())
        whole = (path for path in whole if not path.name.startswith(UNFINISHED))
        names = {path.relative_to(self.folder).parts[0] for path in whole} - _BEFORE
        names = {name for name in names if not name.startswith(EARLIER)}
        # The folds of a run have what they need, each its own.
        parts = {part.folder.name for part in self.parts}
        if names - parts and not (self.config.cross_validated and parts):
            raise ConfigError(
                f"The run must have its {STATE} to go on, and has {min(names)} without it. What to "
                f"do: {self.restart}. Received: {self.folder}"
            )

    @property
    def is_left_by_a_kill(self):
        """Whether the folder holds nothing but what a process left that was killed at once."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else [""]
        return all(name == LOCK or name.startswith(UNFINISHED) for name in names)

    @property
    def begins_again(self):
        """Whether `begin_again` was asked for, and nothing is moved aside yet."""
        return self._begins_again

    def begin_again(self):
        """Let the run be trained from its start; what is there is moved aside by `set_aside`."""
        self._begins_again = True

    def set_aside_if_restarted(self):
        """Move aside what a run that begins again has; once its data are there, not before.

        Returns:
            The path of the folder with all that, or `None` if there was nothing to move.
        """
        earlier = self.set_aside((CONFIG, RECIPE)) if self._begins_again else None
        self._begins_again = False
        return earlier

    def extend(self, epochs):
        """Let the run go on to a larger number of epochs, which becomes that of its config.

        Args:
            epochs: of the whole run.

        Raises:
            ConfigError: if the run has as many already, its patience has ended it, its learning
                rate was planned for its length, or it has folds.
        """
        config, state = self.config, self.state or {}
        epochs = TrainConfig.check("epochs", epochs)
        # The folds of a run are compared, and must be of equal length.
        if config.cross_validated or (self.folder.parent / "config.json").is_file():
            raise ConfigError(
                "`epochs` (--epochs) cannot be changed for a run with `folds`. "
                f"Received: epochs={epochs} for a run of {config.folds} folds"
            )
        if config.refit:
            raise ConfigError(
                "`epochs` (--epochs) cannot be changed for a run with `refit`, whose best epoch is "
                f"settled. Received: epochs={epochs} for a run of {config.epochs}"
            )
        if config.schedule == "cosine":
            raise ConfigError(
                "`epochs` (--epochs) cannot be changed for a run with schedule='cosine', whose "
                "learning rate has fallen for the epochs that it began with; constant and step "
                f"can go on. Received: epochs={epochs} for a run of {config.epochs}"
            )
        if epochs <= config.epochs:
            raise ConfigError(
                f"`epochs` (--epochs) must be above those of the run, {config.epochs}. "
                f"Received: epochs={epochs}"
            )
        if state.get("stopped"):
            raise ConfigError(
                f"`epochs` (--epochs) cannot be changed for a run that its patience of "
                f"{config.patience} has ended. Received: epochs={epochs} for a run that ended "
                f"after epoch {state['epochs_done']}"
            )
        recipe = self.read_json("recipe.json")
        if recipe:
            planned, _ = recipe["changed"].get("epochs", [config.epochs, None])
            recipe["changed"]["epochs"] = [planned, epochs]
            self.write_json("recipe.json", recipe)
        self.keep_config(dataclasses.replace(config, epochs=epochs))

    def keep_config(self, config):
        """Write `config.json`.

        Args:
            config: a `TrainConfig`.
        """
        self.write_text("config.json", config.to_json())

    def keep_classes(self, sets, *, new):
        """Write which classes are for what, or check that they still are.

        Args:
            sets: dict from the name of a split to its `ImageSet`, or to `None` if there is none.
            new: whether the run begins; else the sets are compared with those it began with.

        Raises:
            ConfigError: if a class has changed sides, so that a test class may have been trained
                on.
        """
        classes = {name: list(s.class_names) if s else [] for name, s in sets.items()}
        kept = None if new else self.read_json("classes.json")
        if kept is None:
            self.write_json("classes.json", classes)
            return
        for name, names in classes.items():
            if set(names) != set(kept[name]):
                gone, added = set(kept[name]) - set(names), set(names) - set(kept[name])
                raise ConfigError(
                    "The data set must be split as it was when the run began, or classes that were "
                    f"trained on get into the test. Received: {name} classes without "
                    f"{_some(gone)}, and with {_some(added)}"
                )

    def keep_images(self, sets, *, new):
        """Write which images there are, or check that they are those with which training began.

        Args:
            sets: dict from the name of a split to its `ImageSet`, or to `None` if there is none.
            new: whether the run begins; else it goes on.

        Raises:
            ConfigError: if the images are others, so that the batches would be others and the rows
                of one table of different test images.
        """
        counts = {name: len(s) if s else 0 for name, s in sets.items()}
        found = {**counts, "digest": digest_of(sets)}
        kept = None if new else self.read_json("resume/images.json")
        if kept is None:
            self.write_json("resume/images.json", found)
            return
        # Runs of 0.1.0 kept the counts alone.
        wrong = [name for name in counts if kept[name] != counts[name]]
        if wrong:
            listed = ", ".join(f"{kept[name]:,} of {name}" for name in wrong)
            raise ConfigError(
                "The data set must hold the images that it held when the run began, or batches "
                f"would not go on where they stopped: {listed}. "
                f"Received: {', '.join(f'{counts[name]:,}' for name in wrong)}"
            )
        if kept.get("digest", found["digest"]) != found["digest"]:
            raise ConfigError(
                "The data set must hold the images and labels that it held when the run began, or "
                "its table would compare different data: put them back, or let the run begin again "
                f"by `mdl-tf train --resume {self.folder} --restart`. Received: as many images, "
                "but others"
            )

    def discard_if_new(self):
        """Remove the folder if this process made it and nothing of a training is in it."""
        if self.is_new and not (self.folder / STATE).exists():
            self.discard()

    @property
    def config(self):
        """The `TrainConfig` of the run.

        Raises:
            ConfigError: if its file is damaged.
        """
        config = TrainConfig.from_run(self.folder / CONFIG)
        if (self.folder / STATE).is_file() and not self._begins_again:
            left = [name for name, value in _OPEN.items() if getattr(config, name) == value]
            if left and self.epochs_done:
                raise self.damaged(CONFIG, f"has no value of `{left[0]}`, which training settles")
        return config


def _some(names):
    """Names that one set has and the other has not, a few of them."""
    listed = ", ".join(sorted(names)[:5]) or "none"
    return f"{listed}, ... ({len(names)})" if len(names) > 5 else listed


def find_run(path):
    """The folder of the run that a path is of, its folder or its best model; else `None`.

    Args:
        path: a `Path`.
    """
    folder = path.parent if path.name == "model.keras" else path
    return folder if (folder / CONFIG).is_file() else None


def digest_of(sets):
    """What tells whether data are the same: labels, and what the images hold, not where they are.

    Args:
        sets: dict from the name of a split to its `ImageSet`, or to `None` if there is none.

    Returns:
        A text of 32 letters.
    """
    digest = hashlib.sha256()
    for name, part in sets.items():
        if part is not None:
            digest.update(f"{name} {json.dumps(part.class_names)}".encode())
            for array in (part.labels, part.images, part.features, part.boxes, part.digests):
                if array is not None:
                    digest.update(array.tobytes())
    return digest.hexdigest()[:32]
