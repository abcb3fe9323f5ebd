"""Thresholds for "the same or not", settled on some classes and used on others."""

import json
import math
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_integer, check_number
from mdl_tf.metrics.retrieval import sample_distances
from mdl_tf.metrics.verification import FARS, PAIRS, Curve, Roc

_VERSION = 1
_FEW_CLASSES = 10
_FARS = FARS[6:]  # of those above, nothing is asked


class Point(NamedTuple):
    """A threshold, and what it gave on the classes that it was settled on."""

    far: float  # false accept rate that it keeps
    threshold: float  # the largest distance that is called the same
    tar: float  # true accept rate
    accepted: int  # pairs of two classes behind the rate: how many were called the same at most


class Calibration:
    """What a distance means: thresholds by false accept rate.

    `calibrate` makes one; it is kept as JSON with a run and an index.

    Args:
        points: `Point`s, the largest rate first.
        positive_pairs: pairs of one class that were looked at.
        negative_pairs: pairs of two classes.
        classes: that the pairs came from.
        eer: equal error rate.
        auc: area under the ROC curve.
        source: what the classes were, in words.
    """

    def __init__(self, points, *, positive_pairs, negative_pairs, classes, eer, auc, source):
        self.points = tuple(Point(*point) for point in points)
        self.positive_pairs, self.negative_pairs = positive_pairs, negative_pairs
        self.classes, self.eer, self.auc, self.source = classes, eer, auc, source

    @property
    def has_few_classes(self):
        """Whether it comes from so few classes that its thresholds say little of others."""
        return self.classes < _FEW_CLASSES

    def point(self, far):
        """The largest threshold that keeps a false accept rate.

        Args:
            far: above 0, below 1.

        Returns:
            A `Point`, of this rate or the next lower one that is kept.

        Raises:
            ValueError: if `far` is no such rate, or so low that the pairs cannot tell.
        """
        far = check_number("far", far, above=0, below=1)
        for point in self.points:
            if point.far <= far * (1 + 1e-9):
                return point
        least = self.points[-1].far if self.points else None
        raise ValueError(
            "`far` must be a false accept rate that the calibration can tell, "
            + (f"at least {least:.1g}" if least else "of which there is none")
            + f": it saw {self.negative_pairs:,} pairs of two classes. Received: far={far:g}"
        )

    @property
    def curve(self):
        """The ROC curve at the rates that are kept, a `verification.Curve`."""
        far, _, tar, _ = np.array(self.points, np.float64).reshape(-1, 4).T
        return Curve(far, tar, self.positive_pairs, self.negative_pairs, self.eer)

    def to_json(self):
        """As text, for `from_json`."""
        kept = {"version": _VERSION, **vars(self)}
        kept["points"] = [[float(f"{number:.9g}") for number in point] for point in self.points]
        return json.dumps(kept, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text):
        """A calibration from its text.

        Raises:
            ValueError: if it is none.
        """
        try:
            kept = json.loads(text)
            if kept.pop("version") != _VERSION:
                raise ValueError("is of another version")
            points = kept.pop("points")
            return cls([(*map(float, p[:3]), int(p[3])) for p in points], **kept)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ValueError(f"The calibration must be one that was kept. Received: {error}") from (
                error
            )

    def __repr__(self):
        return (
            f"Calibration(EER {self.eer:.3f}, on {self.negative_pairs:,} pairs of "
            f"{self.classes:,} classes, {self.source!r})"
        )


def calibrate(embeddings, labels, *, pairs=PAIRS, seed=0, source=""):
    """Settles thresholds on labelled embeddings: of classes that are not those of the test.

    Args:
        embeddings: floats, shape `(N, D)`.
        labels: class of each, integers, shape `(N,)`; at least two, one with two images.
        pairs: of each kind that are drawn at most. Defaults to 1,000,000.
        seed: of the draw. Defaults to `0`.
        source: what the classes are, in words. Defaults to `""`.

    Returns:
        A `Calibration`; its thresholds are for the Euclidean distance.

    Raises:
        ValueError: if there is no pair of one class, or of two.
    """
    pairs = check_integer("pairs", pairs, least=1)
    positive, negative = sample_distances(embeddings, labels, pairs, seed)
    if not len(positive) or not len(negative):
        raise ValueError(
            "`labels` must hold a class with two images, and two classes. "
            f"Received: {len(positive):,} pairs of one class, {len(negative):,} of two"
        )
    roc = Roc(positive, negative)
    points = []
    for far in _FARS:
        threshold = roc.threshold_at(far)
        if threshold is not None:
            points.append((far, threshold, roc.tar(threshold), roc.accepted_at(far)))
    return Calibration(
        points,
        positive_pairs=roc.positive_pairs,
        negative_pairs=roc.negative_pairs,
        classes=len(np.unique(labels)),
        eer=roc.eer,
        auc=roc.auc,
        source=source,
    )


def describe(calibration):
    """A calibration as lines of text, for people.

    Args:
        calibration: a `Calibration`.

    Returns:
        A string of several lines.
    """
    lines = [
        f"Same or different: equal error rate {calibration.eer:.3f} on {calibration.classes:,} "
        f"classes ({calibration.positive_pairs:,} pairs of one class, "
        f"{calibration.negative_pairs:,} of two).",
        "A pair is called the same up to a threshold: falsely if it is of two classes.",
        "  false accept rate   threshold   true accept rate   pairs behind",
    ]
    for point in _round_points(calibration):
        lines.append(
            f"  {_odds(point.far):>17}   {point.threshold:9.4f}   {point.tar:16.1%}   "
            f"{point.accepted:12,}"
        )
    if calibration.has_few_classes:
        lines.append(
            "  So few classes say little: with others the rates may be several times these."
        )
    return "\n".join(lines)


def try_thresholds(calibration, roc):
    """What the thresholds of a calibration give on other classes than they were settled on.

    Args:
        calibration: a `Calibration`.
        roc: the `verification.Roc` of the other classes.

    Returns:
        A list of dicts with `far`, `threshold`, `far_here`, `tar_here`, for round rates.
    """
    return [
        {
            "far": 10.0 ** -_exponent(point.far),
            "threshold": point.threshold,
            "far_here": roc.far(point.threshold),
            "tar_here": roc.tar(point.threshold),
        }
        for point in _round_points(calibration)
    ]


def describe_trial(rows):
    """What `try_thresholds` gave as lines of text, for people.

    Args:
        rows: a list of dicts.

    Returns:
        A string of several lines.
    """
    lines = [
        "The thresholds that were settled on the validation classes, tried here:",
        "  false accept rate: wanted        here   threshold   true accept rate",
    ]
    for row in rows:
        here = f"1 in {1 / row['far_here']:,.0f}" if row["far_here"] else "none"
        lines.append(
            f"  {_odds(row['far']):>25}   {here:>9}   {row['threshold']:9.4f}   "
            f"{row['tar_here']:16.1%}"
        )
    return "\n".join(lines)


def _round_points(calibration):
    """The points at false accept rates of 0.1, 0.01 and so on."""
    return [
        point
        for point in calibration.points
        if math.isclose(point.far, 10.0 ** -_exponent(point.far), rel_tol=1e-6)
    ]


def _exponent(far):
    return -round(math.log10(far))


def _odds(far):
    return f"1 in {10 ** _exponent(far):,}"
