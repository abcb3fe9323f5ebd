"""The definitions as plain Python loops, in float64; imports NumPy only."""

import math

import numpy as np


def distance(a, b, kind):
    if kind == "cosine":
        norms = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
        return 1 - (float(a @ b) / norms if norms else 0.0)
    squared = sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))
    return squared if kind == "squared_euclidean" else math.sqrt(squared)


def violations(labels, embeddings, *, margin, distance_kind):
    """v_i of each anchor, or None where it has no positive or no negative."""
    result = []
    for i in range(len(labels)):
        positives, negatives = [], []
        for j in range(len(labels)):
            if j != i:
                d = distance(embeddings[i], embeddings[j], distance_kind)
                (positives if labels[j] == labels[i] else negatives).append(d)
        counts = positives and negatives
        result.append(margin + max(positives) - min(negatives) if counts else None)
    return result


def margin_discriminate(labels, embeddings, *, margin, sharpness, distance_kind, form):
    """l_i of each anchor that counts, by the double sum itself; None for the others."""
    if form == "hardest":
        found = violations(labels, embeddings, margin=margin, distance_kind=distance_kind)
        return [None if v is None else max(0.0, v) for v in found]
    losses = []
    for i in range(len(labels)):
        total, pairs = 0.0, 0
        for p in range(len(labels)):
            if p == i or labels[p] != labels[i]:
                continue
            for n in range(len(labels)):
                if labels[n] == labels[i]:
                    continue
                gap = distance(embeddings[i], embeddings[p], distance_kind) - distance(
                    embeddings[i], embeddings[n], distance_kind
                )
                total += math.exp(sharpness * (gap + margin))
                pairs += 1
        if not pairs:
            losses.append(None)
        elif form == "smooth":
            losses.append(math.log(1 + total) / sharpness)
        else:
            losses.append(max(0.0, math.log(total) / sharpness))
    return losses


def per_anchor(losses):
    """What a loss function returns for them: B / V times each, 0 for those that do not count."""
    counted = [value for value in losses if value is not None]
    scale = len(losses) / max(1, len(counted))
    return np.array([0.0 if value is None else scale * value for value in losses])


def gradient(function, embeddings, step=1e-6):
    """Central differences of a scalar function of a float64 matrix."""
    result = np.zeros_like(embeddings)
    for index in np.ndindex(*embeddings.shape):
        ahead, behind = embeddings.copy(), embeddings.copy()
        ahead[index] += step
        behind[index] -= step
        result[index] = (function(ahead) - function(behind)) / (2 * step)
    return result
