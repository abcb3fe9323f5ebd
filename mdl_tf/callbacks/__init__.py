"""Keras callbacks: retrieval metrics in the logs of `fit`, what reads them, and pictures."""

from mdl_tf.callbacks.neighbor_board import NeighborBoard, write_test
from mdl_tf.callbacks.retrieval_metrics import RetrievalMetrics, standard_callbacks

__all__ = ["NeighborBoard", "RetrievalMetrics", "standard_callbacks", "write_test"]
