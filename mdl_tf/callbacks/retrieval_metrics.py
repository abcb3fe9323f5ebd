"""Retrieval metrics for `fit`, and the order in which callbacks see each other's keys."""

import keras
import numpy as np

from mdl_tf import metrics
from mdl_tf.callbacks import summaries
from mdl_tf.embedding import embed
from mdl_tf.metrics import retrieval, scores

MONITOR = "val_recall_at_1"


class RetrievalMetrics(keras.callbacks.Callback):
    """Embeds the validation set at the end of epochs and writes retrieval metrics into `logs`.

    `val_recall_at_1` and so on for each K, `val_r_precision`, `val_map_at_r`,
    `val_strict_discrimination`; `val_mean_positive_distance` and `val_mean_negative_distance`
    (both near 0: the embedding has collapsed); `val_violated_anchors`, the share of images whose
    farthest positive is not closer than the nearest negative by at least `margin`; and if asked
    for `val_nmi` and `val_f1` of k-means. Plain floats, every key in every epoch, never NaN: in
    epochs between evaluations the last values stand.

    Put it before the callbacks that read its keys (`standard_callbacks` does), and give those
    `mode="max"`: Keras cannot guess it.

    Args:
        validation: batches of (images, labels) that can be iterated again, such as
            `batches.ordered(validation)`, or a pair of arrays `(N, H, W, 3)` and `(N,)`. At least
            one class needs two images.
        ks: the K of Recall@K. Defaults to `(1, 2, 4, 8)`.
        every: epochs from one evaluation to the next; the first epoch is always evaluated.
            Defaults to `1`.
        clustering_every: epochs from one k-means to the next, 0 for never. Defaults to `0`.
        margin: of `val_violated_anchors`, in distance. Defaults to `0.0`: strict discrimination.
        log_dir: folder of TensorBoard logs, for histograms of positive and negative distances in
            its `validation` run. Defaults to `None`, no histograms.
        seed: of k-means and of the sample of pairs. Defaults to `0`.

    Attributes:
        distances: positive and negative distances of the last evaluation, a sample, two arrays.
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
        log_dir=None,
        seed=0,
    ):
        super().__init__()
        for name, value, least in (("every", every, 1), ("clustering_every", clustering_every, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"`{name}` must be an integer, at least {least}. Received: {name}={value!r}"
                )
        scores.check_settings(ks, margin)
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
        self.ks = tuple(ks)
        self.every = every
        self.clustering_every = clustering_every
        self.margin = margin
        self.log_dir = log_dir
        self.seed = seed
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

    @property
    def keys(self):
        """The keys that this callback writes into `logs`."""
        names = [f"recall_at_{k}" for k in self.ks]
        names += ["r_precision", "map_at_r", "strict_discrimination", "violated_anchors"]
        names += ["mean_positive_distance", "mean_negative_distance"]
        names += ["nmi", "f1"] if self.clustering_every else []
        return [f"val_{name}" for name in names]

    def _clusters_missing(self):
        return self.clustering_every > 0 and "val_nmi" not in self.last

    def _evaluate(self, epoch, clustering):
        if isinstance(self.validation, tuple):
            embeddings, _ = embed(self.model, self.validation[0])
            labels = np.reshape(self.validation[1], -1)
        else:
            embeddings, labels = embed(self.model, self.validation)
        if labels is None:
            raise ValueError(
                "`validation` must be batches of (images, labels). Received: images without labels"
            )
        report = metrics.evaluate(
            embeddings,
            labels,
            ks=self.ks,
            margin=self.margin,
            clustering=bool(clustering),
            seed=self.seed,
        )
        positive, negative = retrieval.sample_distances(embeddings, labels, seed=self.seed)
        self.distances, self.embeddings, self.labels = (positive, negative), embeddings, labels
        self._write_histograms(epoch)
        report["mean_positive_distance"] = positive.mean()
        report["mean_negative_distance"] = negative.mean() if len(negative) else 0.0
        values = {key: report.get(key.removeprefix("val_")) for key in self.keys}
        return {key: float(value) for key, value in values.items() if value is not None}

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
        monitor: the key that is to rise. Defaults to `"val_recall_at_1"`.
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
    callbacks = [retrieval_metrics]
    if checkpoint is not None:
        callbacks.append(
            keras.callbacks.ModelCheckpoint(
                str(checkpoint), monitor=monitor, mode="max", save_best_only=True
            )
        )
    if patience is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(monitor=monitor, mode="max", patience=patience)
        )
    if log_dir is not None:
        if retrieval_metrics.log_dir is None:
            retrieval_metrics.log_dir = log_dir
        callbacks.append(keras.callbacks.TensorBoard(str(log_dir), write_graph=False))
    return callbacks
