"""The public list of losses, each as a function and as a `keras.losses.Loss`."""

from mdl_tf.losses.margin_discriminate import MarginDiscriminateLoss, margin_discriminate_loss

__all__ = ["MarginDiscriminateLoss", "margin_discriminate_loss"]

# Names of losses on the command line and in `TrainConfig.loss`.
LOSSES = {"margin_discriminate": MarginDiscriminateLoss}
