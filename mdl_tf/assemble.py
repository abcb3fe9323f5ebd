"""From a `TrainConfig` to the objects that Keras trains: model, loss, optimizer."""

import inspect

import keras

from mdl_tf import backbones, optimizers
from mdl_tf.backbones import conv4, inception_bn
from mdl_tf.config import ConfigError
from mdl_tf.embedding import embedding_model
from mdl_tf.losses import LOSSES
from mdl_tf.training_model import MetricModel

WARM_UP = 0.05  # of all steps


def build_model(config, feature_size=None):
    """The embedder of a `TrainConfig`, not compiled.

    Args:
        config: the `TrainConfig`.
        feature_size: F, numbers in a feature vector, for a data set of features. Defaults to
            `None`, a data set of images.

    Raises:
        ConfigError: if the backbone takes images and the data set has features, or the reverse.
    """
    if (config.backbone == "none") != (feature_size is not None):
        has = "images" if feature_size is None else "features"
        raise ConfigError(
            "`backbone` must be none for a data set of features, and a network for images. "
            f"Received: backbone={config.backbone!r}, and {config.dataset} has {has}"
        )
    shape = (config.image_size, config.image_size, 3)
    if feature_size is not None:
        backbone, preprocess = backbones.Features(feature_size), None
    elif config.backbone == "inception_bn":
        backbone, preprocess = (
            backbones.InceptionBN(input_shape=shape),
            inception_bn.preprocess_input,
        )
    else:
        backbone, preprocess = backbones.Conv4(input_shape=shape), conv4.preprocess_input
    return embedding_model(
        backbone,
        preprocess,
        embedding_dim=config.embedding_dim,
        pooling=config.pooling,
        l2_normalize=config.l2_normalize,
    )


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


def build_training_model(config, num_classes, feature_size=None):
    """What `fit` trains: the embedder of a `TrainConfig`, compiled with its loss and optimizer.

    Args:
        config: the `TrainConfig`.
        num_classes: classes in the training set.
        feature_size: as in `build_model`. Defaults to `None`.

    Returns:
        A compiled `keras.Model`; a `MetricModel` if the loss has weights of its own.

    Raises:
        ConfigError: as `build_loss` and `build_model`.
        ValueError: if `learning_rate_factors` name no layer.
    """
    loss, model = build_loss(config, num_classes), build_model(config, feature_size)
    if loss.has_weights:
        model = MetricModel(model, loss)
        model.compile(build_optimizer(config), jit_compile=config.jit)
    else:
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
