"""Reductions over the positives and the negatives of each anchor, `(B, M) -> (B,)`.

M are the references, in most cases the batch itself. All use memory that grows with B M; no triplet
is stored.
"""

from keras import ops


def valid_anchors(positives, negatives):
    """Whether each anchor has at least one positive and one negative, shape `(B,)`."""
    return ops.logical_and(ops.any(positives, axis=1), ops.any(negatives, axis=1))


def farthest_and_nearest(distances, positives, negatives):
    """The farthest positive and the nearest negative of each anchor.

    Args:
        distances: shape `(B, M)`.
        positives: mask, shape `(B, M)`.
        negatives: mask, shape `(B, M)`.

    Returns:
        Farthest, nearest `(B,)`, both 0 for anchors that lack a positive or a negative, and the
        mask of those that do not, `(B,)`.
    """
    valid = valid_anchors(positives, negatives)
    infinity = float("inf")
    # `initial`, since a replica may have no anchors, which `ops.max` refuses in eager mode.
    farthest = ops.max(ops.where(positives, distances, -infinity), axis=1, initial=-infinity)
    nearest = ops.min(ops.where(negatives, distances, infinity), axis=1, initial=infinity)
    return ops.where(valid, farthest, 0.0), ops.where(valid, nearest, 0.0), valid


def log_sum_exp(values, mask):
    """Logarithm of the sum of exponentials over the masked entries of each row.

    Args:
        values: finite where the mask is True, shape `(N, M)`.
        mask: booleans, shape `(N, M)`.

    Returns:
        Shape `(N,)`; minus infinity, with gradient 0, for a row without entries.
    """
    masked = ops.where(mask, values, -float("inf"))
    largest = ops.max(masked, axis=1, initial=-float("inf"))
    present = largest > -float("inf")
    # It only keeps the exponentials in range, the value does not depend on it.
    largest = ops.stop_gradient(ops.where(present, largest, 0.0))
    total = ops.where(present, ops.sum(ops.exp(masked - largest[:, None]), axis=1), 1.0)
    return ops.where(present, largest + ops.log(total), -float("inf"))


def soft_violation(distances, positives, negatives, margin, sharpness):
    """How far the farthest positive and the nearest negative are from their order, softly.

    Args:
        distances: shape `(B, M)`.
        positives: mask, shape `(B, M)`.
        negatives: mask, shape `(B, M)`.
        margin: the gap asked for.
        sharpness: g, how much the extremes count above the others.

    Returns:
        `margin + (1/g) log sum_p exp(g D_ip) + (1/g) log sum_n exp(-g D_in)`, finite, `(B,)`, and
        the mask of the anchors that have a positive and a negative, `(B,)`.
    """
    valid = valid_anchors(positives, negatives)
    scaled = sharpness * distances
    # The infinities of anchors without a positive or a negative end here.
    pull = ops.where(valid, log_sum_exp(scaled, positives), 0.0)  # (B, M) -> (B,)
    push = ops.where(valid, log_sum_exp(-scaled, negatives), 0.0)
    return margin + (pull + push) / sharpness, valid


def count(mask, dtype):
    """How many entries are True, as a float."""
    return ops.sum(ops.cast(mask, dtype))


def spread(rows, terms, references=None):
    """Losses whose plain mean over the batch is the mean over the terms that make up the rows.

    Args:
        rows: sum of the terms of each anchor, shape `(B,)`.
        terms: how many terms of these anchors are averaged, a scalar float.
        references: the `References` of the anchors, which may be a share of the batch. Defaults to
            `None`: they are the batch.

    Returns:
        `B / terms * rows`, shape `(B,)`, with B and terms of the whole batch; all 0 if there are no
        terms, as the rows are.
    """
    size, terms = ops.shape(rows)[0], ops.cast(terms, rows.dtype)
    if references is not None and references.recorder is not None:
        return references.recorder.record(rows, terms)
    if references is not None:
        size, terms = references.anchors, references.total(terms)
    return rows * (ops.cast(size, rows.dtype) / ops.maximum(terms, 1))


def mean_over_valid(values, valid, references=None):
    """Values whose plain mean over the batch is the mean over the valid anchors.

    Args:
        values: a term per anchor, shape `(B,)`; finite where not valid too.
        valid: booleans, shape `(B,)`.
        references: as in `spread`. Defaults to `None`.

    Returns:
        `B / V * values` where valid, else 0, shape `(B,)`; with V = 0 all 0.
    """
    return spread(ops.where(valid, values, 0.0), count(valid, values.dtype), references)
