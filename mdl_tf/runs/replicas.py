"""The devices of a config: the strategy under which its networks are built and trained."""

import contextlib
import dataclasses
import functools

import tensorflow as tf

from mdl_tf import distribute
from mdl_tf.config import ConfigError
from mdl_tf.distribute.cluster import read_cluster


def resolve_devices(config):
    """A config whose devices are said: those of a cluster are all of them, else one.

    Args:
        config: the `TrainConfig`.

    Raises:
        ConfigError: for a `TF_CONFIG` that cannot be, and settings that fail with several devices.
    """
    try:
        cluster = read_cluster()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config.devices is None and cluster:
        config = dataclasses.replace(config, devices="all")
    return config


def refuse_cluster(what):
    """Refuse several machines where one does the work.

    Args:
        what: does it, for the message.

    Raises:
        ConfigError: if `TF_CONFIG` names several workers.
    """
    cluster = read_cluster()
    if cluster is not None:
        raise ConfigError(
            f"{what} is made by one machine; unset TF_CONFIG. "
            f"Received: {len(cluster.workers)} workers in it"
        )


def find_strategy(config):
    """The strategy of a config, or `None` of one that trains on one device.

    Args:
        config: the `TrainConfig`.

    Raises:
        ConfigError: if there are not so many devices, or the batches cannot be divided by them.
    """
    if config.devices is None:
        return None
    devices = config.devices if config.devices == "all" else int(config.devices)
    try:
        strategy = distribute.strategy(devices)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return None
    if config.jit:
        raise ConfigError(
            "`jit` must be left out with several devices: XLA cannot compile their step. "
            f"Received: jit=True, devices={config.devices!r}"
        )
    sizes = config.classes_per_batch, config.images_per_class
    if None not in sizes and sizes[0] * sizes[1] % replicas:
        raise ConfigError(
            "`classes_per_batch` (--classes-per-batch) times `images_per_class` must be divisible "
            f"by the replicas, which take equal shares. Received: {sizes[0]} classes of {sizes[1]} "
            f"images, {replicas} replicas"
        )
    return strategy


def count_replicas(config):
    """How many replicas share a batch."""
    strategy = find_strategy(config)
    return 1 if strategy is None else strategy.num_replicas_in_sync


@contextlib.contextmanager
def on_devices(config):
    """While the block runs, models are made on the devices of a config.

    Args:
        config: the `TrainConfig`.
    """
    strategy = find_strategy(config)
    if strategy is None or tf.distribute.has_strategy():
        yield strategy
    else:
        with strategy.scope():
            yield strategy


def runs_on_devices(function):
    """A function whose first argument is a `TrainConfig`, on the devices of that config."""

    @functools.wraps(function)
    def on_its_devices(config, *arguments, **options):
        with on_devices(config):
            return function(config, *arguments, **options)

    return on_its_devices
