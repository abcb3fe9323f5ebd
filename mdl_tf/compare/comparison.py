"""What a comparison is: losses, and all that they have in common. Loads nothing heavy."""

import dataclasses

from mdl_tf.compare.entries import parse
from mdl_tf.compare.spaces import changes, draws
from mdl_tf.config import ConfigError, TrainConfig

# Settings that a loss or a seed decides, or that would give one loss more steps than another.
NOT_SHARED = {
    "loss": "the losses are compared",
    "loss_args": "they are searched; a loss may hold some, as in triplet:mining=hard",
    "patience": "every loss has the same steps",
    "folds": "there is one split of the classes",
    "fold": "there is one split of the classes",
    "tensorboard": "the report has the curves",
}
# Validation decides between settings, which a few classes could not.
VALIDATION, MONITOR = 0.25, "map_at_r"


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
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(
                    f"`{name}` must be an integer, at least {least}. Received: {name}={value!r}"
                )
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

    def drawn(self, entry):
        """The settings that are tried for an entry, `spaces.draws`."""
        return draws(entry, self.config.learning_rate, max(1, self.search), self.config.seed)

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
        shared = self.config.learning_rate_factors
        fields["learning_rate_factors"] = {**shared, **fields["learning_rate_factors"]}
        return dataclasses.replace(self.config, **fields, seed=seed)

    @property
    def final_seeds(self):
        """Seeds of the final runs: fresh ones, that of the search is not among them."""
        return tuple((self.config.seed + i) % 2**32 for i in range(1, self.seeds + 1))

    def to_dict(self):
        return {
            "losses": [entry.label for entry in self.entries],
            "search": self.search,
            "seeds": self.seeds,
            "config": self.config.to_dict(),
        }

    @classmethod
    def from_dict(cls, settings):
        """A comparison from what `to_dict` gave."""
        return cls(
            TrainConfig.from_dict(settings["config"]),
            parse(",".join(settings["losses"])),
            settings["search"],
            settings["seeds"],
        )


def chosen(comparison, entry, searched):
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
    # The earlier of two equal ones: the defaults, if they are among them.
    done = [trial for trial in searched if trial["failed"] is None]
    best = max(done, key=lambda trial: trial["value"], default=None)
    return best and best["settings"]
