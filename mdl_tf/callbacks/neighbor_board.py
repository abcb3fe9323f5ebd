"""What TensorBoard shows of a training in pictures: neighbours, distances, and the projector."""

import contextlib
import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mdl_tf.callbacks import projector, summaries
from mdl_tf.callbacks.retrieval_metrics import RetrievalMetrics
from mdl_tf.pictures.mosaic import NeighborMosaic

_NO_SHARES = ("gap_", "kmeans_")  # of the metrics, what is a distance


class NeighborBoard(keras.callbacks.Callback):
    """Writes a picture of some queries with their nearest neighbours after each evaluation.

    It is the image `neighbors` of the run `validation`: the same queries in every epoch and after a
    resume, of distinct classes where possible. Neighbours of another class have an orange frame and
    a cross, those of the query's class a blue frame. Put it behind the `RetrievalMetrics`, whose
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
        _check_counts(queries, neighbors)
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
                "`NeighborBoard` must come behind its `retrieval_metrics` in the list of "
                "callbacks. Received: it comes before, or without it"
            )
        embeddings, labels = self._metrics.embeddings, self._metrics.labels
        if embeddings is None or embeddings is self._shown:
            return
        if not np.array_equal(labels, self._labels):
            others = "other labels" if len(labels) == len(self._labels) else f"{len(labels)} images"
            raise ValueError(
                "`image_set` must be the images that `retrieval_metrics` measures, in their order. "
                f"Received: {len(self._labels)} images, and it measures {others}"
            )
        self._shown = embeddings
        with self._writer.as_default(step=epoch):
            _write_neighbors(self._mosaic, embeddings)
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def write_test(
    log_dir,
    step,
    name,
    metrics,
    distances,
    image_set,
    embeddings,
    *,
    queries=8,
    neighbors=8,
    seed=0,
):
    """Writes what is known of a test set at one moment of a training: before it, or after.

    Into the run `test`: the metrics as scalars `test/recall_at_1` and so on, histograms of positive
    and negative distances, a picture of some queries with their neighbours, always the same
    queries, and the embeddings for the projector, always of the same images. Without pictures for a
    set of features.

    Args:
        log_dir: folder of TensorBoard logs.
        step: epochs that were trained.
        name: of the embeddings in the projector, such as `"untrained"` and `"trained"`.
        metrics: a dict of numbers, as `mdl_tf.metrics.evaluate` gives it; of them what lies in
            [0, 1], no counts, gaps or inertia.
        distances: positive and negative distances, as `retrieval.sample_distances` gives them.
        image_set: an `ImageSet`, the test set. Its `queries`, if any, search the rest of it.
        embeddings: of the whole set, shape `(N, D)`.
        queries: how many are shown, at most. Defaults to `8`.
        neighbors: how many are shown of each, at most. Defaults to `8`.
        seed: of the draw of queries, and of the images of the projector. Defaults to `0`.

    Raises:
        ValueError: if a count or the name cannot be, or the folder cannot be written.
    """
    _check_counts(queries, neighbors)
    writer = summaries.open_run(log_dir, "test")
    with contextlib.closing(writer), writer.as_default(step=step):
        for key, value in metrics.items():
            if isinstance(value, float) and not key.startswith(_NO_SHARES):
                tf.summary.scalar(f"test/{key}", value)
        summaries.write_distances(distances)
        if image_set.features is None:
            mosaic = NeighborMosaic(image_set, queries, neighbors, seed)
            _write_neighbors(mosaic, embeddings)
    projector.write(Path(log_dir) / "test", name, embeddings, image_set, seed=seed)


def _check_counts(queries, neighbors):
    for name, value in (("queries", queries), ("neighbors", neighbors)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an integer, at least 1. Received: {name}={value!r}")


def _write_neighbors(mosaic, embeddings):
    if len(mosaic.queries):
        pixels = mosaic.draw(embeddings)
        tf.summary.image("neighbors", pixels[None], description=mosaic.description)
