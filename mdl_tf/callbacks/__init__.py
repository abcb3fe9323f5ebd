"""Keras callbacks: retrieval metrics in the logs of `fit`, what reads them, and pictures."""

from mdl_tf.callbacks.neighbor_board import NeighborBoard
from mdl_tf.callbacks.retrieval_metrics import RetrievalMetrics, standard_callbacks
from mdl_tf.callbacks.summaries import write_test

__all__ = ["NeighborBoard", "RetrievalMetrics", "standard_callbacks", "write_test"]
