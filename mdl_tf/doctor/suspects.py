"""Labels that look wrong: images that lie inside another class, classes that are one or two.

Every class is its mean. An image is compared with the mean of the other images of its class, so
that it does not vouch for itself, and with the nearest mean of another class. A mean of few images
lies anywhere, so the nearest images have to agree before a label counts as wrong.
"""

from typing import NamedTuple

import numpy as np

from mdl_tf.doctor import thresholds
from mdl_tf.metrics import nearest_neighbors

_BLOCK = 2**22  # distances at a time
_CALIBRATED_ON = 1000  # images
_NEAR = 5  # classes that a class is compared with


class Suspects(NamedTuple):
    """What a set of embeddings says about its labels; N images of C classes."""

    looks_like: np.ndarray  # (N,) int64, the class of the nearest other mean
    score: np.ndarray  # (N,) 0 to 1, to sort by: odds / (odds + C - 1), at least 50 for C - 1
    odds: np.ndarray  # (N,) logarithm of p(other) / p(own); -inf if alone in its class
    near_own: np.ndarray  # (N,) int64, of the nearest images those of the own class
    near_other: np.ndarray  # (N,) int64, of the nearest images those of the other class
    sizes: np.ndarray  # (C,) int64, images of each class
    judged: np.ndarray  # (N,) bool, of a side of which the network knows enough
    right: dict  # for each side the share of images that are nearest to their own class's mean
    known: np.ndarray  # (C,) bool, classes of such a side
    own: np.ndarray  # (C,) share of a class's images that are nearest to its own mean
    pairs: list  # (class, class, distance in halves of one class), nearest first
    clumps: np.ndarray  # (C,) share of the spread explained by two clumps, NaN if there are none
    parts: dict  # from a class with clumps to the images of each, without suspects

    @property
    def order(self):
        """Judged images that lie nearer to another class than to their own.

        Those whose nearest images agree stand first, and among them the highest odds.
        """
        surest = np.lexsort([-self.odds, ~self.neighbors_agree])
        return surest[(self.odds > 0)[surest] & self.judged[surest]]

    @property
    def judges(self):
        """Whether anything can be said about labels."""
        return bool(self.judged.any())

    @property
    def neighbors_agree(self):
        """Whether most of an image's nearest images are of the other class, and none of its own."""
        able = np.minimum(thresholds.NEIGHBORS, self.sizes[self.looks_like])
        return (self.near_own == 0) & (2 * self.near_other > able)

    @property
    def is_counted(self):
        """Images that are suspects by `thresholds.SCORE` and by their neighbours, (N,)."""
        return self.judged & (self.score >= thresholds.SCORE) & self.neighbors_agree

    @property
    def counted(self):
        """How many they are."""
        return int(self.is_counted.sum())

    @property
    def median_size(self):
        """Images of a judged class, in the middle."""
        return float(np.median(self.sizes[self.known])) if self.known.any() else 0.0

    @property
    def one_class(self):
        """The pairs of classes that may be one under two names."""
        nearest = {}
        pairs = [(a, b, apart) for a, b, apart in self.pairs if self.known[a] and self.known[b]]
        for a, b, apart in pairs:
            nearest.setdefault(a, apart)
            nearest.setdefault(b, apart)
        usual = np.median(list(nearest.values())) if nearest else 0.0
        bound = min(thresholds.ONE_CLASS, thresholds.NEARER_THAN_USUAL * usual)
        return [pair for pair in pairs if pair[2] < bound]

    @property
    def two_classes(self):
        """Classes that may be two under one name, the likeliest first."""
        able = np.flatnonzero(self.known & np.isfinite(self.clumps))
        # In the middle of a few classes may be one that is two.
        if len(able) < 5:
            return []
        usual = np.median(self.clumps[able])
        above = self.clumps[able] / usual if usual else np.zeros(len(able))
        order = np.argsort(-above, kind="stable")
        return [int(able[i]) for i in order if above[i] >= thresholds.TWO_CLASSES]

    @property
    def scattered(self):
        """Classes whose images are nearer to other classes than to each other."""
        if not self.judges or np.median(self.own[self.known]) < 2 * thresholds.SCATTERED:
            return []
        return [int(c) for c in np.flatnonzero(self.known & (self.own < thresholds.SCATTERED))]


def find_suspects(embeddings, labels, sides=None):
    """Compares each image with the means of all classes.

    How likely a class is, given an image, is a softmax of -d²/T, with d the distance to the mean of
    the class and T such that the labels as they are get the largest likelihood: a network that is
    often wrong about right labels is sure of nothing. Training and validation classes have each
    their own T, since a network knows what it was trained on; where it knows too little of a side,
    nothing there is judged.

    Args:
        embeddings: shape `(N, D)`, finite.
        labels: ids 0 to C - 1, C at least 2, shape `(N,)`.
        sides: C names of sides. Defaults to `None`: all classes are of one.

    Returns:
        `Suspects`.

    To look for wrong labels among confident disagreements is the idea of [Northcutt et al., 2021](
    https://arxiv.org/abs/1911.00068), there with the probabilities of a classifier.
    """
    embeddings = np.asarray(embeddings, np.float64)
    embeddings = embeddings - embeddings.mean(axis=0)
    sizes = np.bincount(labels)
    sums = np.zeros((len(sizes), embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    means = sums / sizes[:, None]
    own = _to_own(embeddings, labels, sums, sizes)
    other, looks_like = _to_others(embeddings, labels, means)
    right = own < other
    further = np.where(np.isfinite(own), own - other, -np.inf)
    odds, judged, rights = np.empty(len(labels)), np.empty(len(labels), bool), {}
    sides = np.asarray(["all"] * len(sizes) if sides is None else sides)
    for side in np.unique(sides):
        part = (sides == side)[labels]
        temperature = _temperature(embeddings, labels, means, own, np.flatnonzero(part))
        odds[part] = further[part] / temperature
        rights[str(side)] = float(right[part].mean())
        judged[part] = rights[str(side)] >= thresholds.JUDGES
    known = np.zeros(len(sizes), bool)
    known[labels[judged]] = True
    chances = max(thresholds.LEAST_CLASSES, len(sizes) - 1)
    # exp of a large number overflows on the way to 0.
    score = 1 / (1 + chances * np.exp(-np.clip(odds, -600, 600)))
    near, _ = nearest_neighbors(embeddings, k=min(thresholds.NEIGHBORS, len(labels) - 1))
    suspects = Suspects(
        looks_like,
        score,
        odds,
        np.sum(labels[near] == labels[:, None], axis=1),
        np.sum(labels[near] == looks_like[:, None], axis=1),
        sizes,
        judged,
        rights,
        known,
        np.bincount(labels, weights=right) / sizes,
        _pairs(means, _within(embeddings, labels, means, sizes), sizes),
        np.full(len(sizes), np.nan),
        {},
    )
    clumps, parts = _clumps(embeddings, labels, len(sizes), ~suspects.is_counted)
    return suspects._replace(clumps=clumps, parts=parts)


def _to_own(embeddings, labels, sums, sizes):
    """Squared distance of each image to the mean of the others of its class; inf if alone."""
    rest_sizes = sizes[labels] - 1
    rest = (sums[labels] - embeddings) / np.maximum(rest_sizes, 1)[:, None]
    squared = np.sum((embeddings - rest) ** 2, axis=1)
    return np.where(rest_sizes > 0, squared, np.inf)


def _squared(embeddings, means):
    """Squared distances, `(N, D), (C, D) -> (N, C)`."""
    products = embeddings @ means.T
    norms = np.sum(embeddings**2, axis=1)[:, None] + np.sum(means**2, axis=1)
    return np.maximum(norms - 2 * products, 0)


def _to_others(embeddings, labels, means):
    """Squared distance to the nearest mean of another class, and which class that is."""
    nearest, which = np.empty(len(labels)), np.empty(len(labels), np.int64)
    rows = max(1, _BLOCK // len(means))
    for start in range(0, len(labels), rows):
        part = slice(start, start + rows)
        squared = _squared(embeddings[part], means)
        squared[np.arange(len(squared)), labels[part]] = np.inf
        which[part] = squared.argmin(axis=1)
        nearest[part] = squared.min(axis=1)
    return nearest, which


def _temperature(embeddings, labels, means, own, members):
    """The T under which the labels are likeliest, from some of the images."""
    able = members[np.isfinite(own[members])]
    some = np.random.default_rng(0).permutation(able)[:_CALIBRATED_ON]
    squared = _squared(embeddings[some], means)
    rows = np.arange(len(some))
    squared[rows, labels[some]] = own[some]
    squared -= squared.min(axis=1, keepdims=True)
    scale = (squared.mean() if len(some) else 0.0) or 1.0
    best = None
    for temperature in scale * np.geomspace(1e-4, 10, 41):
        likely = np.exp(-squared / temperature).sum(axis=1)
        cost = np.sum(squared[rows, labels[some]] / temperature + np.log(likely))
        if best is None or cost < best[0]:
            best = cost, temperature
    return best[1]


def _within(embeddings, labels, means, sizes):
    """Variance of each class around its mean, all directions together; 0 for single images."""
    squared = np.sum((embeddings - means[labels]) ** 2, axis=1)
    return np.bincount(labels, weights=squared, minlength=len(sizes)) / np.maximum(sizes - 1, 1)


def _pairs(means, within, sizes):
    """Near pairs of classes with their distance over that of two halves of one class."""
    count = min(_NEAR, len(means) - 1)
    near, distances = nearest_neighbors(means, k=count)
    pairs = {}
    for a in range(len(means)):
        for b, distance in zip(near[a].tolist(), distances[a].tolist(), strict=True):
            total = sizes[a] + sizes[b]
            spread = (sizes[a] * within[a] + sizes[b] * within[b]) / total
            by_lot = spread * (1 / sizes[a] + 1 / sizes[b])
            if by_lot > 0:
                pairs[min(a, b), max(a, b)] = distance**2 / by_lot
    return sorted(((a, b, float(apart)) for (a, b), apart in pairs.items()), key=lambda p: p[2])


def _clumps(embeddings, labels, count, kept):
    """How much of the spread of each class its two clumps explain, and which images are in them."""
    shares, parts = np.full(count, np.nan), {}
    order = np.flatnonzero(kept)
    order = order[np.argsort(labels[order], kind="stable")]
    ends = np.cumsum(np.bincount(labels[order], minlength=count))
    for c, members in enumerate(np.split(order, ends[:-1])):
        if len(members) < thresholds.TWO_CLASSES_IMAGES:
            continue
        centred = embeddings[members] - embeddings[members].mean(axis=0)
        first = two_clumps(centred)
        sizes = np.array([first.sum(), (~first).sum()])
        shares[c] = 0.0
        if sizes.min() >= thresholds.TWO_CLASSES_PART * len(members):
            # Both sums are equal but for their sign.
            between = np.sum(centred[first].sum(axis=0) ** 2) * (1 / sizes).sum()
            shares[c] = between / np.sum(centred**2)
        parts[c] = members[first], members[~first]
    return shares, parts


def two_clumps(embeddings):
    """Two clumps of the embeddings of one class, by k-means from both ends of its longest axis.

    Args:
        embeddings: shape `(N, D)`.

    Returns:
        A mask `(N,)` of the first clump.
    """
    centred = embeddings - embeddings.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    first = centred @ axis > 0
    for _ in range(20):
        if first.all() or not first.any():
            break
        middles = np.stack([centred[first].mean(axis=0), centred[~first].mean(axis=0)])
        squared = _squared(centred, middles)
        moved = squared[:, 0] < squared[:, 1]
        if np.array_equal(moved, first):
            break
        first = moved
    return first
