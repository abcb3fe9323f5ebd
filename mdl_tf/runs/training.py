"""The loop that trains: the same for a run in its folder and for a trial of a comparison."""

import contextlib

import keras
import tensorflow as tf

from mdl_tf.callbacks import RetrievalMetrics
from mdl_tf.distribute.workers import share_weights
from mdl_tf.metrics import columns
from mdl_tf.runs import phases, start
from mdl_tf.runs.data import describe_data, ordered_stream, read_data, training_stream
from mdl_tf.runs.divergence import StopIfDiverged
from mdl_tf.runs.keeping import monitor_key
from mdl_tf.runs.network import build_model
from mdl_tf.runs.replicas import find_strategy, runs_on_devices


class Watch:
    """What is seen of a training, and measured beside it; by itself nothing.

    A subclass overrides what it needs.

    Attributes:
        stream: where progress lines go; `None` for standard output.
    """

    stream = None

    def report(self, line):
        """Print a line."""

    def begin(self, embedder):
        """Look at the network before its first step; not called where a training goes on.

        Args:
            embedder: a `keras.Model`, as it begins: with its head.
        """

    def callbacks(self, retrieval_metrics, start):
        """Keras callbacks that show what is going on, behind those that measure and stop.

        Args:
            retrieval_metrics: the `RetrievalMetrics` of the validation classes, or `None`.
            start: what they measured before the first epoch, if this is about it; else `None`.
        """
        return []


def prepare_keras(config):
    """Set seed and precision, and with `repeatable` the order of operations; for one training.

    Args:
        config: the `TrainConfig`.
    """
    if config.repeatable:
        # With several operations at once the gradients of branches are added up in an order that
        # changes from run to run, and rounding with it. Too late once TensorFlow runs, as in a
        # notebook; training works all the same.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(config.own_seed)
    keras.config.set_dtype_policy(config.policy)


@runs_on_devices
def build_network(config, feature_size=None):
    """The network of a config before its first step, for its seed and precision.

    Args:
        config: the `TrainConfig`.
        feature_size: F of a data set of features. Defaults to `None`, images.

    Returns:
        An embedder, not compiled.

    Raises:
        ConfigError: as `build_model`.
    """
    prepare_keras(config)
    return build_model(config, feature_size)


def read_and_build(config, report, data=None):
    """The data of a config and its network before the first step, for a training that begins.

    What cannot be is refused before the data are read, if it can be: features have a size that only
    the data tell.

    Args:
        config: the `TrainConfig`, as `resolve` returns it.
        report: a function that prints a line.
        data: its `Data`. Defaults to `None`: read.

    Returns:
        A `Data`, and an embedder, not compiled.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
    """
    network = None if config.backbone == "none" else build_network(config)
    data = data or read_data(config)
    describe_data(data, report)
    if config.start:
        start.check_start(config, data)
    return data, network or build_network(config, data.feature_size)


@runs_on_devices
def fit(config, data, keep, watch=None, network=None, epochs=None):
    """Train a config on the training classes, watched on the validation classes.

    Seed, precision, network, phases, the best epoch: whatever trains, trains here.

    Args:
        config: the `TrainConfig`.
        data: its `Data`.
        keep: a `keeping.OnDisk` or `keeping.InMemory`, which knows how far the training is, and
            has what came out of it.
        watch: a `Watch`. Defaults to `None`: nothing is shown.
        network: what `build_network` made just now, for callers that want it refused before they
            read their data. Defaults to `None`: it is built here.
        epochs: the last epoch, where the schedule of the config is left early. Defaults to `None`:
            that of the config.

    Returns:
        The embedder of the best epoch by `monitor` on the validation classes, or that of the start
        if no epoch is better; of the last epoch without validation classes. Not compiled, and of
        Keras's own layers if the backbone is.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
        Diverged: a ValueError, if the loss or a weight becomes NaN or infinite. Nothing of that
            epoch is kept.
    """
    watch = watch or Watch()
    num_classes, done = data.train.num_classes, keep.epochs_done
    if done:
        prepare_keras(config)
        model = phases.go_on(config, keep.checkpoint, keep.learns, done, num_classes)
        watch.report(f"Go on after epoch {done} of {config.epochs}.")
    else:
        network = network or build_network(config, data.feature_size)
        model, learns = phases.begin(config, num_classes, network)
    # Before anything is kept or measured: batches that cannot be made are refused here.
    stream = training_stream(data.train, config, done, watch.stream)
    retrieval_metrics = _measure_validation(config, data.validation, model.loss, watch)
    if not done:
        head = start.set_head(config, data.train, network, model, watch)
        strategy = find_strategy(config)
        if strategy is not None:
            share_weights(model, strategy)
        first_logs = retrieval_metrics.measure(network) if retrieval_metrics else {}
        keep.begin(learns, network, first_logs, head)
        watch.begin(network)
    for first, last in _phases_left(config, done, epochs):
        if keep.is_stopped:
            break
        if first < config.warm_up_epochs:
            watch.report(f"Warm-up to epoch {last}: the embedding layer learns alone.")
        elif done < first:
            phases.end_warm_up(config, model, keep.learns)
            watch.report("The network learns from now on.")
        stream = stream or training_stream(data.train, config, first, watch.stream)
        _fit_phase(config, model, stream, keep, watch, retrieval_metrics, first, last)
        # It goes before that of the next phase is made: both may hold all images.
        stream = None
    _tell_of_the_start(config, keep, watch)
    return keep.best_model(model)


def _tell_of_the_start(config, keep, watch):
    if keep.start is None and keep.history:
        watch.report("No validation classes: the last epoch counts, better than the start or not.")
    elif keep.best_epoch == 0 and keep.history:
        key = monitor_key(config)
        best = max(row[key] for row in keep.history)
        watch.report(
            f"No epoch was better than the start by {key}, {keep.start[key]:.4f} against "
            f"{best:.4f} at best: the start is kept. `mdl-tf doctor` looks for the reason."
        )


def _phases_left(config, done, epochs=None):
    """The first and the last epoch of each phase that is left: the warm-up, and the rest."""
    last = config.epochs if epochs is None else epochs
    ends = [done]
    for end in (min(config.warm_up_epochs, last), last):
        if end > ends[-1]:
            ends.append(end)
    return list(zip(ends[:-1], ends[1:], strict=True))


def _measure_validation(config, validation, loss, watch):
    """The callback that measures the validation classes, or `None` if there are none."""
    if validation is None:
        return None
    return RetrievalMetrics(
        ordered_stream(validation, config, watch.stream),
        columns.ks(config.dataset),
        margin=loss.gap,
        verification=config.verification,
        seed=config.own_seed,
    )


def _fit_phase(config, model, stream, keep, watch, retrieval_metrics, first, last):
    """`fit` from epoch `first` to epoch `last`."""
    early_stopping = None
    measuring = [retrieval_metrics] if retrieval_metrics else []
    # While the network is frozen a standstill says nothing.
    if retrieval_metrics and config.patience and first >= config.warm_up_epochs:
        early_stopping = keras.callbacks.EarlyStopping(
            monitor=monitor_key(config), mode="max", patience=config.patience
        )
        measuring.append(early_stopping)
    # Keras would make its variables inside the graph of the step, which is then traced twice.
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    model.fit(
        stream,
        initial_epoch=first,
        epochs=last,
        steps_per_epoch=config.steps_per_epoch,
        verbose=0,
        shuffle=False,
        callbacks=[
            StopIfDiverged(config.learning_rate),
            *measuring,
            *watch.callbacks(retrieval_metrics, keep.start if first == 0 else None),
            keep.callback(retrieval_metrics, early_stopping),
        ],
    )
    if model.stop_training and early_stopping:
        watch.report(
            f"No better {monitor_key(config)} in {config.patience} epochs: training ends. The best "
            f"is that of epoch {keep.best_epoch}."
        )
