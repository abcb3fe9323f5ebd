"""The devices that train in step: one call gives the strategy, one object a process."""

import tensorflow as tf

from mdl_tf.checks import check_integer
from mdl_tf.distribute.cluster import read_cluster

_MADE = {}  # the strategy of this process, by the devices that were asked for


def strategy(devices="all"):
    """The strategy under which a model is made and trained; the same object at every call.

    Under it a batch is shared out to the devices, and the losses of this library are those of the
    whole batch: weights and logs are those of one device. Batch normalisation is of each replica by
    itself, unless it is `"frozen"` or `"synchronized"` (`mdl_tf.embedding.set_batch_norm`).

    Two strategies in one process would wait for each other for ever, so there is one: of notebooks,
    folds and comparisons, too. Call it first of all where there is no GPU, since TensorFlow cannot
    divide the CPU once it has begun.

    Args:
        devices: `"all"` GPUs of this machine, or how many of them, at least 1. Without a GPU a
            number makes that many virtual devices out of the CPU, to try things out: they are no
            faster; `"all"` is then the CPU as it is. With a cluster in `TF_CONFIG` it is the
            devices of each worker, all alike. Defaults to `"all"`.

    Returns:
        A `tf.distribute.Strategy`: of one device TensorFlow's default one.

    Raises:
        ValueError: for another number of devices than before or than there are, for virtual ones
            when TensorFlow has begun, and for a `TF_CONFIG` that cannot be.

    Example:

    >>> strategy = mdl_tf.distribute.strategy()
    >>> with strategy.scope():
    ...     model = MetricModel(embedder(), MarginDiscriminateLoss())
    ...     model.compile("adam")
    >>> stream = batches.balanced(train, strategy=strategy)
    >>> model.fit(stream, steps_per_epoch=100, shuffle=False)
    """
    if devices != "all":
        devices = check_integer("devices", devices, least=1)
    if devices in _MADE:
        return _MADE[devices]
    if _MADE:
        [earlier] = _MADE
        raise ValueError(
            "`devices` must be the same in one process, whose strategies would wait for each "
            f"other: restart it. Received: devices={devices!r} after devices={earlier!r}"
        )
    cluster = read_cluster()
    made = _of_this_machine(devices) if cluster is None else _of_a_cluster(devices, cluster)
    _MADE[devices] = made
    return made


def _of_this_machine(devices):
    names = _choose(devices)
    if len(names) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(names)


def _of_a_cluster(devices, cluster):
    """A strategy over workers, each of which calls this."""
    names = _choose(devices)
    if names[0].startswith("GPU"):
        tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[: len(names)], "GPU")
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=tf.distribute.experimental.CommunicationImplementation.NCCL
        )
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    if len(names) == 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return _with_virtual_devices(len(names))


def _with_virtual_devices(number):
    """TensorFlow has one CPU device a worker; here it has several, for trials."""
    from tensorflow.python.distribute.collective_all_reduce_strategy import (
        CollectiveAllReduceExtended as Extended,
    )

    usual = Extended._initialize_local_devices

    def several(self, resolver, worker):
        return tuple(f"{worker}/device:CPU:{i}" for i in range(number)), "CPU"

    Extended._initialize_local_devices = several
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        Extended._initialize_local_devices = usual


def _choose(devices):
    """Names of the devices, `GPU:0` and so on; makes virtual ones out of the CPU."""
    there = len(tf.config.list_physical_devices("GPU"))
    if there:
        if devices != "all" and devices > there:
            raise ValueError(
                f"`devices` must be at most the GPUs of this machine, {there}. "
                f"Received: devices={devices}"
            )
        return [f"GPU:{i}" for i in range(there if devices == "all" else devices)]
    number = 1 if devices == "all" else devices
    if number > 1:
        _divide_cpu(number)
    return [f"CPU:{i}" for i in range(number)]


def _divide_cpu(number):
    [cpu] = tf.config.list_physical_devices("CPU")
    made = tf.config.get_logical_device_configuration(cpu)
    if made and len(made) >= number:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * number
        )
    except RuntimeError:
        raise ValueError(
            "`devices` must be settled before TensorFlow begins to compute, where there is no GPU: "
            f"call mdl_tf.distribute.strategy({number}) first of all, in a fresh process. "
            f"Received: devices={number}"
        ) from None
