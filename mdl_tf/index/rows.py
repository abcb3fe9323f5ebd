"""Names, labels, digests and columns of an index: a SQLite file, safe against a kill."""

import contextlib
import json
import sqlite3
import threading
from typing import NamedTuple

import numpy as np

from mdl_tf.index.where import ROW_COLUMNS, check_where

_VERSION = 1
_TABLES = """
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    place INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    name TEXT NOT NULL,
    label TEXT,
    digest TEXT NOT NULL,
    columns TEXT NOT NULL,
    UNIQUE (root, name)
);
CREATE INDEX rows_by_label ON rows (label);
CREATE INDEX rows_by_digest ON rows (digest);
"""


class Row(NamedTuple):
    """An image of an index, without its vector."""

    place: int  # of its vector in the file of vectors
    root: str  # the folder that it is in, an absolute path; empty if it is no file
    name: str  # its path below it, with `/`
    label: str | None
    digest: str  # of what is in the file
    columns: dict  # further ones, of the user's own


class Rows:
    """The table of an index. Threads and processes may share it.

    Args:
        path: of the SQLite file.
        new: whether to make it. Defaults to `False`.

    Raises:
        ValueError: if the file is none of an index, or of a later version.
    """

    def __init__(self, path, new=False):
        self._path = path
        # A thread of a server closes what another has opened.
        self._connection = sqlite3.connect(
            path if new else f"{path.absolute().as_uri()}?mode=rw",
            uri=not new,
            isolation_level=None,
            check_same_thread=False,
            timeout=60,
        )
        self._lock = threading.RLock()
        try:
            if new:
                self._connection.executescript(_TABLES)
                self.set_fact("version", _VERSION)
            version = self.fact("version")
        except (sqlite3.DatabaseError, ValueError) as error:
            self.close()
            raise ValueError(
                f"The index must have a table that can be read. Received: {path}, {error}"
            ) from error
        if version != _VERSION:
            self.close()
            raise ValueError(
                "The index must be of this version of mdl_tf or an earlier one. "
                f"Received: {path}, of version {version!r} and not {_VERSION}"
            )

    def close(self):
        """Let go of the file."""
        self._connection.close()

    def writing(self):
        """What is done in the block is done as a whole or not at all, by one writer at a time."""
        return self._transaction("BEGIN IMMEDIATE")

    def reading(self):
        """What is read in the block is of one moment."""
        return self._transaction("BEGIN")

    @contextlib.contextmanager
    def _transaction(self, begin):
        with self._lock:
            self._connection.execute(begin)
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def __len__(self):
        return self._first("SELECT count(*) FROM rows")

    @property
    def end(self):
        """Places that are in use, holes among them."""
        return self._first("SELECT coalesce(max(place) + 1, 0) FROM rows")

    def state(self):
        """A number that changes whenever rows do, by this process or another."""
        return self._first("SELECT value FROM facts WHERE key = 'state'") or "0"

    def fact(self, key, default=None):
        """A fact about the index, as `set_fact` kept it."""
        value = self._first("SELECT value FROM facts WHERE key = ?", key)
        return default if value is None else json.loads(value)

    def set_fact(self, key, value):
        """Keep a fact about the index, as JSON."""
        self._do("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, json.dumps(value))

    def add(self, rows):
        """Add rows; of the same root and name the old one goes.

        Args:
            rows: `Row`s.
        """
        self._many(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)",
            [(*row[:5], _as_json(row.columns)) for row in rows],
        )
        self.mark_changed()

    def update(self, rows):
        """Change labels and columns of rows, by root and name: places may have changed."""
        self._many(
            "UPDATE rows SET label = ?, columns = ? WHERE root = ? AND name = ?",
            [(row.label, _as_json(row.columns), row.root, row.name) for row in rows],
        )
        self.mark_changed()

    def remove(self, rows):
        """Remove rows, by root and name: places may have changed."""
        keys = [(row.root, row.name) for row in rows]
        self._many("DELETE FROM rows WHERE root = ? AND name = ?", keys)
        self.mark_changed()

    def renumber(self, places):
        """Number the rows of all places, rising, from 0 on."""
        # Each moves to a place that is free: those below it have moved.
        pairs = enumerate(places.tolist())
        moves = [(new, old) for new, old in pairs if new != old]
        self._many("UPDATE rows SET place = ? WHERE place = ?", moves)
        self.mark_changed()

    def mark_changed(self):
        """Let the state be another, so that whoever has the index open looks again."""
        self._do("INSERT OR REPLACE INTO facts VALUES ('state', hex(randomblob(8)))")

    def of_root(self, root, names=None):
        """Rows of a root.

        Args:
            root: a folder, or the empty text.
            names: which. Defaults to `None`: all.

        Returns:
            A dict from name to `Row`.
        """
        if names is None:
            rows = self._all("SELECT * FROM rows WHERE root = ?", root)
        else:
            text = "SELECT * FROM rows WHERE root = ? AND name IN ({})"
            rows = [row for part in self._parts(text, names, root) for row in part]
        return {row[2]: _as_row(row) for row in rows}

    def by_digest(self, digests):
        """Places of contents that are there, a dict from digest to place."""
        text = "SELECT digest, place FROM rows WHERE digest IN ({})"
        return dict(row for part in self._parts(text, set(digests)) for row in part)

    def named(self, name):
        """Rows of a name, or of a whole path."""
        places = [(root, name) for root in self._roots()]
        places += [
            (root, name[len(root) + 1 :])
            for root, _ in places
            if root and name.startswith(f"{root}/")
        ]
        text = "SELECT * FROM rows WHERE root = ? AND name = ?"
        return [_as_row(row) for place in places for row in self._all(text, *place)]

    def _roots(self):
        # From one to the next, and not row by row.
        rows = self._all(
            "WITH RECURSIVE roots(root) AS (SELECT min(root) FROM rows UNION ALL "
            "SELECT (SELECT min(root) FROM rows WHERE root > roots.root) FROM roots "
            "WHERE root IS NOT NULL) SELECT root FROM roots WHERE root IS NOT NULL"
        )
        return [root for (root,) in rows]

    def get(self, places):
        """The rows of some places, a dict from place to `Row`."""
        parts = self._parts("SELECT * FROM rows WHERE place IN ({})", {int(p) for p in places})
        return {row[0]: _as_row(row) for part in parts for row in part}

    def places(self, where=None):
        """Places of the rows that fit a filter, rising.

        Args:
            where: a filter as `mdl_tf.index.where` has it. Defaults to `None`: all rows.

        Returns:
            int64, shape `(n,)`.

        Raises:
            ValueError: for a filter that cannot be.
        """
        if not where and len(self) == self.end:
            return np.arange(self.end)
        conditions = check_where(where, {*ROW_COLUMNS, *self.columns()}) if where else []
        texts, values = [], []
        for column, comparison, wanted in conditions:
            if column in ROW_COLUMNS:
                value = column
            else:
                value = "(SELECT value FROM json_each(rows.columns) WHERE key = ?)"
                values.append(column)
            if comparison == "in":
                texts.append(f"{value} IN ({', '.join('?' * len(wanted))})")
                values += wanted
            elif wanted is None:
                texts.append(f"{value} IS {'NOT ' if comparison == '!=' else ''}NULL")
            else:
                texts.append(f"{value} {comparison} ?")
                values.append(wanted)
        text = " AND ".join(texts) or "1"
        rows = self._all(f"SELECT place FROM rows WHERE {text} ORDER BY place", *values)
        return np.fromiter((place for (place,) in rows), np.int64, len(rows))

    def columns(self):
        """Names of the columns that rows have of their own, sorted."""
        rows = self._all("SELECT DISTINCT key FROM rows, json_each(rows.columns) ORDER BY key")
        return [name for (name,) in rows]

    def labels(self):
        """Labels and how many rows have each, the most frequent first."""
        return self._all(
            "SELECT label, count(*) FROM rows WHERE label IS NOT NULL GROUP BY label "
            "ORDER BY count(*) DESC, label"
        )

    def _parts(self, text, values, *before):
        values = list(values)
        # SQLite takes some thousand values at a time.
        for start in range(0, len(values), 900):
            part = values[start : start + 900]
            yield self._all(text.format(", ".join("?" * len(part))), *before, *part)

    def _do(self, text, *values):
        with self._lock:
            self._connection.execute(text, values)

    def _many(self, text, rows):
        with self._lock:
            self._connection.executemany(text, rows)

    def _all(self, text, *values):
        with self._lock:
            return self._connection.execute(text, values).fetchall()

    def _first(self, text, *values):
        rows = self._all(text, *values)
        return rows[0][0] if rows else None

    def copy_to(self, path):
        """Write the table into a new file, as it is at one moment."""
        other = sqlite3.connect(path)
        with contextlib.closing(other), self._lock:
            self._connection.backup(other)


def _as_json(columns):
    return json.dumps(columns, ensure_ascii=False, sort_keys=True)


def _as_row(values):
    return Row(*values[:5], json.loads(values[5]))
