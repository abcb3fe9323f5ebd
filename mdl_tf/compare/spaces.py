"""What is searched for each loss, and which settings are drawn. Loads nothing heavy by itself.

The ranges go from what the papers use to somewhat beyond it on both sides. `l2_normalize` is
searched for the losses whose papers leave embeddings at any length, and the learning rate of
proxies for the losses that have some.
"""

import math
from typing import NamedTuple

from mdl_tf.config import ConfigError

# The learning rate is drawn up to this factor below and above the one that is given.
RATE_FACTOR = 10.0
RATE = "learning_rate"
# Of the low-discrepancy sequence; more than any loss has, so that the same columns are the same
# numbers whatever a loss has: all losses try the same learning rates.
_DIMENSIONS = 8


class Range(NamedTuple):
    """A number between two others, evenly or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, share):
        """The number at a share, 0 to 1, of the way, to four digits."""
        if self.log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value:.4g}")


class Choice(NamedTuple):
    """One of some values."""

    values: tuple

    def at(self, share):
        """The value at a share, 0 to 1, of the way."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


_UNIT = Choice((False, True))
# A factor on the learning rate; written as `learning_rate_factors`.
_PROXIES = {"proxies": Range(1, 100, log=True)}
SPACES = {
    "margin_discriminate": {"margin": Range(0, 0.6), "sharpness": Range(4, 64, log=True)},
    "contrastive": {"positive_margin": Range(0, 0.6), "negative_margin": Range(0.4, 1.4)},
    "triplet": {
        "mining": Choice(("semi_hard", "all", "hard")),
        "margin": Range(0.02, 0.6, log=True),
    },
    "lifted_structure": {"margin": Range(0.2, 2), "l2_normalize": _UNIT},
    "generalized_lifted_structure": {"margin": Range(0.2, 2), "l2_normalize": _UNIT},
    "n_pairs": {"l2": Range(1e-4, 0.1, log=True), "l2_normalize": _UNIT},
    "angular": {"alpha": Range(30, 60)},
    "margin": {
        "beta": Range(0.6, 1.4),
        "margin": Range(0.05, 0.4),
        "learn_beta": Choice((False, True)),
    },
    "multi_similarity": {
        "alpha": Range(0.5, 20, log=True),
        "beta": Range(8, 80, log=True),
        "base": Range(0, 1),
    },
    "circle": {"margin": Range(0.1, 0.6), "gamma": Range(16, 256, log=True)},
    "sup_con": {
        "temperature": Range(0.02, 0.5, log=True),
        "denominator": Choice(("all", "negatives")),
    },
    "normalized_softmax": {"temperature": Range(0.02, 0.3, log=True), **_PROXIES},
    "proxy_nca": {"scale": Range(2, 40, log=True), **_PROXIES},
    "proxy_anchor": {"margin": Range(0, 0.3), "alpha": Range(8, 64, log=True), **_PROXIES},
    "arc_face": {"margin": Range(0.05, 0.6), "scale": Range(8, 64, log=True), **_PROXIES},
    "cos_face": {"margin": Range(0.05, 0.5), "scale": Range(8, 64, log=True), **_PROXIES},
    "soft_triple": {
        "scale": Range(8, 40, log=True),
        "gamma": Range(0.03, 0.5, log=True),
        "margin": Range(0, 0.1),
        "centers": Range(1, 100, log=True),
    },
}
# Settings of these names are not arguments of a loss.
_FACTORS = ("proxies", "centers")
# What the first draw has that the loss's defaults have not: the papers' embeddings of any length.
_FIRST = {loss: {"l2_normalize": False} for loss, s in SPACES.items() if "l2_normalize" in s}


def space(entry):
    """What is searched of an entry: all of its loss but what it holds.

    Args:
        entry: an `Entry`.

    Returns:
        A dict from a setting to a `Range` or a `Choice`.
    """
    held = dict(entry.held)
    return {name: values for name, values in SPACES[entry.loss].items() if name not in held}


def draws(entry, learning_rate, count, seed):
    """The settings that the search tries for an entry, always the same ones.

    The first draw has the defaults of the loss at the given learning rate. The others are a Halton
    sequence over the learning rate and the loss's own settings: it fills a space more evenly than
    random numbers, any beginning of it is a search of its own, and all losses meet the same
    learning rates.

    Args:
        entry: an `Entry`.
        learning_rate: the middle of its range.
        count: how many, at least 1.
        seed: of the sequence.

    Returns:
        A list of dicts.
    """
    first = {RATE: learning_rate, **_defaults(entry), **dict(entry.held)}
    if count < 2:
        return [first]
    from scipy.stats import qmc

    rates = Range(learning_rate / RATE_FACTOR, learning_rate * RATE_FACTOR, log=True)
    ranges = {RATE: rates, **SPACES[entry.loss]}
    points = qmc.Halton(_DIMENSIONS, seed=seed).random(count - 1)
    drawn = []
    for point in points:
        # Fewer ranges than columns.
        pairs = zip(ranges.items(), point, strict=False)
        drawn.append({name: values.at(share) for (name, values), share in pairs})
    return [first, *({**settings, **dict(entry.held)} for settings in drawn)]


def _defaults(entry):
    """What a loss has for the settings that are searched, written out: a default may change."""
    found = {**{p.name: p.default for p in _parameters(entry)}, **_FIRST.get(entry.loss, {})}
    return {name: found[name] for name in space(entry) if name in found}


def _parameters(entry):
    """The arguments of a loss. Loads the losses."""
    import inspect

    from mdl_tf.losses import LOSSES

    parameters = inspect.signature(LOSSES[entry.loss]).parameters.values()
    return [p for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "num_classes"]


def changes(entry, settings):
    """Drawn settings as fields of a `TrainConfig`.

    Args:
        entry: an `Entry`.
        settings: one of `draws`.

    Returns:
        A dict.
    """
    fields = {"loss": entry.loss, "loss_args": {}, "learning_rate_factors": {}}
    for name, value in settings.items():
        if name in (RATE, "l2_normalize"):
            fields[name] = value
        elif name in _FACTORS:
            fields["learning_rate_factors"][name] = value
        else:
            fields["loss_args"][name] = value
    return fields


def check_held(entry):
    """Refuse what an entry holds and its loss does not have; loads the losses.

    Args:
        entry: an `Entry`.

    Raises:
        ConfigError: with the settings that the loss does have.
    """
    known = [p.name for p in _parameters(entry)]
    known += [RATE, "l2_normalize", *(f for f in _FACTORS if f in SPACES[entry.loss])]
    for name, _ in entry.held:
        if name not in known:
            raise ConfigError(
                f"`losses`: {entry.loss} may hold {', '.join(known)}. Received: {entry.label!r}"
            )
