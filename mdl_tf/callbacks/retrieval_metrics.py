"""Retrieval metrics for `fit`, and the order in which callbacks see each other's keys."""

import keras
import numpy as np

from mdl_tf.callbacks import summaries
from mdl_tf.checks import check_integer
from mdl_tf.embedding import embed
from mdl_tf.metrics import scores, table
from mdl_tf.metrics.formulas import Distances
from mdl_tf.metrics.retrieval import sample_distances

MONITOR = "val_recall_at_1"


class RetrievalMetrics(keras.callbacks.Callback):
    """Embeds the validation set at the end of epochs and writes retrieval metrics into `logs`.

    `val_recall_at_1` and so on for each K, `val_r_precision`, `val_map_at_r`,
    `val_strict_discrimination`; `val_violated_anchors`, the share of images whose farthest positive
    is not closer than the nearest negative by at least `margin`; `val_mean_positive_distance` and
    `val_mean_negative_distance` (if both are near 0, the embedding has collapsed); and on request
    `val_nmi` and `val_f1` of k-means: the `watched` metrics of `metrics.table`. Plain floats, every
    key in every epoch, never NaN. Epochs without an evaluation repeat the values of the last one.

    Put it before the callbacks that read its keys (`standard_callbacks` does), and give those
    `mode="max"`, or `"min"` where less is better: Keras cannot guess it.

    Args:
        validation: batches of (images, labels) that can be iterated again, such as
            `batches.ordered(validation)`, or a pair of arrays `(N, H, W, 3)` and `(N,)`. At least
            one class needs two images.
        ks: the K of Recall@K. Defaults to `(1, 2, 4, 8)`.
        every: epochs from one evaluation to the next; the first epoch is always evaluated.
            Defaults to `1`.
        clustering_every: epochs from one k-means to the next, 0 for never. Defaults to `0`.
        margin: of `val_violated_anchors`, in the unit of the distances. Defaults to `0.0`: strict
            discrimination.
        verification: whether to measure how well a threshold on the distance tells pairs
            of one class from pairs of two: `val_eer`, `val_roc_auc`, `val_tar_at_far_1e_2` and so
            on. Needs enough pairs, 10,000 of two classes for the last, `1e_4`. Defaults to `False`.
        log_dir: folder of TensorBoard logs, for histograms of positive and negative distances in
            its `validation` run. Defaults to `None`, no histograms.
        seed: of k-means and of the sample of pairs. Defaults to `0`.

    Attributes:
        distances: a sample of the positive and negative distances of the last evaluation, two
            arrays.
        embeddings: of the last evaluation, `(N, D)` float32, in the order of `validation`; a new
            array each time, `None` before the first.
        labels: of the same images, `(N,)`.

    Raises:
        ValueError: if an argument is not one of the above or an endless stream, or (in the first
            epoch) if there are no labels or no class has two images.

    Example:

    >>> retrieval = RetrievalMetrics(batches.ordered(validation, image_size=(64, 64)))
    >>> model.fit(train, steps_per_epoch=50, epochs=8, callbacks=standard_callbacks(retrieval))
    """

    def __init__(
        self,
        validation,
        ks=(1, 2, 4, 8),
        every=1,
        clustering_every=0,
        *,
        margin=0.0,
        verification=False,
        log_dir=None,
        seed=0,
    ):
        super().__init__()
        if isinstance(validation, list):
            validation = tuple(validation)
        elif not isinstance(validation, tuple) and not hasattr(validation, "__iter__"):
            raise ValueError(
                "`validation` must be batches of (images, labels), such as "
                "`batches.ordered(validation)`, or a pair of arrays. "
                f"Received: validation={type(validation).__name__}"
            )
        if getattr(validation, "cardinality", lambda: 0)() == -1:
            raise ValueError(
                "`validation` must come to an end: `batches.ordered`, not `batches.balanced`. "
                "Received: an endless stream"
            )
        self.validation = validation
        self.ks = tuple(scores.check_settings(ks, margin))
        self.every = check_integer("every", every, least=1)
        self.clustering_every = check_integer("clustering_every", clustering_every, least=0)
        self.margin = margin
        self.verification = bool(verification)
        self.log_dir = log_dir
        # The seeds of k-means.
        self.seed = check_integer("seed", seed, least=0, below=2**32)
        self.distances = self.embeddings = self.labels = None
        self.last = {}
        self._writer = None

    def on_epoch_end(self, epoch, logs=None):
        due = epoch % self.every == 0
        clustering_due = self.clustering_every and epoch % self.clustering_every == 0
        # After a resume the first epoch may be any.
        if not self.last or due or clustering_due:
            self.last.update(self._evaluate(epoch, clustering_due or self._clusters_missing()))
        if logs is not None:
            logs.update(self.last)

    def measure(self, model):
        """Measure a model as it is, such as before the first epoch.

        Args:
            model: a `keras.Model`.

        Returns:
            A dict of what the end of an epoch writes into `logs`.
        """
        return self._report(*self._embed(model), bool(self.clustering_every))

    @property
    def keys(self):
        """The keys that this callback writes into `logs`."""
        return [f"val_{metric.key}" for metric in self._watched()]

    def _watched(self):
        """The metrics that are written, a list of `table.Metric`."""
        requested = {"clusters": self.clustering_every, "pairs": self.verification}
        return [
            metric
            for metric in table.rows(self.ks)
            if metric.watched and requested.get(metric.source, True)
        ]

    def _clusters_missing(self):
        names = [f"val_{metric.key}" for metric in self._watched() if metric.source == "clusters"]
        return bool(names) and not any(name in self.last for name in names)

    def _evaluate(self, epoch, clustering):
        report = self._report(*self._embed(self.model), bool(clustering))
        self._write_histograms(epoch)
        return report

    def _embed(self, model):
        if isinstance(self.validation, tuple):
            embeddings, _ = embed(model, self.validation[0])
            return embeddings, np.reshape(self.validation[1], -1)
        embeddings, labels = embed(model, self.validation)
        if labels is None:
            raise ValueError(
                "`validation` must be batches of (images, labels). Received: images without labels"
            )
        return embeddings, labels

    def _report(self, embeddings, labels, clustering):
        report = scores.evaluate(
            embeddings,
            labels,
            ks=self.ks,
            margin=self.margin,
            clustering=clustering,
            verification=self.verification,
            seed=self.seed,
        )
        self.distances = Distances(*sample_distances(embeddings, labels, seed=self.seed))
        self.embeddings, self.labels = embeddings, labels
        report.update(scores.compute({"distances": self.distances}))
        keys = [metric.key for metric in self._watched() if metric.key in report]
        return {f"val_{key}": float(report[key]) for key in keys}

    def _write_histograms(self, epoch):
        if self.log_dir is None:
            return
        if self._writer is None:
            self._writer = summaries.open_run(self.log_dir, "validation")
        with self._writer.as_default(step=epoch):
            summaries.write_distances(self.distances)
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def standard_callbacks(
    retrieval_metrics, *, monitor=MONITOR, checkpoint=None, patience=None, log_dir=None
):
    """Callbacks in the order in which they see each other's keys.

    Retrieval metrics first, then what reads them: the best model, early stopping, TensorBoard.

    Args:
        retrieval_metrics: a `RetrievalMetrics`.
        monitor: the key that selects the best epoch: its largest value, or its smallest where less
            is better. Defaults to `"val_recall_at_1"`.
        checkpoint: path of a `.keras` file for the best model, or `None`. Defaults to `None`.
        patience: epochs without a better value after which training stops, or `None`. Defaults
            to `None`.
        log_dir: folder of TensorBoard logs, or `None`. Defaults to `None`.

    Returns:
        A list for `fit(callbacks=...)`.

    Raises:
        ValueError: if `retrieval_metrics` is not a `RetrievalMetrics`, or does not write `monitor`.
    """
    if not isinstance(retrieval_metrics, RetrievalMetrics):
        raise ValueError(
            "`retrieval_metrics` must be a `RetrievalMetrics`. "
            f"Received: retrieval_metrics={retrieval_metrics!r}"
        )
    if monitor not in retrieval_metrics.keys:
        raise ValueError(
            f"`monitor` must be a key of `retrieval_metrics`: {', '.join(retrieval_metrics.keys)}. "
            f"Received: monitor={monitor!r}"
        )
    metric = table.find(monitor.removeprefix("val_"))
    mode = "min" if metric.larger_is_better is False else "max"
    callbacks = [retrieval_metrics]
    if checkpoint is not None:
        callbacks.append(
            keras.callbacks.ModelCheckpoint(
                str(checkpoint), monitor=monitor, mode=mode, save_best_only=True
            )
        )
    if patience is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(monitor=monitor, mode=mode, patience=patience)
        )
    if log_dir is not None:
        if retrieval_metrics.log_dir is None:
            retrieval_metrics.log_dir = log_dir
        callbacks.append(keras.callbacks.TensorBoard(str(log_dir), write_graph=False))
    return callbacks
