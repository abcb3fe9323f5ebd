"""The line of each epoch that `mdl-tf train` prints."""

import time

import keras

from mdl_tf.metrics import table
from mdl_tf.progress import duration


class EpochTable(keras.callbacks.Callback):
    """Prints a row per epoch, and on a terminal a bar with the time left for all epochs.

    Args:
        steps_per_epoch: batches in an epoch.
        epochs: of the whole run.
        line: a `ProgressLine`.
        report: a function that prints a line. Defaults to `print`.
        start: what was measured before the first epoch, a row of its own. Defaults to `None`.
    """

    def __init__(self, steps_per_epoch, epochs, line, report=print, start=None):
        super().__init__()
        self._started_with = start
        self._steps, self._epochs = steps_per_epoch, epochs
        self._line, self._report = line, report
        metrics = [metric for metric in table.rows() if metric.in_epoch_table]
        titles = {"loss": "loss", **{f"val_{metric.key}": metric.title for metric in metrics}}
        # (key of the logs, title, width)
        self._columns = [(key, text, max(12, len(text) + 2)) for key, text in titles.items()]
        self._first_epoch = self._start = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._first_epoch is None:
            self._first_epoch = epoch
            titles = "".join(f"{title:>{width}}" for _, title, width in self._columns)
            self._report(f"{'epoch':>7}{titles}   time left")
            if self._started_with:
                self._report(f"{'start':>7}{self._values(self._started_with)}")
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._start is None:
            # After the first batch, which waits for the network to be compiled.
            self._start = time.perf_counter()
        self._line(
            (self._epoch - self._first_epoch) * self._steps + batch + 1,
            (self._epochs - self._first_epoch) * self._steps,
        )

    def on_epoch_end(self, epoch, logs=None):
        values = self._values(logs or {})
        done = (epoch + 1 - self._first_epoch) * self._steps - 1
        per_step = (time.perf_counter() - self._start) / max(1, done)
        left = per_step * self._steps * (self._epochs - epoch - 1)
        self._line.clear()
        self._report(f"{epoch + 1:>3}/{self._epochs:<3}{values}   {duration(left)}")
        share = (logs or {}).get("anchors_that_count")
        if share is not None and epoch == self._first_epoch:
            self._report(
                f"        {share:.0%} of the anchors count: a positive and a negative each"
            )

    def _values(self, logs):
        return "".join(
            f"{logs[key]:{width}.4f}" if key in logs else f"{'-':>{width}}"
            for key, _, width in self._columns
        )
