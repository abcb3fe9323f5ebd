"""Answers from neighbours: a class by vote, and which classes are confused with which."""

from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.index.searching import as_hit

_PART = 2048  # rows that are classified at a time


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


def classify_each(store, searcher, k, progress=None):
    """Classify every image of an index by the others.

    Args:
        store: of the index.
        searcher: of the index.
        k: images that vote.
        progress: a function of (images done, images). Defaults to `None`.

    Returns:
        The labels of the images, and an `Answer` for each.

    Raises:
        ValueError: if `k` is no integer above 0.
    """
    k = check_integer("k", k, least=1)
    labels, answers = [], []
    for rows, vectors in store.walk(_PART):
        nearest = searcher.nearest(vectors, k + 1)
        for row, pairs in zip(rows, nearest, strict=True):
            # Itself is among them, but where more than k are equal to it.
            others = [pair for pair in pairs if pair[0].place != row.place][:k]
            labels.append(row.label)
            answers.append(vote([as_hit(*pair) for pair in others]))
        if progress:
            progress(len(labels), len(store))
    return labels, answers


class ClassRow(NamedTuple):
    """How often images of a class are taken for others."""

    label: str
    images: int
    right: float  # share of the images whose class was found
    confused_with: str | None  # the class they are most often taken for
    confused: int  # how many


class Mistake(NamedTuple):
    """Images of one class that were taken for another."""

    label: str
    taken_for: str | None  # `None` for no class
    times: int
    images: int  # of the class


class Confusion:
    """What classes were taken for what.

    Args:
        labels: true labels, n texts.
        answers: labels that were given, n texts or `None`.

    Attributes:
        labels: all labels, sorted, C texts.
        counts: images of a class (row) that were taken for another (column), in the order of
            `labels`, and in the last column for none, int64 `(C, C + 1)`.
    """

    HEAD = ("class", "images", "right", "taken_for", "times")

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

    def pairs(self):
        """A `Mistake` for each class and other one that it was taken for, the most frequent first.

        Equal ones by their share of the class, then by label.
        """
        counts = self.counts.copy()
        np.fill_diagonal(counts, 0)
        sizes, names = self.counts.sum(axis=1), [*self.labels, None]
        mistakes = [
            Mistake(self.labels[i], names[j], int(counts[i, j]), int(sizes[i]))
            for i, j in np.argwhere(counts).tolist()
        ]
        return sorted(mistakes, key=lambda m: (-m.times, m.images, m.label, m.taken_for or ""))

    def cells(self):
        """Rows of a table with the columns `HEAD`: the worst class first, and all its mistakes.

        A class without a mistake has one row, with nothing in the last two columns.
        """
        of_class = {}
        for mistake in self.pairs():
            of_class.setdefault(mistake.label, []).append(mistake)
        for row in self.rows():
            told = [row.label, row.images, f"{row.right:.4f}"]
            for mistake in of_class.get(row.label, ()):
                yield [*told, mistake.taken_for or "", mistake.times]
            if row.label not in of_class:
                yield [*told, "", ""]

    def worst(self, most):
        """The worst classes, each with those that it is taken for, as a smaller matrix.

        Args:
            most: how many classes.

        Returns:
            `(counts, labels)`: int64 `(c, c + 1)`, where the last column is for all others and
            none, and c texts.
        """
        chosen = []
        for row in self.rows():
            # With each the one it is taken for, else its mistakes would not be seen.
            for label in (row.label, row.confused_with):
                if label is not None and label not in chosen and len(chosen) < most:
                    chosen.append(label)
        places = [self.labels.index(label) for label in chosen]
        counts = self.counts[np.ix_(places, places)]
        rest = self.counts[places].sum(axis=1, keepdims=True) - counts.sum(axis=1, keepdims=True)
        return np.hstack([counts, rest]), chosen
