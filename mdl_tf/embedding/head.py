"""An embedding layer that begins from the data: set out of labelled features, before training.

>>> model = embedding_model(backbone, preprocess, embedding_dim=512, normalize_features=True)
>>> fit_head(model, batches.ordered(train))
Head(kind='whitened', shrinkage=1.0, ...)
"""

from typing import NamedTuple

import numpy as np

from mdl_tf.checks import HEADS, check_choice, check_integer, check_number
from mdl_tf.embedding import whitening
from mdl_tf.embedding.model import embed
from mdl_tf.embedding.parts import embedding_layer, feature_model, normalizes


class Head(NamedTuple):
    """How an embedding layer was set.

    kind: `"whitened"`, or `"pca"`. shrinkage: of the whitening, `None` for `"pca"`. scores: MAP@R
    of classes held out of the whitening, by shrinkage, where it was chosen; else empty. features:
    those of the images, `(N, F)`. labels: `(N,)`.
    """

    kind: str
    shrinkage: float | None
    scores: dict
    features: np.ndarray
    labels: np.ndarray

    def __repr__(self):
        scores = {key: round(value, 4) for key, value in self.scores.items()}
        return (
            f"Head(kind={self.kind!r}, shrinkage={self.shrinkage}, scores={scores}, "
            f"features of {len(self.features):,} images)"
        )


def fit_head(model, images, labels=None, *, head="whitened", shrinkage=None, seed=0, progress=None):
    """Set the embedding layer of a model from labelled images or features, without training.

    A random layer throws away more of good features than training can bring back; this one begins
    with what they tell about the classes. It is fitted on the images that it is given, which must
    be those of the training classes alone. `whitening` has the formula and its sources.

    Args:
        model: an embedding model, as `embedding_model` builds it; its embedding layer is changed.
            An F of 4,096 takes one to two minutes on two cores, 1,280 some seconds.
        images: batches of (images, labels) such as `batches.ordered(train)`, without augmentation;
            one array of them, `(N, H, W, 3)`; or features `(N, F)`, as `feature_model` makes them.
        labels: integers `(N,)` of an array. Defaults to `None`: the batches have them.
        head: `"whitened"`, within-class whitening and then its principal axes; or `"pca"`, the
            principal axes of the features. Defaults to `"whitened"`, which becomes `"pca"` where
            no class has two different images.
        shrinkage: of the whitening, above 0, about 0.1 to 10. Defaults to `None`: one of
            `whitening.SHRINKAGES`, by how well a whitening of one half of the classes retrieves the
            other half; 1 with fewer than four classes.
        seed: of the halves, and of axes beyond those that the images tell. Defaults to `0`.
        progress: as for `embed`. Defaults to `None`.

    Returns:
        A `Head`.

    Raises:
        ValueError: if the model has no such layer or more embeddings than features; if there are no
            labels, fewer than two classes, a feature that is not finite, or no two images differ.
    """
    check_choice("head", head, HEADS)
    if shrinkage is not None:
        check_number("shrinkage", shrinkage, above=0)
    check_integer("seed", seed, least=0)
    layer = embedding_layer(model)
    size, embedding_dim = layer.kernel.shape
    if embedding_dim > size:
        raise ValueError(
            f"`embedding_dim` must be at most the number of features, {size}, with "
            f"head={head!r}. Received: embedding_dim={embedding_dim}"
        )
    features, labels = _features_of(model, images, labels, progress)
    _check(features, labels, size)
    scatter, scores = whitening.measure_scatter(features, labels), {}
    if not scatter.has_any:
        raise ValueError(
            f"`images` must have features that differ. Received: {len(features):,} equal ones"
        )
    if head == "whitened" and not scatter.has_within:
        head = "pca"
    if head == "pca":
        shrinkage, chosen = None, whitening.principal_axes(scatter, embedding_dim, seed)
    else:
        if shrinkage is None:
            shrinkage, scores = whitening.choose_shrinkage(
                features, labels, unit_length=normalizes(model), seed=seed
            )
        chosen = whitening.whiten(scatter, embedding_dim, shrinkage, seed)
    layer.set_weights([chosen.kernel.astype(np.float32), chosen.bias.astype(np.float32)])
    return Head(head, shrinkage, scores, features, labels)


def _features_of(model, images, labels, progress):
    """Features (N, F) and labels (N,) of what `fit_head` was given."""
    # A model of features takes those as its input.
    if getattr(images, "ndim", None) != 2 or len(model.input_shape) == 2:
        features, own = embed(feature_model(model), images, progress=progress)
        labels = own if labels is None else labels
    else:
        features = np.asarray(images)
    if labels is None:
        raise ValueError(
            "`labels` must be given, or be in the batches of `images`. Received: labels=None"
        )
    return features, np.asarray(labels).reshape(-1)


def _check(features, labels, size):
    if features.shape != (len(labels), size):
        raise ValueError(
            f"`images` must be {len(labels):,} features of {size} numbers, one for each label. "
            f"Received: shape {features.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"`labels` must be integers. Received: {labels.dtype}")
    wrong = np.count_nonzero(~np.isfinite(features).all(axis=1))
    if wrong:
        raise ValueError(
            "`images` must have finite features. "
            f"Received: {wrong:,} of {len(features):,} with NaN or infinity"
        )
    classes = len(np.unique(labels))
    if classes < 2:
        raise ValueError(f"`labels` must be of two classes or more. Received: {classes}")
