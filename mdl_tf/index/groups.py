"""Groups of images that are alike, without labels: who is in which, and who is typical of it."""

import collections
import csv
import io
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import GROUPINGS, check_choice, check_integer, check_number
from mdl_tf.index import grouping
from mdl_tf.index.searching import as_hit
from mdl_tf.index.thresholds import read_calibration
from mdl_tf.metrics import nmi, pairwise_f1
from mdl_tf.words import as_cell, clean

_PART = 2048  # rows read at a time
_FAR = 1e-2  # false accept rate whose threshold joins groups, if no threshold is given
_SMALLEST = {"kmeans": 1, "hdbscan": 5, "agglomerative": 2}
# Part of the median distance of two images: what is nearer shows the same picture.
_COPY = 0.1
_COPIES = "near-duplicates"
_SAMPLE = 20_000  # pairs behind that middle


class Member(NamedTuple):
    """An image of a group."""

    name: str
    distance: float | None  # to the centre of its group; `None` of an outlier
    typical: bool  # not farther from the centre than others of the group are
    label: str | None
    path: str  # of its file; empty if it is none


class Group(NamedTuple):
    """Images that are alike."""

    number: int  # from 1, the largest first
    members: list  # of `Member`, nearest to the centre first

    @property
    def most_typical(self):
        """The `Member` nearest to the centre."""
        return self.members[0]

    @property
    def labels(self):
        """Labels and how many members have each, the most frequent first."""
        return _count_labels(self.members)


class Groups:
    """What `Index.cluster` and `Index.near_duplicates` find.

    Args:
        groups: lists of `Member`s, each nearest to its centre first.
        outliers: `Member`s of no group.
        method: how they were found, in words.
        kind: one of `checks.GROUPINGS`, or `"near-duplicates"`.

    Attributes:
        groups: `Group`s, the largest first.
    """

    def __init__(self, groups, outliers, method, kind):
        groups = sorted(groups, key=lambda members: (-len(members), members[0].name))
        self.groups = [Group(number, members) for number, members in enumerate(groups, 1)]
        self.outliers, self.method, self.kind = outliers, method, kind

    def __len__(self):
        return len(self.groups)

    def __iter__(self):
        return iter(self.groups)

    def __repr__(self):
        return f"Groups({len(self):,} groups, {len(self.outliers):,} outliers, {self.method})"

    @property
    def are_copies(self):
        """Whether these are near-duplicates, and the outliers what has none."""
        return self.kind == _COPIES

    @property
    def images(self):
        """How many images were looked at."""
        return sum(len(group.members) for group in self) + len(self.outliers)

    @property
    def agreement(self):
        """How well the groups fit the labels, as `metrics.nmi` and `metrics.pairwise_f1`.

        Images without a label do not count; an outlier is a group of its own.

        Returns:
            `(nmi, f1)`; `None` if there are less than two labels.
        """
        pairs = [(m.label, group.number) for group in self for m in group.members]
        pairs += [(m.label, -number) for number, m in enumerate(self.outliers)]
        pairs = [pair for pair in pairs if pair[0] is not None]
        labels, numbers = zip(*pairs, strict=True) if pairs else ((), ())
        if len(set(labels)) < 2:
            return None
        codes = np.unique(np.array(labels), return_inverse=True)[1]
        return nmi(codes, np.array(numbers)), pairwise_f1(codes, np.array(numbers))

    def to_csv(self):
        """As CSV: `image`, `group`, `distance`, `typical`, `label`, `path`.

        The first row of a group is its most typical image; outliers come last, without a group.
        Of near-duplicates there are the groups alone.

        Returns:
            A string; no cell is read as a formula by a spreadsheet.
        """
        with io.StringIO() as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "group", "distance", "typical", "label", "path"])
            for group in self:
                writer.writerows(_cells(member, group.number) for member in group.members)
            if not self.are_copies:
                writer.writerows(_cells(member, "") for member in self.outliers)
            return file.getvalue()

    def to_html(self, title="Groups", progress=None):
        """As a page of contact sheets, one file that needs nothing else.

        Args:
            title: of the page. Defaults to `"Groups"`.
            progress: a function of (pictures done, pictures). Defaults to `None`.

        Returns:
            A string.
        """
        from mdl_tf.index.groups_page import write_page

        return write_page(self, title, progress)


def cluster(store, k=None, *, method=None, threshold=None, far=None, smallest=None, where=None,
            seed=0, progress=None):  # fmt: skip
    """Groups the rows of a store, as `Index.cluster` says."""
    if method is not None:
        check_choice("method", method, GROUPINGS)
    k = None if k is None else check_integer("k", k, least=1)
    seed = check_integer("seed", seed, least=0, below=2**32)
    calibration = read_calibration(store) if k is None and threshold is None else None
    if calibration is not None and not calibration.points:
        calibration = None  # it can tell of no rate
    if method is None:
        by_threshold = threshold is not None or far is not None or calibration is not None
        method = "kmeans" if k else "agglomerative" if by_threshold else "hdbscan"
    _check_together(method, k, threshold, far, calibration, store)
    smallest = check_integer(
        "smallest", _SMALLEST[method] if smallest is None else smallest, least=1
    )
    rows, vectors = _read(store, where)
    if k is not None and k > len(rows):
        raise ValueError(
            f"`k` must be at most the number of images, {len(rows):,}. Received: k={k}"
        )
    if method == "kmeans":
        found, told = grouping.group_by_k_means(vectors, k, seed), "k-means"
    elif method == "hdbscan":
        smallest = max(2, smallest)
        found, told = grouping.group_by_density(vectors, smallest), "HDBSCAN"
    elif k is not None:
        found, told = grouping.group_by_linkage(vectors, k), "average linkage"
    else:
        threshold, told = _choose_threshold(threshold, far, calibration)
        found = grouping.group_by_linkage(vectors, None, threshold, progress)
    return _collect(rows, vectors, found, smallest, told, method)


def find_near_duplicates(store, threshold=None, *, where=None, progress=None):
    """Groups of images that show nearly the same, as `Index.near_duplicates` says."""
    if threshold is not None:
        threshold = check_number("threshold", threshold, least=0)
    rows, vectors = _read(store, where)
    why = ""
    if threshold is None:
        middle = _middle_distance(vectors)
        threshold, why = _COPY * middle, f", a tenth of the median distance {middle:.4f}"
    found = grouping.find_components(vectors, threshold, progress=progress)
    told = f"each at most {threshold:.4f} from another one of its group{why}"
    return _collect(rows, vectors, found, 2, told, _COPIES)


def _check_together(method, k, threshold, far, calibration, store):
    if method == "kmeans" and k is None:
        raise ValueError("`k` must be given with `method` 'kmeans'. Received: k=None")
    if method == "hdbscan" and k is not None:
        raise ValueError(
            "`k` must be left out with `method` 'hdbscan', which finds how many groups there are. "
            f"Received: k={k}"
        )
    given = {"threshold": threshold, "far": far}
    given = {name: value for name, value in given.items() if value is not None}
    if given and (method != "agglomerative" or k is not None):
        name, value = next(iter(given.items()))
        raise ValueError(
            f"`{name}` must be given with `method` 'agglomerative' and without `k` only. "
            f"Received: {name}={value} with method={method!r}, k={k}"
        )
    if len(given) > 1:
        raise ValueError(
            f"`threshold` and `far` must not be given together. Received: threshold={threshold}, "
            f"far={far}"
        )
    if method == "agglomerative" and k is None and threshold is None and calibration is None:
        raise ValueError(
            "`threshold` or `k` must be given with `method` 'agglomerative', as the index is not "
            f"calibrated. Received: {store.place}, without calibration"
        )


def _choose_threshold(threshold, far, calibration):
    if threshold is not None:
        threshold = check_number("threshold", threshold, least=0)
        return threshold, f"average linkage up to {threshold:.4f}"
    # Of few pairs the lowest rate that they can tell.
    least = calibration.points[-1].far
    point = calibration.point(max(_FAR, least) if far is None else far)
    told = f"average linkage up to {point.threshold:.4f}, where 1 in {1 / point.far:,.0f} pairs of "
    return point.threshold, told + "two classes is as near"


def _read(store, where):
    rows, parts = [], []
    for part, vectors in store.walk(_PART, where):
        rows += part
        parts.append(np.asarray(vectors, np.float32))
    if not rows:
        raise ValueError(
            "The index must have an image"
            + (" that fits `where`" if where else "")
            + f". Received: {store.place}, without one"
        )
    return rows, np.concatenate(parts)


def _middle_distance(vectors):
    """Median distance of two vectors, of a sample of pairs."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(vectors), (2, _SAMPLE))
    apart = first != second
    if not apart.any():
        return 0.0
    difference = vectors[first[apart]].astype(np.float64) - vectors[second[apart]]
    return float(np.median(np.linalg.norm(difference, axis=1)))


def _collect(rows, vectors, found, smallest, told, kind):
    """`Groups` of rows, by the number of the group of each, -1 for none."""
    groups, outliers = [], []
    order = np.argsort(found, kind="stable")
    starts = np.flatnonzero(np.diff(found[order], prepend=-2))
    for places in np.split(order, starts[1:]):
        if found[places[0]] < 0 or len(places) < smallest:
            outliers += places.tolist()
        else:
            groups.append(_measure(rows, vectors, places))
    alone = [_member(rows[i], None, typical=False) for i in sorted(outliers)]
    return Groups(groups, alone, told, kind)


def _measure(rows, vectors, places):
    """The members of a group, nearest to its centre first."""
    members = vectors[places].astype(np.float64)
    distances = np.linalg.norm(members - members.mean(axis=0), axis=1)
    # Tukey's fence; of three there is no quarter.
    low, high = np.quantile(distances, (0.25, 0.75))
    fence = high + 1.5 * (high - low) if len(places) > 3 else np.inf
    return [
        _member(rows[places[i]], float(distances[i]), typical=bool(distances[i] <= fence))
        for i in np.argsort(distances, kind="stable").tolist()
    ]


def _member(row, distance, typical):
    hit = as_hit(row, distance)
    return Member(hit.name, distance, typical, hit.label, hit.path)


def _count_labels(members):
    counts = collections.Counter(m.label for m in members if m.label is not None)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _cells(member, group):
    return [
        as_cell(clean(member.name)),
        group,
        "" if member.distance is None else f"{member.distance:.6f}",
        "yes" if member.typical else "no",
        "" if member.label is None else as_cell(clean(member.label)),
        as_cell(clean(member.path)),
    ]
