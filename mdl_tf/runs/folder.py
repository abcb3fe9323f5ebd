"""The folder of a run: its config, what it was trained on, how far it is."""

import contextlib
import dataclasses
import re
from pathlib import Path

from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.runs.store import LOCK, Store

STATE = "resume/state.json"  # what was reached, after every epoch


class Run(Store):
    """One training run in its folder.

    `config.json`, `metrics.json` (test), `history.csv` (validation, every epoch), `model.keras`,
    plots as PNG, `tensorboard/`, and in `resume/` what going on after an interruption needs.

    Args:
        folder: path of the run folder.
    """

    def __init__(self, folder):
        super().__init__(folder)
        self._is_new = False  # made by this process, and no epoch is kept yet
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
        runs_dir = Path(runs_dir)
        # Both may hold what a folder's name must not, such as the path of a preset.
        default = re.sub(r"[:/\\]+", "-", f"{config.dataset}-{config.backbone}")
        if recipe:
            default = recipe["name"] + "-smoke" * recipe["smoke"]
        folder = runs_dir / (name or default)
        number = 1
        while True:
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                if name:
                    raise ConfigError(
                        f"`name` must be new, or go on with `--resume {folder}`. "
                        f"Received: name={name!r}, which exists"
                    ) from None
                number += 1
                folder = runs_dir / f"{default}-{number}"
            except OSError as error:
                raise ConfigError(
                    f"`runs_dir` must be a folder that can be written. Received: {error}"
                ) from error
        run = cls(folder)
        run._is_new = True
        run.keep_config(config)
        if recipe:
            run.write_json("recipe.json", recipe)
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
        if not (part.folder / "config.json").is_file():
            part._is_new = not part.folder.exists()
            part.folder.mkdir(exist_ok=True)
            part.keep_config(config)
        return part

    @property
    def parts(self):
        """The runs inside this one, of the folds, in their order."""
        parts = [Run(path.parent) for path in self.folder.glob("fold-*/config.json")]
        return sorted(parts, key=lambda part: part.config.fold)

    @property
    def has_epochs(self):
        """Whether an epoch is kept, of this run or of one inside it."""
        return any((run.folder / STATE).is_file() for run in (self, *self.parts))

    def extend(self, epochs):
        """Let the run go on to a larger number of epochs, which becomes that of its config.

        Args:
            epochs: of the whole run.

        Raises:
            ConfigError: if the run has as many already, its patience has ended it, its learning
                rate was planned for its length, or it has folds.
        """
        config, state = self.config, self.read_json(STATE, {})
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

    def keep_counts(self, sets, *, new):
        """Write how many images there are, or check that there are as many as when training began.

        Args:
            sets: dict from the name of a split to its `ImageSet`, or to `None` if there is none.
            new: whether the run begins; else it goes on.

        Raises:
            ConfigError: if a count has changed, so that the batches would be others.
        """
        counts = {name: len(s) if s else 0 for name, s in sets.items()}
        kept = None if new else self.read_json("resume/images.json")
        if kept is None:
            self.write_json("resume/images.json", counts)
        elif kept != counts:
            raise ConfigError(
                "The data set must hold the images that it held when the run began, or batches "
                f"would not go on where they stopped: {kept}. Received: {counts}"
            )

    def discard_if_new(self):
        """Remove the folder if this process made it and nothing of a training is in it."""
        written = {"config.json", "left_out.csv", "recipe.json", LOCK}
        if self._is_new and {path.name for path in self.folder.iterdir()} <= written:
            for name in written:
                (self.folder / name).unlink(missing_ok=True)
            # Somebody may have put a file into it just now.
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    @property
    def config(self):
        return TrainConfig.from_run(self.folder / "config.json")


def _some(names):
    """Names that one set has and the other has not, a few of them."""
    listed = ", ".join(sorted(names)[:5]) or "none"
    return f"{listed}, ... ({len(names)})" if len(names) > 5 else listed
