"""Answers from neighbours: a class by vote, and which classes are confused with which."""

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """The class of a query by the vote of its neighbours."""

    label: str | None  # of the most weight; `None` if no neighbour has a label
    share: float  # of the weight of all, 0 to 1
    shares: dict  # of each label that was found, the largest first
    hits: list  # the neighbours


def vote(hits):
    """The class that the neighbours of a query vote for, each with one over its distance.

    Those at distance 0, if there are any, decide alone, as in scikit-learn's
    `KNeighborsClassifier(weights="distance")`. Equal shares are ordered by label.

    Args:
        hits: `Hit`s.

    Returns:
        An `Answer`.
    """
    labelled = [hit for hit in hits if hit.label is not None]
    if not labelled:
        return Answer(None, 0.0, {}, hits)
    same = [hit for hit in labelled if hit.distance == 0]
    weights = {}
    for hit in same or labelled:
        weight = 1.0 if same else 1 / hit.distance
        weights[hit.label] = weights.get(hit.label, 0.0) + weight
    whole = sum(weights.values())
    shares = {label: weights[label] / whole for label in sorted(weights)}
    shares = dict(sorted(shares.items(), key=lambda item: -item[1]))
    label, share = next(iter(shares.items()))
    return Answer(label, share, shares, hits)


class ClassRow(NamedTuple):
    """How often images of a class are taken for others."""

    label: str
    images: int
    right: float  # share of the images whose class was found
    confused_with: str | None  # the class they are most often taken for
    confused: int  # how many


class Confusion:
    """What classes were taken for what.

    Args:
        labels: true labels, n texts.
        answers: labels that were given, n texts or `None`.
    """

    def __init__(self, labels, answers):
        self.labels = sorted(set(labels) | {a for a in answers if a is not None})
        number = {label: i for i, label in enumerate(self.labels)}
        # The last column is for no answer.
        self.counts = np.zeros((len(self.labels), len(self.labels) + 1), np.int64)
        for label, answer in zip(labels, answers, strict=True):
            self.counts[number[label], number.get(answer, len(self.labels))] += 1

    @property
    def right(self):
        """Share of all images whose class was found."""
        return float(np.trace(self.counts)) / max(1, int(self.counts.sum()))

    def rows(self):
        """A `ClassRow` for each class that was asked for, the worst first."""
        rows = []
        for i, label in enumerate(self.labels):
            counts = self.counts[i]
            images = int(counts.sum())
            if not images:
                continue
            others = counts[:-1].copy()
            others[i] = 0
            most = int(others.argmax())
            other = self.labels[most] if others[most] else None
            rows.append(ClassRow(label, images, counts[i] / images, other, int(others[most])))
        return sorted(rows, key=lambda row: (row.right, -row.images, row.label))
