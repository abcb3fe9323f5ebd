"""Same or different? How well a distance tells pairs of one class from pairs of two.

A pair is called the same if its distance is at most a threshold. Over all thresholds that gives the
ROC curve: the true accept rate (TAR, share of the pairs of one class that are accepted) against the
false accept rate (FAR, share of the pairs of two classes that are accepted, also called false-match
rate). Terms as in ISO/IEC 19795-1 and NIST's face recognition tests.
"""

import math
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_number

PAIRS = 1_000_000  # of each kind: a hundred stand behind a false accept rate of 1e-4


# False accept rates at which a curve is drawn and thresholds are kept: 20 to each factor of ten.
FARS = tuple(10 ** (-step / 20) for step in range(121))


class Curve(NamedTuple):
    """An ROC curve at the rates that its pairs can tell, for pictures."""

    far: np.ndarray  # false accept rates, falling, float64 (T,)
    tar: np.ndarray  # true accept rate at each
    positive_pairs: int
    negative_pairs: int
    eer: float


class Roc:
    """The ROC curve of the distances of pairs.

    Pairs at one distance are accepted together, so ties count against: a network that maps all to
    one point has a true accept rate of 0 at every false accept rate below 1.

    Args:
        positive: distances of pairs of one class, floats, shape `(P,)`, at least one.
        negative: distances of pairs of two classes, floats, shape `(N,)`, at least one.

    Raises:
        ValueError: if one of them is no vector of finite numbers of at least 0, or empty.

    Example:

    >>> roc = Roc(*metrics.sample_distances(embeddings, labels, 1_000_000))
    >>> roc.eer, roc.tar_at(1e-3), roc.threshold_at(1e-3)
    """

    def __init__(self, positive, negative):
        self._positive = np.sort(_check_distances("positive", positive))
        self._negative = np.sort(_check_distances("negative", negative))

    @property
    def positive_pairs(self):
        """P, pairs of one class."""
        return len(self._positive)

    @property
    def negative_pairs(self):
        """N, pairs of two classes."""
        return len(self._negative)

    @property
    def auc(self):
        """Area under the curve: the share of (positive, negative) in which the positive is nearer.

        A tie counts half. 0.5 if the distances say nothing.
        """
        nearer = np.searchsorted(self._positive, self._negative, side="left").sum(dtype=np.int64)
        not_farther = np.searchsorted(self._positive, self._negative, side="right").sum(
            dtype=np.int64
        )
        return (int(nearer) + int(not_farther)) / (2 * self.positive_pairs * self.negative_pairs)

    @property
    def eer(self):
        """Equal error rate: where as many positive pairs are refused as negative ones accepted.

        On the straight line between the two points of the curve around it.
        """
        _, far, tar = self.curve()
        excess = far + tar - 1  # rises from -1 to 1
        after = int(np.argmax(excess >= 0))
        before = after - 1
        share = -excess[before] / (excess[after] - excess[before])
        return float(far[before] + share * (far[after] - far[before]))

    def curve(self):
        """The whole curve: a point for each distance, and one that accepts nothing.

        Returns:
            `(thresholds, far, tar)`, float64, shape `(T,)` each, rising; the first threshold is
            minus infinity.
        """
        thresholds = np.unique(np.concatenate([self._positive, self._negative]))
        thresholds = np.concatenate([[-np.inf], thresholds])
        far = np.searchsorted(self._negative, thresholds, side="right") / self.negative_pairs
        tar = np.searchsorted(self._positive, thresholds, side="right") / self.positive_pairs
        return thresholds, far, tar

    def sample(self):
        """The curve at some twenty false accept rates to each factor of ten.

        Returns:
            A `Curve`, down to the rate that one pair stands behind.
        """
        # At 1 everything is accepted; elsewhere only rates below are asked for.
        rates = [(1.0, 1.0), *((far, self.tar_at(far)) for far in FARS[1:])]
        far, tar = zip(*(pair for pair in rates if pair[1] is not None), strict=True)
        return Curve(
            np.array(far), np.array(tar), self.positive_pairs, self.negative_pairs, self.eer
        )

    def tar(self, threshold):
        """True accept rate: share of the positive pairs at most `threshold` apart."""
        return int(np.searchsorted(self._positive, threshold, side="right")) / self.positive_pairs

    def far(self, threshold):
        """False accept rate: share of the negative pairs at most `threshold` apart."""
        return int(np.searchsorted(self._negative, threshold, side="right")) / self.negative_pairs

    def accepted_at(self, far):
        """How many negative pairs a false accept rate lets through: what stands behind a figure.

        With 0 the rate cannot be told from so few pairs; with 10 it is known to about a third of
        itself, with 100 to a tenth, if pairs were independent, which those of one image are not.

        Args:
            far: false accept rate, above 0, below 1.

        Returns:
            An integer.
        """
        far = check_number("far", far, above=0, below=1)
        # A millionth of a million is 1, and not 0 by rounding.
        return math.floor(far * self.negative_pairs * (1 + 1e-12))

    def threshold_at(self, far):
        """The largest threshold with a false accept rate of at most `far`.

        Halfway between the farthest pair that is accepted and the nearest negative pair that must
        not be, so that the rounding of a distance decides nothing.

        Args:
            far: wanted false accept rate, above 0, below 1.

        Returns:
            A float; `None` if no threshold has that rate, or if there are fewer than `1 / far`
            negative pairs, which cannot tell.
        """
        accepted = self.accepted_at(far)
        if not accepted:
            return None
        refused = float(self._negative[accepted])
        if refused == 0:
            return None
        nearest = 0.0
        for distances in (self._positive, self._negative):
            nearer = int(np.searchsorted(distances, refused, side="left"))
            if nearer:
                nearest = max(nearest, float(distances[nearer - 1]))
        halfway = (nearest + refused) / 2
        return halfway if halfway < refused else nearest

    def tar_at(self, far):
        """True accept rate at a false accept rate.

        Args:
            far: false accept rate, above 0, below 1.

        Returns:
            A float, 0 if no threshold has that rate; `None` if there are fewer than `1 / far`
            negative pairs, which cannot tell.
        """
        if not self.accepted_at(far):
            return None
        threshold = self.threshold_at(far)
        return 0.0 if threshold is None else self.tar(threshold)


def _check_distances(name, distances):
    distances = np.asarray(distances)
    if distances.ndim != 1 or not len(distances) or distances.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be distances, numbers of shape (N,), at least one. "
            f"Received: {name} of shape {distances.shape} and dtype {distances.dtype}"
        )
    distances = distances.astype(np.float64)
    if not np.isfinite(distances).all() or distances.min() < 0:
        raise ValueError(
            f"`{name}` must be finite and at least 0. Received: {name} with "
            f"{distances[~(np.isfinite(distances) & (distances >= 0))][0]}"
        )
    return distances
