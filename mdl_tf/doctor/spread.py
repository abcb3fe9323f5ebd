"""Collapse: whether the embeddings still use the space that they have."""

import numpy as np

from mdl_tf.doctor import thresholds
from mdl_tf.doctor.finding import Finding, level, worst
from mdl_tf.metrics import retrieval

_PAIRS = 100_000


def effective_rank(embeddings):
    """How many directions the embeddings spread over, a number from 1 to the smaller of D, N - 1.

    With s the singular values of the embeddings less their mean, and p = s / sum(s), it is
    exp(-sum(p log p)): k if they spread evenly over k directions, and close to 1 if along a line.

    Args:
        embeddings: shape `(N, D)`, finite.

    Returns:
        A Python float; 0.0 if all embeddings are equal.

    Source: Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO
    2007, there of the matrix as it is; ours is centred, since a common offset of all embeddings
    tells no two of them apart.
    """
    embeddings = np.asarray(embeddings, np.float64)
    centred = embeddings - embeddings.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    # What rounding alone leaves of equal embeddings.
    if singular[0] <= 1e-6 * np.linalg.norm(embeddings):
        return 0.0
    share = singular / singular.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def mean_distance(embeddings, seed=0):
    """Mean Euclidean distance of two embeddings, in lengths of an embedding (their root mean
    square), so that it means the same with and without unit length.

    Args:
        embeddings: shape `(N, D)`, N at least 2.
        seed: of the sample of pairs, at most 100,000. Defaults to `0`.

    Returns:
        A Python float; 0.0 if all are zero.
    """
    everyone = np.zeros(len(embeddings), np.int64)
    distances, _ = retrieval.sample_distances(embeddings, everyone, _PAIRS, seed)
    length = np.sqrt(np.mean(np.sum(np.asarray(embeddings, np.float64) ** 2, axis=1)))
    return float(distances.mean() / length) if length else 0.0


def check_collapse(embeddings, labels, of, advice, available):
    """The finding about collapse.

    Args:
        embeddings: shape `(N, D)`.
        labels: class of each, shape `(N,)`.
        of: what they are of, such as "validation".
        advice: an `Advice`.
        available: number of training classes.

    Returns:
        A `Finding`.
    """
    distance, rank = mean_distance(embeddings), effective_rank(embeddings)
    size = embeddings.shape[1]
    look, wrong = _rank_bounds(size, len(np.unique(labels)))
    by_distance = level(distance, *thresholds.DISTANCE)
    verdict = worst(by_distance, level(rank, look, wrong))
    said = {
        "wrong": f"The network has collapsed: it maps the {of} classes almost to "
        f"{'one point' if by_distance == 'wrong' else 'one line'}",
        "look": f"The {of} classes lie close together",
        "ok": f"The {of} classes are spread out",
    }[verdict]
    return Finding(
        "collapse",
        verdict,
        f"{said}. Mean distance of two embeddings {distance:.2f} of their length (unrelated "
        f"ones: 1.41); effective rank {rank:.1f} of {size} dimensions.",
        f"look below a distance of {thresholds.DISTANCE[0]} or a rank of {look:.1f}, wrong below "
        f"{thresholds.DISTANCE[1]} or {wrong:.1f}.",
        (
            *advice.lower_rate(),
            *advice.softer(),
            *advice.more_classes(available),
            *advice.pooling(),
            *advice.clip(),
            *advice.pretrained(),
        ),
        {"mean_distance": distance, "effective_rank": rank, "dimensions": size},
    )


def _rank_bounds(size, classes):
    """The effective ranks of embeddings of `size` numbers that are too low: look, and wrong."""
    asked, demanded = (
        max(share * size, least)
        for share, least in zip(thresholds.RANK, thresholds.RANK_LEAST, strict=True)
    )
    look = min(asked, max(2.0, classes - 1), size / 2)
    return look, min(demanded, look / 1.5)
