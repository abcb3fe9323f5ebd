"""A run as a whole: one network, or one for each fold of a cross-validation."""

from mdl_tf.distribute import wait_for_all
from mdl_tf.runs.folds import train_folds
from mdl_tf.runs.replicas import find_strategy, resolve_devices
from mdl_tf.runs.resolve import resolve
from mdl_tf.runs.single import train_network
from mdl_tf.runs.training import prepare_keras
from mdl_tf.words import count


def train(config, run, *, report=print):
    """Train, or go on with an interrupted run, and report on classes never seen in training.

    Everything is kept in the run folder: `config.json` with every value, those of the loss too;
    `metrics.json` with the numbers of raw pixels and of the network before training as soon as they
    are known; best and last model after every epoch. One process at a time trains a run.

    Args:
        config: the `TrainConfig` of the run; what it leaves open is settled here.
        run: a `Run`, new or interrupted.
        report: a function that prints a line. Defaults to `print`.

    Returns:
        A dict `{"raw_pixels": {...}, "untrained": {...}, "trained": {...}}` of metrics on the test
        classes; `"features"` in place of `"raw_pixels"` for a data set of features; with `folds`
        as `folds.train_folds`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data, and if another
            process trains this run.
    """
    with run.alone("A run must be trained"):
        run.remove_unfinished()
        begins = not run.has_epochs
        if begins:
            run.check_resumable()
        config = resolve_devices(config if begins else run.config)
        # Threads and devices, before TensorFlow computes anything.
        prepare_keras(config)
        strategy = find_strategy(config)
        if begins:
            config = resolve(config)
            run.keep_config(config)
        if strategy is not None:
            report(f"Train on {count(strategy.num_replicas_in_sync, 'replica')}.")
            wait_for_all(strategy)
        train_one = train_folds if config.cross_validated else train_network
        return train_one(config, run, report)
