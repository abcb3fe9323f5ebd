"""Linear maps from features to embeddings, out of labelled features and with no training. NumPy.

Within-class whitening, N features x of F numbers in the classes of the training set:

    m    the mean,  m_y the mean of a class
    S_w  the mean of (x - m_y)(x - m_y)', within the classes
    R    = S_w + shrinkage * trace(S_w) / F * I
    z    = R^(-1/2) (x - m), and of z the first D principal axes

Directions in which images of one class differ count less; what is left tells classes apart. It is
known as within-class covariance normalisation (Hatch, Kajarekar, Stolcke, "Within-class covariance
normalization for SVM-based speaker recognition", Interspeech 2006) and as learned whitening of
image retrieval (Mikolajczyk, Matas, "Improving descriptors for fast tree matching by optimal linear
projection", ICCV 2007; Radenovic, Tolias, Chum, "Fine-tuning CNN image retrieval with no human
annotation", TPAMI 2018).

Fewer images than numbers leave directions that no image of the training set has. The map keeps
those too, as the shrinkage alone scales them: first the principal axes, then random ones.
"""

from typing import NamedTuple

import numpy as np

from mdl_tf.metrics import map_at_r

# Of the mean variance within classes. With more it nears the principal axes of the features.
SHRINKAGES = (0.1, 0.3, 1.0, 3.0, 10.0)
# A half of the classes asks for more than all of them do, and the best values lie close together.
_AS_GOOD = 0.99
SHRINKAGE = 1.0  # where there are too few classes to choose
_MOST = 2000  # images of a half that a shrinkage is measured on: time grows with their square
_BLOCK = 4096  # features that are in float64 at once
# A length below this share of another is rounding of float32.
_NOTHING = 1e-6


class Scatter(NamedTuple):
    """What the maps are made from, in coordinates of `basis`, r of them."""

    mean: np.ndarray  # (F,)
    squared_length: float  # mean over the features
    basis: np.ndarray | None  # orthonormal columns (F, r); `None` if r = F
    total: np.ndarray  # covariance, (r, r)
    within: np.ndarray  # variances within the classes along their axes, (r,)
    within_axes: np.ndarray  # orthonormal columns (r, r)

    @property
    def has_any(self):
        """Whether features differ at all, by more than rounding."""
        return np.trace(self.total) > _NOTHING**2 * self.squared_length

    @property
    def has_within(self):
        """Whether images of a class differ at all."""
        return self.within.sum() > _NOTHING**2 * np.trace(self.total)


class LinearMap(NamedTuple):
    """Embeddings are `features @ kernel + bias`."""

    kernel: np.ndarray  # (F, D)
    bias: np.ndarray  # (D,)


def measure_scatter(features, labels):
    """Mean and covariances of labelled features.

    Args:
        features: floats `(N, F)`.
        labels: integers `(N,)`.

    Returns:
        A `Scatter`, float64.
    """
    size = features.shape[1]
    _, classes = np.unique(labels, return_inverse=True)
    counts = np.bincount(classes)
    sums = np.zeros((len(counts), size))
    for part in _blocks(len(features)):
        np.add.at(sums, classes[part], features[part].astype(np.float64))
    squared_length = sum(
        np.square(features[p], dtype=np.float64).sum() for p in _blocks(len(features))
    )
    mean, class_means = sums.sum(axis=0) / len(features), sums / counts[:, None]
    basis = None
    if len(features) <= size:
        # (N, F) is small: the directions that these features have at all.
        _, lengths, axes = np.linalg.svd(features.astype(np.float64) - mean, full_matrices=False)
        basis = axes[lengths > max(lengths[0], 1e-300) * size * np.finfo(np.float64).eps].T
    rank = size if basis is None else basis.shape[1]
    total, within = np.zeros((rank, rank)), np.zeros((rank, rank))
    for part in _blocks(len(features)):
        block = features[part].astype(np.float64)
        for covariance, centre in ((total, mean), (within, class_means[classes[part]])):
            deviations = block - centre
            deviations = deviations if basis is None else deviations @ basis
            covariance += deviations.T @ deviations
    variances, within_axes = np.linalg.eigh(within / len(features))
    # Rounding makes a variance of 0 a small negative one.
    return Scatter(
        mean,
        squared_length / len(features),
        basis,
        total / len(features),
        np.maximum(variances, 0),
        within_axes,
    )


def whiten(scatter, embedding_dim, shrinkage, seed=0):
    """Within-class whitening, then the first principal axes.

    Args:
        scatter: a `Scatter` with variance within classes.
        embedding_dim: D, at most F.
        shrinkage: above 0.
        seed: of the axes that no feature tells. Defaults to `0`.

    Returns:
        A `LinearMap` under which the features have a mean squared length of 1.
    """
    scales, floor = _scales(scatter, shrinkage)
    return _project(scatter, scatter.within_axes * scales, floor, embedding_dim, seed)


def principal_axes(scatter, embedding_dim, seed=0):
    """The first principal axes of the features.

    Args:
        scatter: a `Scatter`.
        embedding_dim: D, at most F.
        seed: of the axes that no feature tells. Defaults to `0`.

    Returns:
        A `LinearMap` under which the features have a mean squared length of 1.
    """
    return _project(scatter, np.eye(len(scatter.total)), 1.0, embedding_dim, seed)


def choose_shrinkage(features, labels, *, unit_length=True, shrinkages=SHRINKAGES, seed=0):
    """The shrinkage under which classes that a whitening was not made from retrieve best.

    The classes are cut into two halves. The whitening of each is measured on the other, by MAP@R;
    the smallest shrinkage within 1 % of the best is taken.

    Args:
        features: floats `(N, F)`.
        labels: integers `(N,)`.
        unit_length: whether embeddings are scaled to unit length. Defaults to `True`.
        shrinkages: what there is to choose from. Defaults to `SHRINKAGES`.
        seed: of the halves. Defaults to `0`.

    Returns:
        The shrinkage, and a dict from each one to its MAP@R; `SHRINKAGE` and an empty dict with
        fewer than four classes of two images or more.
    """
    classes, counts = np.unique(labels, return_counts=True)
    classes = np.random.default_rng(seed).permutation(classes[counts > 1])
    if len(classes) < 4:
        return SHRINKAGE, {}
    halves = classes[::2], classes[1::2]
    sums = dict.fromkeys(shrinkages, 0.0)
    for fitted, held_out in (halves, halves[::-1]):
        part = np.isin(labels, fitted)
        scatter = measure_scatter(features[part], labels[part])
        if not scatter.has_within:
            return SHRINKAGE, {}
        measured = _up_to(labels, held_out, _MOST)
        deviations = features[measured].astype(np.float64) - scatter.mean
        for shrinkage in shrinkages:
            vectors = _all_axes(deviations, scatter, shrinkage)
            if unit_length:
                vectors = vectors / np.maximum(
                    np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300
                )
            sums[shrinkage] += map_at_r(vectors.astype(np.float32), labels[measured]) / 2
    least = _AS_GOOD * max(sums.values())
    return min(shrinkage for shrinkage, value in sums.items() if value >= least), sums


def _blocks(count):
    return [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]


def _scales(scatter, shrinkage):
    """What R^(-1/2) does along each axis, (r,), and where there is no variance at all."""
    floor = shrinkage * scatter.within.sum() / len(scatter.mean)
    return (scatter.within + floor) ** -0.5, floor**-0.5


def _all_axes(deviations, scatter, shrinkage):
    """R^(-1/2) times each of (N, F) deviations from the mean, in some rotation."""
    scales, floor = _scales(scatter, shrinkage)
    if scatter.basis is None:
        return deviations @ scatter.within_axes * scales
    inside = deviations @ scatter.basis
    outside = deviations - inside @ scatter.basis.T
    return np.concatenate([inside @ scatter.within_axes * scales, outside * floor], axis=1)


def _project(scatter, kernel, floor, embedding_dim, seed):
    """The first principal axes of what a kernel (r, r) makes of the features, as a `LinearMap`."""
    variances, axes = np.linalg.eigh(kernel.T @ scatter.total @ kernel)
    kernel = kernel @ axes[:, ::-1][:, :embedding_dim]
    # The sign of an axis is the algorithm's: the largest entry is positive.
    kernel *= np.sign(kernel[np.abs(kernel).argmax(axis=0), np.arange(kernel.shape[1])])
    kept = variances[::-1][:embedding_dim].sum()
    if scatter.basis is not None:
        kernel = scatter.basis @ kernel
        missing = embedding_dim - kernel.shape[1]
        if missing > 0:
            outside = floor * _random_axes(scatter.basis, missing, seed)
            kernel = np.concatenate([kernel, outside], axis=1)
    kernel /= np.sqrt(kept)
    return LinearMap(kernel, -scatter.mean @ kernel)


def _random_axes(basis, count, seed):
    """Orthonormal columns (F, count) outside those of a basis."""
    axes = np.random.default_rng(seed).normal(size=(len(basis), count))
    for _ in range(2):  # once leaves rounding
        axes -= basis @ (basis.T @ axes)
    return np.linalg.qr(axes)[0]


def _up_to(labels, classes, most):
    """Mask of whole classes, in their order, of about `most` images, two classes at least."""
    counts = np.array([np.count_nonzero(labels == label) for label in classes])
    taken = max(2, int(np.searchsorted(np.cumsum(counts), most, side="right")))
    return np.isin(labels, classes[:taken])
