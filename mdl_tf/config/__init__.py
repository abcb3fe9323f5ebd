"""An experiment as one frozen object, to and from JSON. Loads nothing heavy."""

from mdl_tf.config.setting import ConfigError
from mdl_tf.config.train_config import TrainConfig

__all__ = ["ConfigError", "TrainConfig"]
