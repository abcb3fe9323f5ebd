"""Exact search in the vectors of a folder: galleries are prepared once and kept between calls."""

import json
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf.metrics import prepare

_GALLERIES = 4  # prepared at a time: of all rows, and of the latest filters


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


class Searcher:
    """Searches a `Store`, whoever changes it meanwhile.

    Args:
        store: a `Store`.
    """

    def __init__(self, store):
        self._store, self._galleries, self._lock = store, {}, threading.Lock()

    def close(self):
        """Let go of what was prepared."""
        self._galleries.clear()

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
            state, gallery, places = self._gallery(where)
            if gallery is None:
                return [[] for _ in vectors]
            indices, distances = gallery.neighbors(vectors, min(k, len(places)))
            # `None` if a place may have become another image's while vectors were compared.
            rows = self._store.rows_of(np.unique(places[indices]), state)
        return [
            [(rows[p], d) for p, d in zip(places[near].tolist(), far.tolist(), strict=True)]
            for near, far in zip(indices, distances, strict=True)
        ]

    def _gallery(self, where):
        """The state of the rows, the prepared gallery of a filter (or `None`), and its places."""
        key = json.dumps(where, sort_keys=True, default=_plain)
        with self._lock:
            state = self._store.rows.state()
            if self._galleries.get("state") != state:
                self._galleries = {"state": state}
            if key not in self._galleries:
                vectors, places = self._store.read(where)
                if len(self._galleries) > _GALLERIES:
                    # The oldest filter; that of all rows, "null", is the dear one.
                    oldest = next(k for k in self._galleries if k not in ("state", "null"))
                    del self._galleries[oldest]
                prepared = prepare(vectors, places) if len(places) else None
                self._galleries[key] = (prepared, places)
            return state, *self._galleries[key]


def _plain(value):
    """What JSON does not know, in a filter: sets and NumPy's numbers."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return value.item() if hasattr(value, "item") else repr(value)
