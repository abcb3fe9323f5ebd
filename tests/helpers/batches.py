"""Batches that can tell right from wrong."""

import numpy as np


def mixed_batch(seed=0, dim=6, dtype="float64"):
    """Unit vectors of four tight or loose classes of 4, 3, 2 and 1 images, shuffled.

    With a margin of 0.2 some anchors are easy and some are violated, and the last has no positive.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, dim))
    labels = np.repeat([7, 3, 11, 5], [4, 3, 2, 1])
    spread = np.repeat([0.08, 1.2, 0.6, 0.1], [4, 3, 2, 1])[:, None]
    embeddings = centres[np.repeat(np.arange(4), [4, 3, 2, 1])] + spread * rng.normal(
        size=(10, dim)
    )
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    order = rng.permutation(10)
    return labels[order], embeddings[order].astype(dtype)
