"""Embeddings and labels as arguments: arrays of what they hold, or one clear message."""

import numpy as np

LARGEST = 1e150  # squares of larger numbers overflow


def as_embeddings(embeddings, name):
    """Checks embeddings; returns float32 or float64, shape `(N, D)`, without loss of digits."""
    array = np.asarray(embeddings)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"`{name}` must have shape (N, D), neither of them 0. Received shape: {array.shape}"
        )
    # bfloat16 and its kin have kind "V", as plain bytes do, which cannot be cast.
    if array.dtype.kind not in "fiuV" or array.dtype.names or array.dtype.type is np.void:
        raise ValueError(f"`{name}` must be real numbers. Received dtype: {array.dtype}")
    small = array.dtype.kind in "fV" and array.dtype.itemsize <= 4
    array = array.astype(np.float32 if small else np.float64, copy=False)
    if not max(float(array.max()), -float(array.min())) < LARGEST:  # NaN compares false
        raise ValueError(
            f"`{name}` must be finite and below {LARGEST:g} in size. Received: "
            f"{np.isnan(array).sum()} NaN, {np.isinf(array).sum()} infinite, "
            f"smallest {array.min()}, largest {array.max()}"
        )
    return array


def as_labels(labels, name, length=None, of=None):
    """Checks labels, and that they are as many as the `length` rows of the argument `of`."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must be integers of shape (N,). "
            f"Received: dtype {array.dtype}, shape {array.shape}"
        )
    if length is not None and len(array) != length:
        raise ValueError(f"`{name}` must be as many as `{of}`. Received: {len(array)} and {length}")
    return array


def as_set(embeddings, labels, name, labels_name):
    """Checks embeddings and their labels; returns both as arrays."""
    embeddings = as_embeddings(embeddings, name)
    return embeddings, as_labels(labels, labels_name, len(embeddings), name)


def check_same_width(queries, gallery, name):
    """Checks that the argument `name` and the gallery have embeddings of one size."""
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"`{name}` and `gallery` must have the same D. "
            f"Received shapes: {queries.shape} and {gallery.shape}"
        )
