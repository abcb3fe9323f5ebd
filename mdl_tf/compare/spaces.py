"""What is searched for each loss, and which settings are drawn. Loads the losses on first use.

A loss class states its `search_space`. The name of weights there, its `proxies` or what is
`learned` beside them, stands for the factor on their learning rate.
"""

import inspect

from mdl_tf.config import ConfigError
from mdl_tf.losses import LOSSES
from mdl_tf.losses.space import Only, Range

# The learning rate is drawn up to this factor below and above the one that is given.
RATE_FACTOR = 10.0
RATE = "learning_rate"
# Of the low-discrepancy sequence; more than any loss has, so that the same columns are the same
# numbers whatever a loss has: all losses try the same learning rates.
_DIMENSIONS = 8


def space(entry):
    """What is searched of an entry: all of its loss but what it holds.

    Args:
        entry: an `Entry`.

    Returns:
        A dict from a setting to a `Range` or a `Choice`.
    """
    held = dict(entry.held)
    searched = LOSSES[entry.loss].search_space
    return {name: values for name, values in searched.items() if name not in held}


def draws(entry, learning_rate, count, seed, *, l2_normalize=True, fixed=()):
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
        l2_normalize: whether embeddings have unit length where nothing is drawn about it. Defaults
            to `True`.
        fixed: names of settings that are not drawn. Defaults to none.

    Returns:
        A list of dicts; a setting that does nothing with the others is not in it.
    """
    first = {RATE: learning_rate, **_defaults(entry), **dict(entry.held)}
    if count < 2:
        return [_without_unused(entry, first, l2_normalize, fixed)]
    from scipy.stats import qmc

    rates = Range(learning_rate / RATE_FACTOR, learning_rate * RATE_FACTOR, log=True)
    ranges = {RATE: rates, **LOSSES[entry.loss].search_space}
    if len(ranges) > _DIMENSIONS:
        raise ValueError(
            f"`search_space` must have at most {_DIMENSIONS - 1} settings. "
            f"Received: {len(ranges) - 1} of {entry.loss}"
        )
    points = qmc.Halton(_DIMENSIONS, seed=seed).random(count - 1)
    drawn = []
    for point in points:
        # Fewer ranges than columns.
        pairs = zip(ranges.items(), point, strict=False)
        drawn.append({name: values.at(share) for (name, values), share in pairs})
    drawn = [first, *({**settings, **dict(entry.held)} for settings in drawn)]
    return [_without_unused(entry, settings, l2_normalize, fixed) for settings in drawn]


def _without_unused(entry, settings, l2_normalize, fixed):
    """Settings without those that act with another value of another setting `Only`."""
    searched, held = LOSSES[entry.loss].search_space, dict(entry.held)
    settings = {k: v for k, v in settings.items() if k not in fixed or k in held}
    known = {"l2_normalize": l2_normalize, **defaults_of(entry), **settings}
    return {
        name: value
        for name, value in settings.items()
        if not isinstance(searched.get(name), Only)
        or known.get(searched[name].name) == searched[name].value
    }


def _defaults(entry):
    """What a loss has for the settings that are searched, written out: a default may change."""
    defaults = {**defaults_of(entry), **LOSSES[entry.loss].first_draw}
    return {name: defaults[name] for name in space(entry) if name in defaults}


def defaults_of(entry):
    """The arguments of a loss that have a default, with it; but not the number of classes.

    Args:
        entry: an `Entry`.

    Returns:
        A dict.
    """
    return {p.name: p.default for p in _parameters(entry) if p.default is not p.empty}


def _parameters(entry):
    """The arguments of a loss."""
    parameters = inspect.signature(LOSSES[entry.loss]).parameters.values()
    return [p for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "num_classes"]


def _weights(entry):
    """Names of the weights of a loss, which stand for factors on their learning rate."""
    loss = LOSSES[entry.loss]
    return [name for name in (loss.proxies, loss.learned) if name]


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
        elif name in _weights(entry):
            fields["learning_rate_factors"][name] = value
        else:
            fields["loss_args"][name] = value
    return fields


def check_held(entry):
    """Refuse what an entry holds and its loss does not have.

    Args:
        entry: an `Entry`.

    Raises:
        ConfigError: with the settings that the loss does have.
    """
    known = [p.name for p in _parameters(entry)]
    known += [RATE, "l2_normalize", *_weights(entry)]
    for name, _ in entry.held:
        if name not in known:
            raise ConfigError(
                f"`losses`: {entry.loss} may hold {', '.join(known)}. Received: {entry.label!r}"
            )
