"""What every loss shares: the checks of its input, exact labels under Keras, the mean over anchors.

A loss function returns `(B,)`, so that Keras reduces it and applies `sample_weight`: a scalar would
be rescaled silently.
"""

import keras
import tensorflow as tf
from keras import ops

REDUCTIONS = ("sum_over_batch_size", "mean", "sum")


def check_batch(labels, embeddings):
    """Labels and embeddings as tensors of a shape and type that a pair loss can use.

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`.

    Returns:
        labels `(B,)` int64 and embeddings `(B, D)` in float32, or in float64 if they came so.

    Raises:
        ValueError: for labels that are one-hot or no integers, ranks that are wrong or not known,
            and lengths that statically differ.
    """
    labels = ops.convert_to_tensor(labels)
    embeddings = ops.convert_to_tensor(embeddings)
    shape, dtype = _static_shape(labels), keras.backend.standardize_dtype(labels.dtype)
    if shape is None or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        hint = ""
        if shape is None:
            # A compiled train step that meets labels of two ranks gives up on knowing the rank.
            hint = " If another `fit` had labels of another rank, `compile` again."
        elif len(shape) == 2:
            hint = " One-hot labels? Pass `argmax(labels, axis=-1)`."
        raise ValueError(
            "`labels` (`y_true`) must be integer class ids of shape `(B,)` or `(B, 1)`."
            f"{hint} Received: labels with shape={_shown(shape)}"
        )
    if "int" not in dtype:
        raise ValueError(
            "`labels` (`y_true`) must be integer class ids; floats merge ids above 2^24. "
            f"Received: labels with dtype={dtype}"
        )
    width = _static_shape(embeddings)
    if width is None or len(width) != 2:
        raise ValueError(
            "`embeddings` (`y_pred`) must have shape `(B, D)`. "
            f"Received: embeddings with shape={_shown(width)}"
        )
    embedding_dtype = keras.backend.standardize_dtype(embeddings.dtype)
    if "float" not in embedding_dtype:
        raise ValueError(
            "`embeddings` (`y_pred`) must be floats. "
            f"Received: embeddings with dtype={embedding_dtype}"
        )
    if None not in (shape[0], width[0]) and shape[0] != width[0]:
        raise ValueError(
            "`labels` and `embeddings` must have the same length. "
            f"Received: labels with shape={_shown(shape)}, "
            f"embeddings with shape={_shown(width)}"
        )
    labels = ops.cast(ops.reshape(labels, (-1,)), "int64")
    return labels, ops.cast(embeddings, "float64" if embedding_dtype == "float64" else "float32")


def _static_shape(tensor):
    """The shape with None for unknown lengths, or None if not even the rank is known."""
    try:
        return tuple(tensor.shape)
    except ValueError:  # what TensorFlow says of an unknown rank
        return None


def _shown(shape):
    return "unknown" if shape is None else tuple(shape)


def local_ids(labels):
    """Ids of a batch's classes that any float type of 24 bits holds exactly.

    Args:
        labels: integers of any width, shape `(B,)`.

    Returns:
        Integers in `[0, B)`, shape `(B,)`, equal exactly where the labels are. By sorting, in
        memory that grows with B.
    """
    # Not by `keras.ops`, whose search up to Keras 3.8 asks a symbolic tensor for its length.
    return tf.searchsorted(tf.sort(labels), labels, side="left")


def mean_over_valid(values, valid):
    """Values whose plain mean over the batch is the mean over the valid anchors.

    Args:
        values: a term per anchor, shape `(B,)`; finite where not valid too.
        valid: booleans, shape `(B,)`.

    Returns:
        `B / V * values` where valid, else 0, shape `(B,)`; with V = 0 all 0.
    """
    weights = ops.cast(valid, values.dtype)
    size = ops.cast(ops.shape(values)[0], values.dtype)
    return values * weights * (size / ops.maximum(ops.sum(weights), 1))


class PairLoss(keras.losses.Loss):
    """Base of the losses that compare the images of a batch with each other.

    Keras casts `y_true` to the loss's float type before `call`, where class ids above 2^24 merge.
    So `__call__` replaces the labels by ids of the batch's own classes first. Subclasses write
    `compute(labels, embeddings) -> (B,)` and `get_config`.

    Args:
        reduction: `"sum_over_batch_size"` or `"mean"` (the loss) or `"sum"` (B times the loss).
            Defaults to `"sum_over_batch_size"`.
        name: name of the loss.
        dtype: `"float32"` or `"float64"`, the type of the computation. Defaults to float32, or
            float64 where that is `keras.config.floatx()`; models may be in half precision.

    Raises:
        ValueError: if `reduction` or `dtype` is another one.
    """

    def __init__(self, *, reduction="sum_over_batch_size", name=None, dtype=None):
        if reduction not in REDUCTIONS:
            # "none" would log the mean and train on the sum.
            raise ValueError(
                f"`reduction` must be one of {REDUCTIONS}. Received: reduction={reduction!r}"
            )
        if dtype is None:
            dtype = "float64" if keras.config.floatx() == "float64" else "float32"
        dtype = keras.backend.standardize_dtype(getattr(dtype, "compute_dtype", dtype))
        if dtype not in ("float32", "float64"):
            raise ValueError(
                "`dtype` must be 'float32' or 'float64': distances lose their digits in half "
                f"precision. Received: dtype={dtype!r}"
            )
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true, y_pred, sample_weight=None):
        labels, _ = check_batch(y_true, y_pred)
        return super().__call__(local_ids(labels), y_pred, sample_weight=sample_weight)

    def call(self, y_true, y_pred):
        return self.compute(ops.cast(y_true, "int32"), y_pred)

    def compute(self, labels, embeddings):
        """The loss of each anchor, `(B,), (B, D) -> (B,)`."""
        raise NotImplementedError

    def get_config(self):
        return {"name": self.name, "reduction": self.reduction, "dtype": self.dtype}
