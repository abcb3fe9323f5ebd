"""What settings of a `TrainConfig` must be together, and what would be without use."""

import dataclasses

from mdl_tf.checks import shown
from mdl_tf.config import versions
from mdl_tf.config.setting import ConfigError
from mdl_tf.datasets.table import DATASETS

# What features alone cannot have, and why.
_NEEDS_A_NETWORK = {
    "augment": "which sees no images",
    "weights": "which has none",
    "batch_norm": "which has none",
    "warm_up_epochs": "where nothing could be frozen",
    "frozen": "where there is nothing else than the embedding layer",
}
# What a network that is not trained cannot have, and why.
_NEEDS_TRAINING = {
    "augment": "whose features are computed once",
    "cache": "whose features are computed once, and kept",
    "batch_norm": "of which nothing is trained",
    "warm_up_epochs": "which never learns",
}
# What the model of another run brings with it.
_OF_THE_START = {
    "weights": "which has its own",
    "folds": "whose training classes would be validation classes of some folds",
}
# Settings that are used only with some values of another.
ONLY_WITH = (
    ("split_seed", "split_by", ("random",)),
    ("momentum", "optimizer", ("rmsprop", "sgd")),
    ("decay_epochs", "schedule", ("step",)),
    ("decay_factor", "schedule", ("step",)),
)


def spell_weights(weights):
    """Weights that are no file in their one spelling: `None` for random ones, and `"imagenet"`.

    Args:
        weights: what was given.

    Returns:
        What `TrainConfig.weights` is.
    """
    name = str(weights).lower()
    return {"random": None, "imagenet": name}.get(name, weights)


def spell_devices(devices):
    """The number of devices as text, `None` for one device, or `"all"`.

    Args:
        devices: what was given.

    Returns:
        What `TrainConfig.devices` is.

    Raises:
        ConfigError: for anything else.
    """
    if devices is None or devices == "all":
        return devices
    text = str(devices).strip()
    if isinstance(devices, bool) or not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigError(
            f"`devices` must be all, or a number of at least 1. Received: devices={shown(devices)}"
        )
    return str(int(text))


def is_set(config, name):
    """Whether a field has another value than it has by default.

    Neither today nor in 0.1.0: a run keeps every value, and is no less a run when a default has
    changed since.

    Args:
        config: a `TrainConfig`.
        name: of the field.
    """
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    first = versions.first_defaults()["settings"].get(name, field.default)
    return getattr(config, name) not in (field.default, first)


def check_together(config):
    """Refuse settings that do not fit each other.

    Args:
        config: a `TrainConfig`, each of whose fields is allowed by itself.

    Raises:
        ConfigError: for the first that does not fit.
    """
    data_set = DATASETS.get(config.dataset)
    if data_set and data_set.is_own and config.data_dir is None:
        raise ConfigError(
            f"`data_dir` must name {data_set.data_dir} when dataset={config.dataset!r}."
        )
    if config.backbone == "inception_bn" and (config.image_size or 32) < 32:
        raise ConfigError(
            "`image_size` must be at least 32 with backbone='inception_bn'. "
            f"Received: image_size={config.image_size}"
        )
    if config.fold > config.folds or (config.fold and config.folds == 1):
        raise ConfigError(
            "`fold` must be one of the `folds`, of which there are at least two. "
            f"Received: fold={config.fold}, folds={config.folds}"
        )
    if config.jit and config.devices not in (None, "1"):
        raise ConfigError(
            "`jit` must be left out with `devices`: XLA cannot compile a step of several. "
            f"Received: jit=True, devices={config.devices!r}"
        )
    if config.warm_up_epochs >= config.epochs:
        raise ConfigError(
            "`warm_up_epochs` must be below `epochs`, or the network never learns. "
            f"Received: warm_up_epochs={config.warm_up_epochs}, epochs={config.epochs}"
        )


def refuse_unused(config):
    """Refuse settings that would be ignored, which nobody notices.

    Args:
        config: a `TrainConfig`.

    Raises:
        ConfigError: for the first of them.
    """
    for name, why in _NEEDS_A_NETWORK.items():
        if config.backbone == "none" and is_set(config, name):
            raise ConfigError(
                f"`{name}` must be left out with backbone='none', {why}. "
                f"Received: {name}={getattr(config, name)!r}"
            )
    for name, why in _NEEDS_TRAINING.items():
        # What is seen of an image in a test is the same every time.
        stays = name == "augment" and (config.augment == "center" or config.start)
        if config.frozen and is_set(config, name) and not stays:
            raise ConfigError(
                f"`{name}` must be left out with `frozen`, a network {why}. "
                f"Received: {name}={getattr(config, name)!r}"
            )
    for name, why in _OF_THE_START.items():
        if config.start and is_set(config, name):
            raise ConfigError(
                f"`{name}` must be left out with `start`, the model of a run {why}. "
                f"Received: {name}={getattr(config, name)!r}"
            )
    if config.head == "kept" and not config.start:
        raise ConfigError(
            "`head` may be kept only with `start`, a run that has one. Received: head='kept'"
        )
    if config.shrinkage is not None and config.head not in ("auto", "whitened"):
        raise ConfigError(
            "`shrinkage` is of head='whitened' only. "
            f"Received: shrinkage={config.shrinkage}, head={config.head!r}"
        )
    if config.refit and (not config.validation or config.folds > 1):
        raise ConfigError(
            "`refit` trains on the validation classes in the end, and needs `validation` and no "
            f"`folds`. Received: validation={config.validation}, folds={config.folds}"
        )
    for name in ("patience", "monitor"):
        if is_set(config, name) and not config.validation and config.folds == 1:
            raise ConfigError(
                f"`{name}` needs validation classes. "
                f"Received: {name}={getattr(config, name)!r}, validation=0"
            )
    if config.folds > 1 and is_set(config, "validation"):
        raise ConfigError(
            "`validation` must be left out with `folds`, of which each is the validation "
            f"classes once. Received: validation={config.validation}, folds={config.folds}"
        )
    if is_set(config, "memory_start") and not config.memory:
        raise ConfigError(
            "`memory_start` is of a `memory` only; else leave it out. "
            f"Received: memory_start={config.memory_start}, memory=0"
        )
    for name, choice, values in ONLY_WITH:
        chosen = getattr(config, choice)
        if chosen not in values and is_set(config, name):
            raise ConfigError(
                f"`{name}` is used by {choice} {' and '.join(values)} only; else leave it out. "
                f"Received: {name}={getattr(config, name)!r}, {choice}={chosen!r}"
            )
