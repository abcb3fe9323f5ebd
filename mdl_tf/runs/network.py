"""From a `TrainConfig` to the objects that Keras trains: model, loss, optimizer."""

import contextlib
import inspect

import keras

from mdl_tf import backbones, optimizers
from mdl_tf.checks import HEADS, OPTIMIZERS
from mdl_tf.config import ConfigError
from mdl_tf.embedding import embedding_model, load_model
from mdl_tf.embedding.batch_norm import set_batch_norm
from mdl_tf.losses import LOSSES, AnchorsThatCount
from mdl_tf.losses.metric_model import MetricModel
from mdl_tf.runs.replicas import runs_on_devices

MOST_DIMENSIONS = 512  # of embeddings, where nobody says how many
RISE = 0.05  # of all steps, in which the rate of the cosine schedule rises


def build_model(config, feature_size=None):
    """The embedder of a `TrainConfig`, not compiled. Fetches published weights if it says so.

    Args:
        config: the `TrainConfig`, as `resolve` returns it.
        feature_size: F, numbers in a feature vector, for a data set of features. Defaults to
            `None`, a data set of images.

    Raises:
        ConfigError: if there is no such backbone, it cannot be built for that size with those
            weights, has no batch normalisation as `batch_norm` wants it, or the model of `start` is
            another one.
    """
    size = config.image_size
    shape = (size, size, 3) if feature_size is None else (feature_size,)
    model = _load_start(config, shape) if config.start else _build_anew(config, shape)
    _set_batch_norm(config, model)
    return model


def _build_anew(config, shape):
    try:
        backbone, preprocess = backbones.build(config.backbone, shape, config.weights)
        size = config.embedding_dim
        if size is None:
            size = min(MOST_DIMENSIONS, int(backbone.output_shape[-1]))
        return embedding_model(
            backbone,
            preprocess,
            embedding_dim=size,
            pooling=config.pooling,
            l2_normalize=config.l2_normalize,
            normalize_features=config.head in HEADS,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _load_start(config, shape):
    """The model of another run, if it is one of this config."""
    model = load_model(config.start, compile=False)
    taken = tuple(model.input_shape[1:])
    if taken != shape:
        raise ConfigError(
            "`start` must be a run whose model takes what this one is given. "
            f"Received: start={config.start!r}, which takes {taken} and not {shape}"
        )
    return model


def _set_batch_norm(config, model):
    mode = config.batch_norm
    if mode is None:
        # What published fine-tuning does; a network without it, or with one of its own, stays.
        with contextlib.suppress(ValueError):
            set_batch_norm(model, "statistics")
    # Not with "train", which would undo what a backbone of the user's own has chosen.
    elif mode != "train":
        try:
            set_batch_norm(model, mode)
        except ValueError as error:
            raise ConfigError(f"`batch_norm` with backbone={config.backbone!r}: {error}") from error


def build_loss(config, num_classes):
    """The loss of a `TrainConfig`.

    Args:
        config: the `TrainConfig`.
        num_classes: classes in the training set, for the losses that have weights for each.

    Raises:
        ConfigError: if `loss_args` do not fit the loss, with the ones that do, or the training set.
    """
    defaults = loss_defaults(config.loss)
    for key in config.loss_args:
        if key not in defaults:
            raise ConfigError(
                f"`loss_args` of loss={config.loss!r} may have the keys {', '.join(defaults)}. "
                f"Received: {key!r}"
            )
    settings = dict(config.loss_args)
    if defaults.get("num_classes") is inspect.Parameter.empty:
        settings.setdefault("num_classes", num_classes)
    try:
        loss = LOSSES[config.loss](**settings)
    except ValueError as error:
        raise ConfigError(f"`loss_args`: {error}") from error
    if loss.num_classes is not None and loss.num_classes < num_classes:
        raise ConfigError(
            "`loss_args`: `num_classes` must be at least the number of training classes, "
            f"{num_classes}. Received: num_classes={loss.num_classes}"
        )
    return loss


def loss_defaults(name):
    """The arguments of a loss and their defaults, `inspect.Parameter.empty` without one."""
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}


@runs_on_devices
def build_training_model(config, num_classes, embedder):
    """What `fit` trains: the embedder of a `TrainConfig`, compiled with its loss and optimizer.

    Args:
        config: the `TrainConfig`.
        num_classes: classes in the training set.
        embedder: what `build_model` made.

    Returns:
        A compiled `keras.Model`; a `MetricModel` if the loss has weights of its own, there are
        several devices, or micro-batches or a memory are asked for.

    Raises:
        ConfigError: as `build_loss`.
        ValueError: if `learning_rate_factors` name no layer.
    """
    loss = build_loss(config, num_classes)
    model = embedder
    options = {
        "micro_batch": config.micro_batch,
        "memory": config.memory,
        "memory_start": config.memory_start,
    }
    # Several workers need what a `MetricModel` tells Keras.
    if loss.has_weights or config.devices or config.micro_batch or config.memory:
        try:
            model = MetricModel(embedder, loss, **options)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    compile_model(config, model, loss)
    return model


def compile_model(config, model, loss, *, first_step=0, only_trained=False):
    """Compile what `fit` trains with a new optimizer, for what learns in it now.

    Args:
        config: the `TrainConfig`.
        model: the embedder, or a `MetricModel` around it.
        loss: the loss; a `MetricModel` has its own.
        first_step: the step of the run at which the optimizer begins. Defaults to `0`.
        only_trained: whether `learning_rate_factors` may name what does not learn now. Defaults to
            `False`.

    Raises:
        ValueError: if `learning_rate_factors` name no layer.
    """
    optimizer = build_optimizer(config, first_step=first_step)
    variables = model.trainable_variables
    if only_trained:
        optimizer.learning_rate_factors = {
            name: factor
            for name, factor in optimizer.learning_rate_factors.items()
            if any(optimizers.is_part(name, variable) for variable in variables)
        }
    # A `MetricModel` has its own.
    options = {} if isinstance(model, MetricModel) else {"loss": loss}
    if options and loss.compares_images:
        options["metrics"] = [AnchorsThatCount()]
    model.compile(optimizer, jit_compile=config.jit, **options)
    # Now and not at the first step, so that a name that fits no layer is refused at once.
    model.optimizer.build(variables)


def build_optimizer(config, *, first_step=0):
    """The optimizer of a `TrainConfig` with its learning-rate schedule.

    Args:
        config: the `TrainConfig`.
        first_step: the step of the run at which it begins. Defaults to `0`.
    """
    options = {"global_clipnorm": config.clip_norm}
    if config.optimizer in ("rmsprop", "sgd"):
        options["momentum"] = config.momentum
    # AdamW has a default of its own, which None is not.
    if config.weight_decay is not None:
        options["weight_decay"] = config.weight_decay
    return optimizer_class(config)(
        _rate(config, first_step), learning_rate_factors=config.learning_rate_factors, **options
    )


def optimizer_class(config):
    """The class of the optimizer of a `TrainConfig`."""
    return getattr(optimizers, OPTIMIZERS[config.optimizer])


def _rate(config, first_step):
    """The learning rate of a `TrainConfig`: a number, or a schedule over the steps."""
    schedules, rate = keras.optimizers.schedules, config.learning_rate
    if config.schedule == "constant":
        return rate
    if config.schedule == "step":
        each = config.decay_epochs * config.steps_per_epoch
        schedule = schedules.ExponentialDecay(rate, each, config.decay_factor, staircase=True)
    else:
        steps = config.epochs * config.steps_per_epoch
        rise = max(1, round(RISE * steps))
        schedule = schedules.CosineDecay(
            0.0, max(1, steps - rise), alpha=0.01, warmup_target=rate, warmup_steps=rise
        )
    return optimizers.FromStep(schedule, first_step) if first_step else schedule
