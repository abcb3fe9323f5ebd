"""What Keras must be told about several replicas and workers. Private in Keras.

`tests/distribute/test_keras.py` fails where another version of Keras does otherwise, and names it.
"""

import keras
import tensorflow as tf

from mdl_tf.losses.calling import refuse_what_fails


class ReplicaSteps(keras.Model):
    """A `keras.Model` that several replicas and workers can train.

    Keras looks at the mean of the replicas' first batches, which must have equal shapes, and cannot
    with several workers. It reduces what a step logs over an axis that numbers have not.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        strategy = self._distribute_strategy
        if strategy is None or iterator is None:
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)
            return
        refuse_what_fails(self)
        if has_workers(strategy):
            _refuse_silent_sharding(getattr(iterator.data_adapter, "_dataset", None))
        for _, _, batches in iterator:
            data_batch = keras.tree.map_structure(
                lambda values: strategy.experimental_local_results(values)[0], next(batches)
            )
            break
        with strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    def _make_function(self, step_function):
        if not has_workers(self.distribute_strategy):
            return super()._make_function(step_function)

        def step_with_vectors(data):
            logs = step_function(data)
            return {name: tf.reshape(value, (1,)) for name, value in logs.items()}

        return super()._make_function(step_with_vectors)


def has_workers(strategy):
    """Whether a strategy has several workers.

    Args:
        strategy: a `tf.distribute.Strategy`.
    """
    in_workers = getattr(strategy.extended, "_in_multi_worker_mode", None)
    return in_workers is not None and bool(in_workers())


def _refuse_silent_sharding(dataset):
    """Refuse data of which each worker would get other batches than the plan says."""
    if isinstance(dataset, tf.distribute.DistributedDataset):
        return
    policy = None
    if isinstance(dataset, tf.data.Dataset):
        policy = dataset.options().experimental_distribute.auto_shard_policy
    if policy in (None, tf.data.experimental.AutoShardPolicy.AUTO):
        raise ValueError(
            "`x` must be batches that know their workers, such as batches.balanced(train, "
            "strategy=strategy) or strategy.distribute_datasets_from_function(...): TensorFlow "
            "would deal out others than those of one machine, in silence. Received: a "
            f"{type(dataset).__name__} without an `auto_shard_policy`"
        )
