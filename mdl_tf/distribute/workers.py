"""What the workers of a cluster do together, and what they say when one of them is gone."""

import hashlib

import numpy as np
import tensorflow as tf

from mdl_tf.losses.replica_steps import has_workers


def wait_for_all(strategy):
    """Wait until every worker is here; nothing is done where there is one.

    Args:
        strategy: a `tf.distribute.Strategy`.
    """
    if has_workers(strategy):
        _sum_over_workers(strategy, np.ones(1, np.float32))


def share_weights(model, strategy):
    """Give the model of every worker the weights that the chief's has.

    They are the same where all begin alike; what was computed from data, on another processor,
    differs in its last bits, and would for ever.

    Args:
        model: a `keras.Model`, compiled or not.
        strategy: a `tf.distribute.Strategy`; nothing is done with one worker.
    """
    if not has_workers(strategy):
        return
    is_chief = strategy.extended._task_id == 0 and strategy.extended._is_chief
    variables = list(model.variables)
    if getattr(model, "optimizer", None) is not None:
        variables += list(model.optimizer.variables)
    for variable in variables:
        value = np.asarray(variable)
        if value.dtype.kind in "fiu":
            given = value if is_chief else np.zeros_like(value)
            variable.assign(_sum_over_workers(strategy, given))


def check_alike(strategy, *parts):
    """Refuse to go on where workers have different data or settings.

    Each worker takes its rows of a plan that it makes itself, so that other files, another order of
    them or another seed would train on wrong batches without a word.

    Args:
        strategy: a `tf.distribute.Strategy`; nothing is done with one worker.
        *parts: arrays, texts and numbers that must be the same on all workers.

    Raises:
        ValueError: if they differ.
    """
    if not has_workers(strategy):
        return
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    digest = np.frombuffer(digest.digest(), np.uint8).astype(np.float64)
    workers = strategy.extended._num_workers
    total = _sum_over_workers(strategy, np.stack([digest, digest**2]))
    # Equal numbers alone have the square of their sum as many times the sum of their squares.
    if not np.array_equal(total[0] ** 2, workers * total[1]):
        raise ValueError(
            "The data of all workers must be the same images, labels and settings, in the same "
            "order: each takes its rows of one plan. Received: workers that differ"
        )


def _sum_over_workers(strategy, value):
    """The sum of an array over the workers, on each of them."""
    replicas = strategy.num_replicas_in_sync // strategy.extended._num_workers

    @tf.function(autograph=False)
    def add():
        def part():
            return tf.constant(value)

        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(part), axis=None)

    total = add().numpy()
    return (total / replicas).astype(value.dtype) if replicas > 1 else total


def tell_of_lost_worker(error):
    """What an error says that another worker caused by being gone, in one line; else `None`.

    Args:
        error: an exception.
    """
    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.InternalError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    signs = ("ollective", "worker", "coordination", "onnection", "socket", "heartbeat", "peer")
    if isinstance(error, gone) and any(sign in str(error) for sign in signs):
        return "Another worker of the cluster is gone, and training cannot go on without it"
    return None
