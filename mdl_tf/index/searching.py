"""Search in the vectors of a folder: what it needs is prepared once and kept between calls."""

import contextlib
import json
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_choice
from mdl_tf.index import kinds
from mdl_tf.index.approximate import (
    Approximate,
    describe,
    find,
    has_faiss,
    import_faiss,
    read,
    steps,
)
from mdl_tf.index.kinds import Kind
from mdl_tf.index.recall import K, exact_neighbors, sample, tune, without_itself
from mdl_tf.metrics import prepare
from mdl_tf.metrics.blocks import measure_distances

_VIEWS = 4  # kept at a time: of all rows, and of the latest filters
# A filter that leaves so few is searched exactly: a hundredth of a second.
_FEW, _FEW_SHARE = 20_000, 0.1
_TAIL = 2000  # places at least that wait before FAISS takes them in
_GROWN = 4  # times as many vectors want other clusters


class Hit(NamedTuple):
    """An image that was found."""

    name: str  # path below the folder that it was added with, or the name that was given
    distance: float  # Euclidean, between embeddings
    label: str | None
    path: str  # of its file; empty if it is none
    columns: dict  # its further columns


def as_hit(row, distance):
    """A `Hit` of a `Row` and its distance."""
    path = str(Path(row.root) / row.name) if row.root else ""
    return Hit(row.name, distance, row.label, path, row.columns)


class _View:
    """The rows of a filter at one moment, and what was prepared of them.

    Args:
        state: of the rows.
        content: of the store.
    """

    def __init__(self, state, content):
        self.state, (self.vectors, self.places, self.generation) = state, content
        self._lock, self._prepared = threading.Lock(), {}

    def __len__(self):
        return len(self.places)

    def exact(self, queries, k):
        """The k nearest, by a gallery that is prepared once and kept."""
        gallery = self._prepare("all", self.places)
        indices, distances = gallery.neighbors(queries, k)
        return self.places[indices], distances

    def approximate(self, made, settings, queries, k):
        """The k nearest of the candidates of an `Approximate`, and of all later places."""
        end = len(made)
        candidates = made.candidates(queries, k, settings, self._mask(end))
        tail = self.places[np.searchsorted(self.places, end) :]
        if len(tail):
            gallery = self._prepare(end, tail)
            later, _ = gallery.neighbors(queries, min(k, len(tail)))
            candidates = np.concatenate([candidates, tail[later]], axis=1)
        rows = np.repeat(np.arange(len(queries)), candidates.shape[1])
        columns = np.maximum(candidates, 0).ravel()
        far = measure_distances(queries, rows, self.vectors, columns).reshape(candidates.shape)
        far[candidates < 0] = np.inf
        order = np.lexsort((candidates, far))[:, :k]
        near, far = np.take_along_axis(candidates, order, 1), np.take_along_axis(far, order, 1)
        if near.shape[1] < k:
            return self.exact_without_gallery(queries, k)
        few = np.flatnonzero(np.isinf(far).any(axis=1))
        if len(few):
            near[few], far[few] = self.exact_without_gallery(queries[few], k)
        return near, far

    def exact_without_gallery(self, queries, k):
        """The k nearest, in little memory."""
        return exact_neighbors(self.vectors, self.places, queries, k)

    def _mask(self, end):
        """Which of the places before `end` count; `None` if all do."""
        count = np.searchsorted(self.places, end)
        if count == end:
            return None
        mask = np.zeros(end, bool)
        mask[self.places[:count]] = True
        return mask

    def _prepare(self, key, places):
        with self._lock:
            if key not in self._prepared:
                # A whole gallery is not copied, of a few rows the rest is not even read.
                few = len(places) < len(self.vectors) // 4
                self._prepared[key] = (
                    prepare(self.vectors[places]) if few else prepare(self.vectors, places)
                )
            return self._prepared[key]


class Searcher:
    """Searches a `Store`, whoever changes it meanwhile.

    Args:
        store: a `Store`.
    """

    def __init__(self, store):
        self._store, self._views, self._lock = store, {}, threading.Lock()
        self._made = self._made_of = None  # an `Approximate`, and of which generation

    def close(self):
        """Let go of what was prepared."""
        self._views.clear()
        self._made = self._made_of = None

    def nearest(self, vectors, k, where=None):
        """The nearest rows of each vector, nearest first, equal ones by age.

        Args:
            vectors: `(n, D)` float32.
            k: how many at most.
            where: a filter, as `mdl_tf.index.where` has it. Defaults to `None`: all rows.

        Returns:
            For each vector a list of `(Row, distance)`.

        Raises:
            ValueError: for a filter that cannot be, or a damaged file.
        """
        rows = None
        while rows is None:
            view = self._view(where)
            if not len(view) or not len(vectors):
                return [[] for _ in vectors]
            is_few = where and len(view) <= max(_FEW, len(view.vectors) * _FEW_SHARE)
            places, distances = self._neighbors(view, vectors, min(k, len(view)), is_few)
            # `None` if a place may have become another image's while vectors were compared.
            rows = self._store.rows_of(np.unique(places), view.state)
        return [
            [(rows[p], d) for p, d in zip(near, far, strict=True)]
            for near, far in zip(places.tolist(), distances.tolist(), strict=True)
        ]

    def _neighbors(self, view, queries, k, is_few):
        kind = self._store.kind
        if kind.is_exact or is_few:
            return view.exact(queries, k)
        made = self._find_made(kind.name, view)
        if k > len(made) // 4:
            return view.exact_without_gallery(queries, k)
        return view.approximate(made, kind.settings, queries, k)

    @staticmethod
    def check_kind(name):
        """Refuse kinds that cannot be, before long work.

        Raises:
            ValueError: for another kind, or without its package.
        """
        check_choice("kind", name, kinds.KINDS)
        if name != "exact":
            import_faiss()

    def set_kind(self, name, progress=None):
        """Choose how the store is searched, and make what that needs.

        Args:
            name: one of `KINDS`.
            progress: a function of (vectors done, vectors). Defaults to `None`.

        Returns:
            A `Kind`.
        """
        view, kind = self._view(None), Kind(name)
        if name != "exact" and len(view) >= kinds.FEW:
            made = Approximate.build(name, view.vectors, view.places, progress)
            kind = _measure(made, view)
            made.write(self._store.folder, view.generation)
            self._made, self._made_of = made, (name, view.generation)
        self._store.set_kind(kind)
        if kind.is_exact:
            for path in self._store.folder.glob("*.faiss"):
                path.unlink(missing_ok=True)
        return kind

    def catch_up(self, progress=None):
        """Bring what was made of the vectors up to those that came, by whom they came through."""
        kind = self._store.kind
        if kind.name == "exact" or not has_faiss():
            return
        view = self._view(None)
        end = len(view.vectors)
        file = find(self._store.folder, kind.name, view.generation, end)
        grown = len(view) > _GROWN * kind.rows
        if kind.is_exact != (len(view) < kinds.FEW) or (not kind.is_exact and (grown or not file)):
            self.set_kind(kind.name, progress)
        elif not kind.is_exact and end - file[1] > _tail(file[1]):
            self._find_made(kind.name, view).write(self._store.folder, view.generation)

    def _find_made(self, name, view):
        """The `Approximate` of a view, not much shorter than it."""
        with self._lock:
            made = self._made if self._made_of == (name, view.generation) else None
            end = len(view.vectors)
            if made is None or end - len(made) > _tail(len(made)):
                folder = self._store.folder
                file = find(folder, name, view.generation, end)
                if file and (made is None or file[1] > len(made)):
                    made = read(name, file[0]) or made
                if made is None:
                    # After a kill.
                    made = Approximate.build(name, view.vectors, view.places)
                    with contextlib.suppress(OSError):
                        made.write(folder, view.generation)
                if end - len(made) > _tail(len(made)):
                    made = made.extended(view.vectors)
                self._made, self._made_of = made, (name, view.generation)
            return made

    def _view(self, where):
        key = json.dumps(where, sort_keys=True, default=_plain)
        with self._lock:
            state = self._store.rows.state()
            if self._views.get("state") != state:
                self._views = {"state": state}
            if key not in self._views:
                content = self._store.read(where)
                if len(self._views) > _VIEWS:
                    # The oldest filter; that of all rows, "null", is the dear one.
                    oldest = next(k for k in self._views if k not in ("state", "null"))
                    del self._views[oldest]
                self._views[key] = _View(state, content)
            return self._views[key]


def _measure(made, view):
    """The `Kind` of an `Approximate`: the cheapest settings of the recall that is wanted."""
    _, settings = describe(made.name, view.vectors.shape[1], len(view))
    itself = view.places[sample(len(view))]
    queries = np.array(view.vectors[itself])
    near, far = view.exact_without_gallery(queries, min(K + 1, len(view)))

    def search(settings, queries, k):
        near, far = view.approximate(made, settings, queries, k)
        return [list(zip(*pair, strict=True)) for pair in zip(near, far, strict=True)]

    chosen, recall = tune(
        search,
        queries,
        itself,
        without_itself(near, far, itself),
        steps(made.name, settings.get("clusters", 1)),
    )
    return Kind(made.name, {**settings, **chosen}, recall, len(queries), len(view))


def _tail(count):
    """How many later places may be compared one by one."""
    return max(_TAIL, count // 50)


def _plain(value):
    """What JSON does not know, in a filter: sets and NumPy's numbers."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return value.item() if hasattr(value, "item") else repr(value)
