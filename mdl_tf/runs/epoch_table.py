"""What a training prints at the end of each epoch."""

import time

import keras

from mdl_tf.progress import duration


class EpochTable(keras.callbacks.Callback):
    """Prints a row per epoch, and on a terminal a bar with the time left for all epochs.

    Args:
        steps_per_epoch: batches in an epoch.
        epochs: of the whole run.
        line: a `ProgressLine`.
        report: a function that prints a line. Defaults to `print`.
    """

    COLUMNS = (
        ("loss", "loss"),
        ("Recall@1", "val_recall_at_1"),
        ("MAP@R", "val_map_at_r"),
        ("strict", "val_strict_discrimination"),
        ("pos. dist.", "val_mean_positive_distance"),
        ("neg. dist.", "val_mean_negative_distance"),
    )

    def __init__(self, steps_per_epoch, epochs, line, report=print):
        super().__init__()
        self._steps, self._epochs = steps_per_epoch, epochs
        self._line, self._report = line, report
        self._first_epoch = self._start = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._first_epoch is None:
            self._first_epoch = epoch
            names = "".join(f"{name:>12}" for name, _ in self.COLUMNS)
            self._report(f"{'epoch':>7}{names}   time left")
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
        logs = logs or {}
        values = "".join(
            f"{logs[key]:12.4f}" if key in logs else f"{'-':>12}" for _, key in self.COLUMNS
        )
        done = (epoch + 1 - self._first_epoch) * self._steps - 1
        per_step = (time.perf_counter() - self._start) / max(1, done)
        left = per_step * self._steps * (self._epochs - epoch - 1)
        self._line.clear()
        self._report(f"{epoch + 1:>3}/{self._epochs:<3}{values}   {duration(left)}")
