"""From a `TrainConfig` to the objects that Keras trains: model, loss, optimizer."""

import inspect

import keras

from mdl_tf import backbones, optimizers
from mdl_tf.config import ConfigError
from mdl_tf.embedding import embedding_model
from mdl_tf.losses import LOSSES
from mdl_tf.training_model import MetricModel

WARM_UP = 0.05  # of all steps


def build_model(config, feature_size=None):
    """The embedder of a `TrainConfig`, not compiled. Fetches published weights if it says so.

    Args:
        config: the `TrainConfig`.
        feature_size: F, numbers in a feature vector, for a data set of features. Defaults to
            `None`, a data set of images.

    Raises:
        ConfigError: if there is no such backbone, or it cannot be built for that size with those
            weights.
    """
    size = config.image_size
    shape = (size, size, 3) if feature_size is None else (feature_size,)
    try:
        backbone, preprocess = backbones.build(config.backbone, shape, config.weights)
        return embedding_model(
            backbone,
            preprocess,
            embedding_dim=config.embedding_dim,
            pooling=config.pooling,
            l2_normalize=config.l2_normalize,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_loss(config, num_classes):
    """The loss of a `TrainConfig`.

    Args:
        config: the `TrainConfig`.
        num_classes: classes in the training set, for the losses that have weights for each.

    Raises:
        ConfigError: if `loss_args` do not fit the loss, with the ones that do, or the training set.
    """
    loss = LOSSES[config.loss]
    parameters = inspect.signature(loss).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    for key in config.loss_args:
        if key not in known:
            raise ConfigError(
                f"`loss_args` of loss={config.loss!r} may have the keys {', '.join(known)}. "
                f"Received: {key!r}"
            )
    settings = dict(config.loss_args)
    if known.get("num_classes") is inspect.Parameter.empty:
        settings.setdefault("num_classes", num_classes)
    try:
        loss = loss(**settings)
    except ValueError as error:
        raise ConfigError(f"`loss_args`: {error}") from error
    if loss.num_classes is not None and loss.num_classes < num_classes:
        raise ConfigError(
            "`loss_args`: `num_classes` must be at least the number of training classes, "
            f"{num_classes}. Received: num_classes={loss.num_classes}"
        )
    return loss


def build_training_model(config, num_classes, embedder):
    """What `fit` trains: the embedder of a `TrainConfig`, compiled with its loss and optimizer.

    Args:
        config: the `TrainConfig`.
        num_classes: classes in the training set.
        embedder: what `build_model` made.

    Returns:
        A compiled `keras.Model`; a `MetricModel` if the loss has weights of its own.

    Raises:
        ConfigError: as `build_loss`.
        ValueError: if `learning_rate_factors` name no layer.
    """
    loss = build_loss(config, num_classes)
    if loss.has_weights:
        model = MetricModel(embedder, loss)
        model.compile(build_optimizer(config), jit_compile=config.jit)
    else:
        model = embedder
        model.compile(build_optimizer(config), loss=loss, jit_compile=config.jit)
    # Now and not at the first step, so that a name that fits no layer is refused at once.
    model.optimizer.build(model.trainable_variables)
    return model


def build_optimizer(config):
    """The optimizer of a `TrainConfig` with its learning-rate schedule."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        steps = config.epochs * config.steps_per_epoch
        warm_up = max(1, round(WARM_UP * steps))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warm_up), alpha=0.01, warmup_target=rate, warmup_steps=warm_up
        )
    factors = config.learning_rate_factors
    if config.optimizer == "sgd":
        return optimizers.SGD(rate, momentum=0.9, learning_rate_factors=factors)
    return optimizers.Adam(rate, learning_rate_factors=factors)
