"""What a `TrainConfig` leaves open, and what a run makes of it."""

import dataclasses
import inspect

from mdl_tf import backbones
from mdl_tf.config import ConfigError
from mdl_tf.embedding.batch_norm import FixedStatistics
from mdl_tf.runs.folder import Run
from mdl_tf.runs.network import loss_defaults, optimizer_class

# Learning rates: of a network that begins at random, of an embedding layer alone, and of a network
# with pretrained weights, whose embedding layer learns some times as fast; the last two settled in
# tests/benchmarks/study_sharpness.py.
RATE_OF_RANDOM, RATE_OF_LAYER, RATE_OF_PRETRAINED = 3e-3, 1e-3, 3e-4
FACTOR_OF_LAYER = 3.0
SIZE_OF_RANDOM, DIMENSIONS_OF_RANDOM = 64, 64


def is_pretrained(config):
    """Whether the network of a `TrainConfig` begins with something that it has learned."""
    return config.weights is not None or config.start is not None


def resolve(config):
    """A config with every value that it leaves open, but those that the built network decides.

    What a run keeps: the defaults of a later version then change nothing about it. `settle` adds
    the rest.

    Args:
        config: the `TrainConfig`.

    Returns:
        A `TrainConfig`.

    Raises:
        ConfigError: if the run of `start` cannot be read or has another network.
    """
    return dataclasses.replace(
        config,
        **_resolve_network(config),
        **_resolve_rate(config),
        augment=config.augment or _choose_augmentation(config),
        loss_args={**_known_defaults(config.loss), **config.loss_args},
        # Who asks for so many images has an error where a class has fewer; else the data decide.
        short_classes=config.short_classes or (config.images_per_class and "error"),
        weight_decay=optimizer_class(config)().weight_decay
        if config.weight_decay is None
        else config.weight_decay,
    )


def settle(config, network):
    """A config with the values that the built network decides.

    Args:
        config: what `resolve` returned.
        network: what `build_model` made of it.

    Returns:
        A `TrainConfig` that leaves nothing open.
    """
    norms = [part for part in network._flatten_layers() if isinstance(part, FixedStatistics)]
    return dataclasses.replace(
        config,
        embedding_dim=int(network.output_shape[-1]),
        batch_norm=config.batch_norm or ("statistics" if norms else "train"),
    )


def _resolve_network(config):
    """Head, sizes and batch normalisation, as far as the name of the network decides them."""
    pretrained, features = is_pretrained(config), config.backbone == "none"
    head = config.head
    if head == "auto":
        head = "kept" if config.start else "whitened" if pretrained or features else "random"
    if config.shrinkage is not None and head != "whitened":
        raise ConfigError(
            "`shrinkage` is of head='whitened' only. "
            f"Received: shrinkage={config.shrinkage}, and head={head!r} by default"
        )
    image_size, embedding_dim = config.image_size, config.embedding_dim
    if config.start:
        image_size, embedding_dim = _sizes_of_start(config)
    elif not (pretrained or features):
        embedding_dim = embedding_dim or DIMENSIONS_OF_RANDOM
    if image_size is None and pretrained:
        try:
            image_size = backbones.native_size(config.backbone)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    batch_norm = config.batch_norm
    if batch_norm is None and (features or config.frozen or not pretrained):
        # With several devices the statistics are those of one device that has the whole batch.
        layers = not (features or config.frozen)
        batch_norm = "synchronized" if config.devices and layers else "train"
    return {
        "head": head,
        "image_size": image_size or SIZE_OF_RANDOM,
        "embedding_dim": embedding_dim,
        "batch_norm": batch_norm,
    }


def _choose_augmentation(config):
    """Pretrained networks see the window in the middle, as they were measured on ImageNet."""
    if config.backbone == "none" or not is_pretrained(config):
        return "none"
    if config.start:
        before = Run.open(config.start).config.augment
        if before not in ("center", "crop"):
            return before  # what its embedding layer was fitted to
    return "center" if config.frozen else "crop"


def _sizes_of_start(config):
    """Image and embedding size of the run of `start`; its network must be that of the config."""
    before = Run.open(config.start).config
    for name in ("backbone", "pooling", "l2_normalize", "image_size", "embedding_dim"):
        here, there = getattr(config, name), getattr(before, name)
        # Folds of one run are concatenated: no layer of one network.
        if here is not None and here != there:
            raise ConfigError(
                f"`{name}` must be that of the run of `start`, {there!r}. Received: {name}={here!r}"
            )
    return before.image_size, before.embedding_dim


def _resolve_rate(config):
    """Learning rate, and how much faster the embedding layer of a pretrained network learns."""
    rate, factors = RATE_OF_RANDOM, {}
    if config.backbone == "none" or config.frozen:
        rate = RATE_OF_LAYER
    elif is_pretrained(config):
        rate, factors = RATE_OF_PRETRAINED, {"embedding": FACTOR_OF_LAYER}
    if config.learning_rate is not None:
        rate = config.learning_rate
    if config.learning_rate_factors is not None:
        factors = config.learning_rate_factors
    return {"learning_rate": rate, "learning_rate_factors": factors}


def _known_defaults(name):
    """The arguments of a loss that have defaults; the number of classes is of the training set."""
    return {
        key: value
        for key, value in loss_defaults(name).items()
        if value is not inspect.Parameter.empty and key != "num_classes"
    }
