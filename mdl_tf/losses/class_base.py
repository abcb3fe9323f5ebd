"""What the losses with a vector for each training class share: masks, cross-entropy, weights."""

import keras
import numpy as np
from keras import ops

from mdl_tf.checks import check_integer
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.checks import MOST_CLASSES
from mdl_tf.losses.space import Range

# What is searched of the proxies: a factor on their learning rate. Papers have 1, and 100
# (Proxy-Anchor, SoftTriple).
RATE_FACTOR = Range(0.1, 1000, log=True)
_NUDGE = 0.01  # of the length of a proxy


def own_class(labels, num_classes):
    """Mask of the class of each image, class indices `(B,)` -> `(B, C)`."""
    return ops.equal(labels[:, None], ops.arange(num_classes, dtype="int32")[None, :])


def cross_entropy(logits, labels):
    """`-log softmax` at the class of each image.

    Args:
        logits: shape `(B, C)`.
        labels: class indices, int32, shape `(B,)`.

    Returns:
        Shape `(B,)`.
    """
    # `guard` has refused the -1 of a label out of range; the fused operation would say less.
    return ops.sparse_categorical_crossentropy(ops.maximum(labels, 0), logits, from_logits=True)


class ClassLoss(MetricLoss):
    """Base of the losses with a proxy for each class: `MetricModel(embedder, loss)` trains them.

    Args:
        num_classes: C, how many classes the labels 0 to C - 1 have, at least 2 and below 2^24.
        settings: the keyword arguments of the function.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Raises:
        ValueError: for settings that are not allowed.
    """

    positives = "none"
    gap = 0.0
    proxies = "proxies"

    def __init__(self, num_classes, settings, **options):
        check_integer("num_classes", num_classes, least=2, below=MOST_CLASSES)
        super().__init__(settings, num_classes=num_classes, **options)

    def weight_specs(self, embedding_dim):
        # About unit length: the learning rate then means the same at every D. Only the direction
        # enters the loss.
        spread = keras.initializers.RandomNormal(stddev=embedding_dim**-0.5)
        return {self.proxies: ((self.num_classes, embedding_dim), spread)}

    def first_weights(self, embeddings, labels, seed=0):
        """As `MetricLoss.first_weights`: each proxy is the mean of its class, of unit length.

        Where a class has several, each is the mean of a part of its images.
        """
        rng = np.random.default_rng(seed)
        shape, _ = self.weight_specs(embeddings.shape[1])[self.proxies]
        proxies = rng.normal(size=shape).reshape(self.num_classes, -1, shape[-1])
        proxies /= np.linalg.norm(proxies, axis=-1, keepdims=True)
        for label in np.unique(labels):
            own = rng.permutation(np.flatnonzero(labels == label))
            for k, random in enumerate(proxies[label]):
                # Of few images each has some, and random numbers keep equal ones apart.
                part = own[k % len(own) :: proxies.shape[1]]
                mean = embeddings[part].mean(axis=0, dtype=np.float64)
                length = np.linalg.norm(mean)
                if length > 0:
                    nudge = _NUDGE * random if proxies.shape[1] > 1 else 0
                    proxies[label, k] = mean / length + nudge
        proxies /= np.linalg.norm(proxies, axis=-1, keepdims=True)
        return {self.proxies: proxies.reshape(shape).astype(np.float32)}
