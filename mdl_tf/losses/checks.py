"""What comes into a loss: labels, embeddings and weights, each refused with one clear message."""

import keras
import tensorflow as tf
from keras import ops

# Keras hands class indices over as float32, which is exact below.
MOST_CLASSES = 2**24


def check_batch(labels, embeddings):
    """Convert labels and embeddings to tensors of a shape and type that a loss can use.

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`.

    Returns:
        labels `(B,)` int64 and embeddings `(B, D)` in float32, or in float64 if they came so.

    Raises:
        ValueError: for labels that are one-hot or not integers, wrong or unknown ranks, and lengths
            that statically differ.
    """
    labels = check_labels(labels)
    embeddings = ops.convert_to_tensor(embeddings)
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
    length = labels.shape[0]
    if None not in (length, width[0]) and length != width[0]:
        raise ValueError(
            "`labels` and `embeddings` must have the same length. "
            f"Received: labels with shape=({length},), embeddings with shape={_shown(width)}"
        )
    return labels, ops.cast(embeddings, "float64" if embedding_dtype == "float64" else "float32")


def check_labels(labels):
    """Convert labels to class ids.

    Args:
        labels: class ids, integers of any width, shape `(B,)` or `(B, 1)`.

    Returns:
        int64, shape `(B,)`.

    Raises:
        ValueError: for labels that are one-hot or not integers, and wrong or unknown ranks.
    """
    labels = ops.convert_to_tensor(labels)
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
    # Under a distribution strategy Keras builds a model with the mean of the replicas' labels.
    if "int" not in dtype and not tf.distribute.in_cross_replica_context():
        reason = (
            "floats merge ids above 2^24. Cast them to int64; or, if they are integers, Keras made "
            "them floats for a function or lambda in `compile`: give it the object, such as "
            "TripletLoss(), and for a sum of losses WeightedSum([(TripletLoss(), 1.0), "
            "(ContrastiveLoss(), 0.5)])"
        )
        if "str" in dtype:
            reason = "number names by `np.unique(names, return_inverse=True)[1]`"
        raise ValueError(
            f"`labels` (`y_true`) must be integer class ids; {reason}. "
            f"Received: labels with dtype={dtype}"
        )
    return ops.cast(ops.reshape(labels, (-1,)), "int64")


def check_sample_weight(sample_weight, labels):
    """Convert the weights of anchors to a tensor.

    Args:
        sample_weight: numbers, shape `(B,)` or `(B, 1)`, or one for all; `None` for none.
        labels: what `check_labels` returned, `(B,)`.

    Returns:
        The tensor, or `None`.

    Raises:
        ValueError: for another shape. Keras would multiply each loss with a whole row.
    """
    if sample_weight is None:
        return None
    sample_weight = ops.convert_to_tensor(sample_weight)
    shape = _static_shape(sample_weight)
    if not shape:
        return sample_weight
    length = labels.shape[0]
    fits = len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, None))
    if not fits or (None not in (length, shape[0]) and shape[0] not in (1, length)):
        raise ValueError(
            "`sample_weight` must have shape `(B,)` or `(B, 1)`, a weight for each anchor. "
            f"Received: sample_weight with shape={shape}, labels with shape=({length},)"
        )
    return sample_weight


def _static_shape(tensor):
    """The shape with None for unknown lengths, or None if not even the rank is known."""
    try:
        return tuple(tensor.shape)
    except ValueError:  # what TensorFlow says of an unknown rank
        return None


def _shown(shape):
    return "unknown" if shape is None else tuple(shape)


def nan_unless_finite(*tensors):
    """0, or NaN if an input is not finite; add it to a loss so that divergence shows.

    Hinges and masks drop NaN: a diverged network would look like one that has learned everything,
    and nothing would stop it.

    Args:
        *tensors: floats of any shape.

    Returns:
        A scalar of the type of the first.
    """
    finite = [ops.all(ops.isfinite(tensor)) for tensor in tensors]
    finite = finite[0] if len(finite) == 1 else ops.logical_and(*finite)
    return ops.cast(ops.where(finite, 0.0, float("nan")), tensors[0].dtype)


def check_weights(name, weights, embeddings, axes):
    """Convert weights to a tensor whose vectors are as long as the embeddings.

    Args:
        name: of the argument, for the message.
        weights: floats of the shape that `axes` names.
        embeddings: shape `(B, D)`.
        axes: `"(C, D)"` or `"(C, K, D)"`.

    Returns:
        The weights as a tensor of the embeddings' type.

    Raises:
        ValueError: for another rank or length.
    """
    shape, dim = None, embeddings.shape[1]
    if weights is not None:
        weights = ops.cast(ops.convert_to_tensor(weights), embeddings.dtype)
        shape = _static_shape(weights)
    rank = axes.count(",") + 1
    fits = shape is not None and len(shape) == rank and None not in shape and shape[0] >= 2
    fits = fits and (dim is None or shape[-1] == dim)
    if not fits:
        raise ValueError(
            f"`{name}` must have a known shape `{axes}`, C at least 2 and D that of the embeddings."
            f" Received: {name} with shape={_shown(shape)}, embeddings with D={dim}"
        )
    return weights


def class_indices(labels, num_classes):
    """Refuse labels that are not class indices, as loudly as each mode allows.

    Args:
        labels: integers, shape `(B,)`.
        num_classes: C, how many classes there are.

    Returns:
        labels int32, -1 in place of those out of range, and a float32 `(B,)` to add to the losses:
        0, or NaN for a label out of range. In a graph an assertion stops at those first; XLA drops
        assertions, so there the loss becomes NaN.

    Raises:
        ValueError: eagerly, if a label is not in `[0, C)`.
    """
    labels = ops.cast(labels, "int64")
    in_range = ops.logical_and(labels >= 0, labels < num_classes)
    rule = f"`labels` must be class indices, at least 0 and below num_classes={num_classes}."
    if tf.executing_eagerly():
        if not bool(ops.all(in_range)):
            wrong = int(labels[ops.argmin(ops.cast(in_range, "int32"))])
            raise ValueError(f"{rule} Received: {wrong} among the labels")
    else:
        smallest, largest = ops.min(labels), ops.max(labels)
        received = [f"{rule} Received: labels from", smallest, "to", largest]
        with tf.control_dependencies([tf.debugging.Assert(ops.all(in_range), received)]):
            in_range = tf.identity(in_range)
    kept = ops.cast(ops.where(in_range, labels, -1), "int32")
    return kept, ops.where(in_range, 0.0, float("nan"))
