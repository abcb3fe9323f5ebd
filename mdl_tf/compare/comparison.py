"""What a comparison is: losses, and all that they have in common. Loads nothing heavy."""

import dataclasses
import functools
from typing import NamedTuple

from mdl_tf.checks import check_integer
from mdl_tf.compare.entries import Entry, parse
from mdl_tf.compare.spaces import changes, defaults_of, draws
from mdl_tf.config import ConfigError, TrainConfig

# Settings that a loss or a seed decides, or that would give one loss more steps than another.
NOT_SHARED = {
    "loss": "the losses are compared",
    "loss_args": "they are searched; a loss may hold some, as in triplet:mining=hard",
    "patience": "every loss has the same steps",
    "folds": "there is one split of the classes",
    "fold": "there is one split of the classes",
    "refit": "the validation classes judge every loss, and none is trained on them",
    "tensorboard": "the report has the curves",
}
# Validation decides between settings, which a few classes could not.
VALIDATION, MONITOR = 0.25, "map_at_r"


class PlannedTrial(NamedTuple):
    """One run of a comparison, done or not."""

    entry: Entry
    phase: str  # "search", or "final"
    number: int  # of the draw, or the seed
    settings: dict  # what is drawn or chosen for the loss
    config: TrainConfig


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Losses, and how they are compared.

    Args:
        config: a `TrainConfig`: data, network, batches, steps, schedule, and the middle of the
            learning rates, with the default loss. It needs validation classes.
        entries: `Entry`s.
        search: draws for each loss, 0 or 1 for its defaults alone. Defaults to `16`.
        seeds: final runs of each loss, at least 1. Defaults to `5`.

    Raises:
        ConfigError: for anything else.
    """

    config: TrainConfig
    entries: tuple
    search: int = 16
    seeds: int = 5

    def __post_init__(self):
        for name, least in (("search", 0), ("seeds", 1)):
            try:
                value = check_integer(name, getattr(self, name), least=least)
            except ValueError as error:
                raise ConfigError(str(error)) from None
            object.__setattr__(self, name, value)
        if not self.entries:
            raise ConfigError("`losses` must be at least one. Received: none")
        default = {f.name: f for f in dataclasses.fields(TrainConfig)}
        for name, why in NOT_SHARED.items():
            field, value = default[name], getattr(self.config, name)
            unset = {} if field.default is dataclasses.MISSING else field.default
            if name != "tensorboard" and value != unset:
                raise ConfigError(
                    f"`{name}` cannot be set in a comparison: {why}. Received: {name}={value!r}"
                )
        if self.config.cache == "ram":
            raise ConfigError(
                "`cache` must be none or disk in a comparison, where images are then decoded once "
                "for all runs. Received: cache='ram'"
            )
        if not self.config.validation:
            raise ConfigError(
                "`validation` must be above 0: settings are chosen on classes held out of "
                "training. Received: validation=0"
            )

    @functools.cached_property
    def _resolved(self):
        """The config without open values, but those that the built network decides."""
        if self.config.start and self.config.learning_rate and self.config.image_size:
            # It was resolved when the comparison began; the run of `start` may be gone by now.
            return self.config
        # TensorFlow.
        from mdl_tf.runs.resolve import resolve

        return dataclasses.replace(resolve(self.config), loss_args={})

    def settled(self, network):
        """The same comparison with a config that leaves nothing open.

        Args:
            network: the embedder that the config makes.
        """
        # TensorFlow.
        from mdl_tf.runs.resolve import settle

        return dataclasses.replace(self, config=settle(self._resolved, network))

    def drawn(self, entry):
        """The settings that are tried for an entry, `spaces.draws`."""
        config = self._resolved
        options = {"l2_normalize": config.l2_normalize}
        if config.start:
            options["fixed"] = ("l2_normalize",)  # its model has its own end
        count = max(1, self.search)
        return draws(entry, config.learning_rate, count, config.seed, **options)

    def run_config(self, entry, settings, seed):
        """The `TrainConfig` of one run.

        Args:
            entry: an `Entry`.
            settings: one of `drawn`.
            seed: of weights, batches and augmentation.

        Raises:
            ConfigError: for settings that cannot be.
        """
        fields = changes(entry, settings)
        shared = self._resolved.learning_rate_factors
        fields["learning_rate_factors"] = {**shared, **fields["learning_rate_factors"]}
        return dataclasses.replace(self._resolved, **fields, seed=seed)

    def plan_search(self, entry):
        """The search of an entry.

        Args:
            entry: an `Entry`.

        Returns:
            A list of `PlannedTrial`s, draw by draw; empty where one draw, that of the defaults,
            would decide nothing.
        """
        if self.search < 2:
            return []
        return [
            self.plan(entry, "search", number, settings, self.config.seed)
            for number, settings in enumerate(self.drawn(entry))
        ]

    def plan_final(self, entry, settings):
        """The final runs of an entry.

        Args:
            entry: an `Entry`.
            settings: those of its best draw, or `None` if none was chosen.

        Returns:
            A list of `PlannedTrial`s, seed by seed; empty without settings.
        """
        if settings is None:
            return []
        return [self.plan(entry, "final", seed, settings, seed) for seed in self.final_seeds]

    def plan(self, entry, phase, number, settings, seed):
        """One run, whose config also has every setting of its loss.

        Args:
            entry: an `Entry`.
            phase: `"search"` or `"final"`.
            number: of the draw, or the seed.
            settings: of the loss, as in `drawn`.
            seed: of weights, batches and augmentation.

        Returns:
            A `PlannedTrial`.
        """
        config = self.run_config(entry, settings, seed)
        loss_args = {**defaults_of(entry), **config.loss_args}
        config = dataclasses.replace(config, loss_args=loss_args)
        return PlannedTrial(entry, phase, number, settings, config)

    @property
    def final_seeds(self):
        """Seeds of the final runs: fresh ones, that of the search is not among them."""
        return tuple((self.config.seed + i) % 2**32 for i in range(1, self.seeds + 1))

    def to_dict(self):
        """A dict for JSON, with the version that wrote it."""
        return {
            "losses": [entry.label for entry in self.entries],
            "search": self.search,
            "seeds": self.seeds,
            "config": self.config.to_kept(),
        }

    @classmethod
    def from_dict(cls, settings):
        """A comparison from what `to_dict` gave, in this version or an earlier one."""
        config = TrainConfig.from_kept(settings["config"])
        # What all runs share has the default loss, of which a comparison says nothing.
        config = dataclasses.replace(config, loss_args={})
        entries = parse(",".join(settings["losses"]))
        return cls(config, entries, settings["search"], settings["seeds"])


def best_draw(searched):
    """The trial of a search with the best validation, the earlier of two equal ones.

    Args:
        searched: trials, in the order of their draws.

    Returns:
        One of them, or `None` if all failed or there are none.
    """
    succeeded = [trial for trial in searched if trial["failed"] is None]
    return max(succeeded, key=lambda trial: trial["value"], default=None)


def choose_settings(comparison, entry, searched):
    """The settings of an entry with the best validation, once its search is over.

    Args:
        comparison: a `Comparison`.
        entry: an `Entry`.
        searched: its search, by number; `None` for runs that are not done.

    Returns:
        A dict; the defaults without a search; `None` if the search goes on, or all its runs failed.
    """
    if comparison.search < 2:
        return comparison.drawn(entry)[0]
    if None in searched:
        return None
    best = best_draw(searched)
    return best and best["settings"]
