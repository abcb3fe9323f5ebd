"""Who is whose positive, and who is whose negative: boolean masks from labels."""

from keras import ops


def pair_masks(labels):
    """Masks of the positive and of the negative pairs of a batch.

    Args:
        labels: class of each image, integers of any width, shape `(B,)`.

    Returns:
        positives `(B, B)`: True at [i, j] iff i and j are distinct and share a label.
        negatives `(B, B)`: True at [i, j] iff i and j have different labels.
    """
    same = ops.equal(labels[:, None], labels[None, :])
    # By index, not by distance 0: duplicates are positives of each other.
    index = ops.arange(ops.shape(labels)[0])
    oneself = ops.equal(index[:, None], index[None, :])
    return ops.logical_and(same, ops.logical_not(oneself)), ops.logical_not(same)
