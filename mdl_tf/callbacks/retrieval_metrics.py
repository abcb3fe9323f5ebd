"""Retrieval metrics for `fit`, and the order in which callbacks see each other's keys."""

import warnings
from pathlib import Path

import keras
import numpy as np

from mdl_tf.callbacks import summaries
from mdl_tf.callbacks.fitting import find_fit, sample_labels
from mdl_tf.checks import check_integer
from mdl_tf.embedding import embed
from mdl_tf.embedding.outputs import embed_batch
from mdl_tf.embedding.reading import check_finite, is_used_up_by_reading, read_batches
from mdl_tf.embedding.units import find_classifier
from mdl_tf.metrics import scores, table
from mdl_tf.metrics.formulas import Distances
from mdl_tf.metrics.retrieval import sample_distances

MONITOR = "recall_at_1"


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

    Before the first step of a `fit` it looks at the validation set: what cannot be measured is
    refused then, and not after an epoch. There it also looks whether the anchors of the training
    data count, if XLA keeps the loss from looking. Embeddings that are NaN or infinite find
    nothing: `fit` goes on, with one warning and the worst value of every metric.

    Args:
        validation: batches of (images, labels), perhaps with weights, that can be iterated again,
            such as `batches.ordered(validation)` or a list of batches; or a pair of arrays
            `(N, H, W, 3)` and `(N,)`. Labels are integers, strings or one-hot, and at least one
            class needs two images. Defaults to `None`, the `validation_data` of `fit`.
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
            its `validation` run, or that of the `prefix`. Defaults to `None`, no histograms.
        seed: of k-means and of the sample of pairs. Defaults to `0`.
        output: name of the output that is the embedding, of a model with several. Defaults to
            `None`: it has one.
        prefix: what the keys begin with. A second `RetrievalMetrics` in one `fit` needs another;
            TensorBoard puts those that begin with `val_` into its run `validation`. Defaults to
            `"val_"`.

    Attributes:
        distances: a sample of the positive and negative distances of the last evaluation, two
            arrays.
        embeddings: of the last evaluation, `(N, D)` float32, in the order of `validation`; a new
            array each time, `None` before the first.
        labels: of the same images, `(N,)`.

    Raises:
        ValueError: if an argument is not one of the above, or an endless stream or generator; or,
            before the first step, if there are no labels, no class has two images, the model gives
            no embeddings `(B, D)` or several, or another `RetrievalMetrics` has the same keys.

    Example:

    >>> retrieval = RetrievalMetrics(batches.ordered(validation, image_size=(64, 64)))
    >>> model.fit(train, steps_per_epoch=50, epochs=8, callbacks=standard_callbacks(retrieval))
    """

    def __init__(
        self,
        validation=None,
        ks=(1, 2, 4, 8),
        every=1,
        clustering_every=0,
        *,
        margin=0.0,
        verification=False,
        log_dir=None,
        seed=0,
        output=None,
        prefix="val_",
    ):
        super().__init__()
        if validation is not None:
            _check_readable(validation)
        if not isinstance(prefix, str):
            raise ValueError(f"`prefix` must be a string. Received: prefix={prefix!r}")
        self.validation = validation
        self.output, self.prefix = output, prefix
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
        self._from_fit = None  # `validation_data`
        self._has_warned = False

    def on_train_begin(self, logs=None):
        arguments = find_fit(self.model)
        callbacks = getattr(arguments.get("callbacks"), "callbacks", ())
        self._check_keys([c for c in callbacks if isinstance(c, RetrievalMetrics)])
        _check_checkpoints(callbacks)
        if self.validation is None:
            self._from_fit = arguments.get("validation_data")
            if self._from_fit is None:
                raise ValueError(
                    "`validation` must be given, as RetrievalMetrics(batches.ordered(validation)), "
                    "or `fit` must have `validation_data`. Received: neither"
                )
            _check_readable(self._from_fit)
        self._look_at_validation()
        # Elsewhere the loss looks at its batches itself.
        if self.model.jit_compile and hasattr(self.model.loss, "warn_of_batches"):
            self.model.loss.warn_of_batches(sample_labels(arguments))

    def _check_keys(self, callbacks):
        for other in callbacks:
            same = sorted(set(self.keys) & set(other.keys))
            if other is not self and same:
                raise ValueError(
                    "Each `RetrievalMetrics` of a `fit` must write keys of its own: give one a "
                    f"prefix, such as RetrievalMetrics(..., prefix='val_other_'). Received: two "
                    f"that write {same[0]}"
                )

    def _look_at_validation(self):
        """Embed the first batch, and read on until there is something to find and to confuse."""
        seen, images, some_pair = set(), 0, False
        for pixels, labels in read_batches(self._source, "validation"):
            if labels is None:
                raise ValueError(_without_labels(pixels))
            if not images:
                embed_batch(self.model, pixels, self.output)
                self._warn_of_classifier()
            images += len(labels)
            before = len(seen)
            seen.update(labels.tolist())
            some_pair = some_pair or len(seen) < before + len(labels)
            if some_pair and len(seen) > 1:
                return
        if some_pair:
            raise ValueError(
                "`validation` must have two classes, or everything that is found is right. "
                f"Received: {images:,} images of one class"
            )
        raise ValueError(
            "`validation` must have a class with two images, or nothing can be found. Received: "
            + (f"{images:,} images, all alone in their class" if images else "no images")
        )

    def _warn_of_classifier(self):
        classifier = find_classifier(self.model) if self.output is None else None
        if classifier:
            warnings.warn(
                f"The model {self.model.name!r} ends in {classifier}, which are no embeddings: "
                "take the layer before, such as include_top=False with keras.applications.",
                stacklevel=2,
            )

    @property
    def _source(self):
        return self._from_fit if self.validation is None else self.validation

    def on_epoch_end(self, epoch, logs=None):
        if logs and self.keys[0] in logs:
            raise ValueError(
                "The keys of a `RetrievalMetrics` must be its own: give it another `prefix`. "
                f"Received: {self.keys[0]} is in the logs already"
            )
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
        if self.validation is None:
            raise ValueError("`validation` must be given for `measure`. Received: None")
        return self._report(*self._embed(model), bool(self.clustering_every))

    @property
    def keys(self):
        """The keys that this callback writes into `logs`."""
        return [f"{self.prefix}{metric.key}" for metric in self._watched()]

    def _watched(self):
        """The metrics that are written, a list of `table.Metric`."""
        requested = {"clusters": self.clustering_every, "pairs": self.verification}
        return [
            metric
            for metric in table.rows(self.ks)
            if metric.watched and requested.get(metric.source, True)
        ]

    def _clusters_missing(self):
        names = [
            f"{self.prefix}{metric.key}"
            for metric in self._watched()
            if metric.source == "clusters"
        ]
        return bool(names) and not any(name in self.last for name in names)

    def _evaluate(self, epoch, clustering):
        embeddings, labels = self._embed(self.model)
        wrong = np.count_nonzero(~np.isfinite(embeddings).all(axis=1))
        if wrong:
            return self._report_nothing(wrong, len(labels))
        report = self._report(embeddings, labels, bool(clustering))
        self._write_histograms(epoch)
        return report

    def _embed(self, model):
        embeddings, labels = embed(model, self._source, output=self.output)
        if labels is None:
            raise ValueError(_without_labels(None))
        if labels.dtype.kind == "U":
            labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        return embeddings, labels

    def _report_nothing(self, wrong, images):
        """The worst values: a comparison with NaN finds nothing. Raised, it would lose `fit`."""
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{wrong:,} of {images:,} validation embeddings are NaN or infinite: the training "
                "has diverged. Their metrics are the worst there are. Lower the learning rate; "
                "keras.callbacks.TerminateOnNaN() ends such a training.",
                stacklevel=2,
            )
        values = {}
        for metric in self._watched():
            key = f"{self.prefix}{metric.key}"
            worst = {True: 0.0, False: 1.0}.get(metric.larger_is_better)
            values[key] = self.last.get(key, 0.0) if worst is None else worst
        return values

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
        return {f"{self.prefix}{key}": float(report[key]) for key in keys}

    def _write_histograms(self, epoch):
        if self.log_dir is None:
            return
        if self._writer is None:
            run = "validation" if self.prefix == "val_" else self.prefix.strip("_")
            self._writer = summaries.open_run(self.log_dir, run or "validation")
        with self._writer.as_default(step=epoch):
            summaries.write_distances(self.distances)
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _check_checkpoints(callbacks):
    """Refuse checkpoints that could not be loaded again, before they are all that is left."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            path = str(callback.filepath)
            if path.endswith((".h5", ".hdf5")) and not callback.save_weights_only:
                raise ValueError(
                    "A `ModelCheckpoint` must write a .keras file: HDF5 cannot be loaded again "
                    f"with losses of this library. Received: filepath={path}"
                )


def _without_labels(pixels):
    received = "images without labels"
    if isinstance(pixels, dict):
        received = f"dicts with the keys {', '.join(map(str, pixels))}"
    return (
        "`validation` must be batches of (images, labels); of dicts make pairs by "
        f"validation.map(lambda batch: (batch['image'], batch['label'])). Received: {received}"
    )


def _check_readable(validation):
    """Refuse what cannot be read to its end once for every evaluation."""
    check_finite(validation, "validation")
    if is_used_up_by_reading(validation):
        raise ValueError(
            "`validation` must be readable once for every evaluation. Received: a "
            f"{type(validation).__name__}, which can be read once. Pass a list of its batches, "
            "list(generator), or a tf.data.Dataset"
        )


def standard_callbacks(
    retrieval_metrics, *, monitor=None, checkpoint=None, patience=None, log_dir=None
):
    """Callbacks in the order in which they see each other's keys.

    Retrieval metrics first, then what reads them: the best model, early stopping, TensorBoard.

    Args:
        retrieval_metrics: a `RetrievalMetrics`.
        monitor: the key that selects the best epoch: its largest value, or its smallest where less
            is better. Defaults to `None`: `"val_recall_at_1"`, or what it is with its `prefix`.
        checkpoint: path of a `.keras` file for the best model, or `None`. Defaults to `None`.
        patience: epochs without a better value after which training stops, or `None`. Defaults
            to `None`.
        log_dir: folder of TensorBoard logs, or `None`. Defaults to `None`.

    Returns:
        A list for `fit(callbacks=...)`.

    Raises:
        ValueError: if `retrieval_metrics` is not a `RetrievalMetrics`, or does not write `monitor`,
            or `checkpoint` does not end in `.keras`.
    """
    if not isinstance(retrieval_metrics, RetrievalMetrics):
        raise ValueError(
            "`retrieval_metrics` must be a `RetrievalMetrics`. "
            f"Received: retrieval_metrics={retrieval_metrics!r}"
        )
    if checkpoint is not None and Path(checkpoint).suffix != ".keras":
        raise ValueError(
            "`checkpoint` must end in .keras; other formats cannot be loaded again. "
            f"Received: checkpoint={checkpoint}"
        )
    monitor = monitor or f"{retrieval_metrics.prefix}{MONITOR}"
    if monitor not in retrieval_metrics.keys:
        raise ValueError(
            f"`monitor` must be a key of `retrieval_metrics`: {', '.join(retrieval_metrics.keys)}. "
            f"Received: monitor={monitor!r}"
        )
    metric = table.find(monitor.removeprefix(retrieval_metrics.prefix))
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
