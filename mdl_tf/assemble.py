"""From a `TrainConfig` to the objects that Keras trains: model, loss, optimizer."""

import keras

from mdl_tf import backbones
from mdl_tf.backbones import conv4, inception_bn
from mdl_tf.config import ConfigError
from mdl_tf.embedding import embedding_model
from mdl_tf.losses import LOSSES

WARM_UP = 0.05  # of all steps


def build_model(config):
    """The embedder of a `TrainConfig`, not compiled."""
    shape = (config.image_size, config.image_size, 3)
    if config.backbone == "inception_bn":
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


def build_loss(config):
    """The loss of a `TrainConfig`.

    Raises:
        ConfigError: if `loss_args` do not fit the loss, with the ones that do.
    """
    loss = LOSSES[config.loss]
    known = [key for key in loss().get_config() if key not in ("name", "reduction", "dtype")]
    for key in config.loss_args:
        if key not in known:
            raise ConfigError(
                f"`loss_args` of loss={config.loss!r} may have the keys {', '.join(known)}. "
                f"Received: {key!r}"
            )
    try:
        return loss(**config.loss_args)
    except ValueError as error:
        raise ConfigError(f"`loss_args`: {error}") from error


def build_optimizer(config):
    """The optimizer of a `TrainConfig` with its learning-rate schedule."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        steps = config.epochs * config.steps_per_epoch
        warm_up = max(1, round(WARM_UP * steps))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warm_up), alpha=0.01, warmup_target=rate, warmup_steps=warm_up
        )
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9)
    return keras.optimizers.Adam(rate)
