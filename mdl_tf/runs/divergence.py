"""A training that came to NaN or infinity ends, before anything of it is kept."""

import math

import keras
import numpy as np


class Diverged(ValueError):
    """Training produced NaN or infinity."""


class StopIfDiverged(keras.callbacks.Callback):
    """Ends a training whose loss or weights are NaN or infinite, before anything of it is kept.

    Put it before whatever measures or saves. It raises a `Diverged`.

    Args:
        learning_rate: what the message says it was.
    """

    def __init__(self, learning_rate):
        super().__init__()
        self._learning_rate = learning_rate
        self._epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if logs and not math.isfinite(logs["loss"]):
            self._stop(f"the loss is {logs['loss']} after batch {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        # The loss of the last batch was computed before its step.
        for variable in self.model.variables:
            if not np.isfinite(np.asarray(variable, np.float32)).all():
                self._stop(f"{variable.path} is not finite at the end")

    def _stop(self, what):
        raise Diverged(
            f"Training diverged: {what} of epoch {self._epoch + 1}. Lower `learning_rate`. "
            f"Received: learning_rate={self._learning_rate}"
        )
