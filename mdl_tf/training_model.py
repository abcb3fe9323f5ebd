"""Where `MetricModel` was in 0.1.0; its home is `mdl_tf.losses`."""

from mdl_tf.losses.metric_model import MetricModel

__all__ = ["MetricModel"]
