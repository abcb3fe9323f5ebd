"""What the losses with a vector for each training class share: labels, weights, cosines."""

import keras
from keras import ops

from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.checks import (
    MOST_CLASSES,
    check_batch,
    check_count,
    check_weights,
    class_indices,
    nan_unless_finite,
)
from mdl_tf.losses.distances import cosine_similarity


def cosines_to_classes(labels, embeddings, proxies):
    """Cosines between images and the proxies of the classes.

    Args:
        labels: class indices, integers, shape `(B,)` or `(B, 1)`.
        embeddings: floats, shape `(B, D)`.
        proxies: a vector for each class, shape `(C, D)`.

    Returns:
        cosines `(B, C)`; indices, the labels as int32 `(B,)`, -1 where they are none; and refused
        `(B,)`, to add to the losses: 0, or NaN where a label is no class index and no error could
        be raised, or if anything is not finite.

    Raises:
        ValueError: for labels or shapes that do not fit.
    """
    labels, embeddings = check_batch(labels, embeddings)
    proxies = check_weights("proxies", proxies, embeddings)
    indices, refused = class_indices(labels, proxies.shape[0])
    refused = ops.cast(refused, embeddings.dtype) + nan_unless_finite(embeddings, proxies)
    return cosine_similarity(embeddings, proxies), indices, refused


def own_class(indices, num_classes):
    """Mask of each image's own class, `(B,) -> (B, C)`."""
    return ops.equal(indices[:, None], ops.arange(num_classes, dtype="int32")[None, :])


def cross_entropy(logits, indices):
    """`-log softmax` at the own class of each image.

    Args:
        logits: shape `(B, C)`.
        indices: class indices, int32, shape `(B,)`.

    Returns:
        Shape `(B,)`.
    """
    # What is no index has been refused before; the fused operation would do it with fewer words.
    return ops.sparse_categorical_crossentropy(ops.maximum(indices, 0), logits, from_logits=True)


class ClassLoss(MetricLoss):
    """Base of the losses with a proxy for each class: `MetricModel(embedder, loss)` trains them.

    Args:
        num_classes: C, how many classes the labels 0 to C - 1 have, at least 2 and below 2^24.
        settings: the keyword arguments of the function.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings that are not allowed.
    """

    def __init__(self, num_classes, settings, **options):
        check_count("num_classes", num_classes, least=2, below=MOST_CLASSES)
        super().__init__(settings, num_classes=num_classes, **options)

    def weight_specs(self, embedding_dim):
        # About unit length: the learning rate then means the same at every D. Only the direction
        # enters the loss.
        spread = keras.initializers.RandomNormal(stddev=embedding_dim**-0.5)
        return {"proxies": ((self.num_classes, embedding_dim), spread)}
