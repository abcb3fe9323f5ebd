"""Many images: balanced P x K training batches, and every image once, in order, for evaluation."""

from mdl_tf.batches.plan import BalancedPlan
from mdl_tf.batches.streams import balanced, ordered

__all__ = ["BalancedPlan", "balanced", "ordered"]
