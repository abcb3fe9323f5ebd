"""NeighborBoard: queries with their nearest neighbours, after each epoch, in TensorBoard."""

import dataclasses

import keras
import numpy as np

from mdl_tf.callbacks import summaries
from mdl_tf.callbacks.retrieval_metrics import RetrievalMetrics
from mdl_tf.checks import check_integer
from mdl_tf.pictures.mosaic import NeighborMosaic


class NeighborBoard(keras.callbacks.Callback):
    """Writes a picture of some queries with their nearest neighbours after each evaluation.

    It is the image `neighbors` of the run `validation`: the same queries in every epoch and after a
    resume, of distinct classes where possible. Neighbours of another class have an orange frame and
    a cross, those of the query's class a blue frame. Put it after the `RetrievalMetrics`, whose
    embeddings it shows; in epochs without an evaluation it writes nothing.

    Args:
        retrieval_metrics: a `RetrievalMetrics` of batches of `image_set` in its order, such as
            `batches.ordered(validation)`.
        image_set: an `ImageSet`, the validation set. Nothing is written for one of features.
        log_dir: folder of TensorBoard logs.
        queries: how many are shown, at most. Defaults to `8`.
        neighbors: how many are shown of each, at most. Defaults to `8`.
        seed: of the draw of the queries. Defaults to `0`.

    Raises:
        ValueError: if an argument is not one of the above, or (in the first epoch) if the folder
            cannot be written, the callback comes before `retrieval_metrics`, or that measures other
            images than `image_set`.

    Example:

    >>> retrieval = RetrievalMetrics(batches.ordered(validation, image_size=(64, 64)))
    >>> callbacks = standard_callbacks(retrieval, log_dir="logs")
    >>> callbacks.append(NeighborBoard(retrieval, validation, "logs"))
    """

    def __init__(self, retrieval_metrics, image_set, log_dir, queries=8, neighbors=8, seed=0):
        super().__init__()
        if not isinstance(retrieval_metrics, RetrievalMetrics):
            raise ValueError(
                "`retrieval_metrics` must be a `RetrievalMetrics`. "
                f"Received: retrieval_metrics={retrieval_metrics!r}"
            )
        queries = check_integer("queries", queries, least=1)
        neighbors = check_integer("neighbors", neighbors, least=1)
        seed = check_integer("seed", seed, least=0)
        self._metrics = retrieval_metrics
        self._log_dir = log_dir
        self._labels = image_set.labels
        self._mosaic = self._writer = self._shown = None
        if image_set.features is None:
            # The metrics of validation let all images search each other.
            image_set = dataclasses.replace(image_set, queries=None)
            self._mosaic = NeighborMosaic(image_set, queries, neighbors, seed)

    def on_train_begin(self, logs=None):
        if self._mosaic is not None:
            self._writer = summaries.open_run(self._log_dir, "validation")

    def on_epoch_end(self, epoch, logs=None):
        if self._mosaic is None:
            return
        if logs is not None and self._metrics.keys[0] not in logs:
            raise ValueError(
                "`NeighborBoard` must come after its `retrieval_metrics` in the list of "
                "callbacks. Received: it comes before, or without it"
            )
        embeddings, labels = self._metrics.embeddings, self._metrics.labels
        if embeddings is None or embeddings is self._shown:
            return
        if not np.array_equal(labels, self._labels):
            measured = f"{len(labels)} images"
            if len(labels) == len(self._labels):
                measured = "other labels"
            raise ValueError(
                "`image_set` must be the images that `retrieval_metrics` measures, in their order. "
                f"Received: {len(self._labels)} images, and it measures {measured}"
            )
        self._shown = embeddings
        with self._writer.as_default(step=epoch):
            summaries.write_neighbors(self._mosaic, embeddings)
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None
