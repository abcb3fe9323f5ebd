"""An index on disk: a folder with a table of rows, a file of vectors, and the model that made them.

Crash-safe by order: vectors are written behind those that count, then one transaction of SQLite
makes them count. A place is never written again, so that what was derived from it stays true.
Removed rows leave holes in the file of vectors; when there are more holes than rows, a second file
without them takes its place in the same way.
"""

import contextlib
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf.files import replacing
from mdl_tf.index import approximate
from mdl_tf.index.embedder import CALIBRATION
from mdl_tf.index.kinds import Kind
from mdl_tf.index.place import ROWS
from mdl_tf.index.rows import Rows
from mdl_tf.index.vectors import VectorFile

_HOLES = 1024  # as many at least, before the file of vectors is written anew
_COPIED = 2**16  # rows at a time


class Content(NamedTuple):
    """What can be searched in a store, as it is at one moment."""

    vectors: np.ndarray  # of all places, holes among them, (P, D) float32, mapped into memory
    places: np.ndarray  # those that count, rising, (n,) int64
    generation: int  # of the file of vectors, in which a place is never written again


class Store:
    """Rows and vectors of an index in a folder.

    Args:
        folder: of the index.
        new: whether to make one. Defaults to `False`.

    Raises:
        ValueError: if the folder is no index, a later version's, or damaged.
    """

    def __init__(self, folder, new=False):
        self.folder = Path(folder)
        path = self.folder / ROWS
        if not new and not path.is_file():
            raise ValueError(f"The index must be a folder with {ROWS}. Received: {self.folder}")
        self.rows = Rows(path, new=new)
        if new:
            self.rows.set_fact("generation", 0)
        self._file = self._generation = None

    def close(self):
        """Let go of the files."""
        self.rows.close()
        self._file = self._generation = None

    def __len__(self):
        return len(self.rows)

    @property
    def place(self):
        """Where the index is, for messages."""
        return str(self.folder)

    @property
    def width(self):
        """D, numbers in a vector; `None` before the first."""
        return self.rows.fact("width")

    @property
    def model(self):
        """The digest of the model that the vectors come from; `None` without one."""
        return self.rows.fact("model")

    def columns(self):
        """Names of the columns that rows have of their own, sorted."""
        return self.rows.columns()

    def labels(self):
        """Labels and how many rows have each, the most frequent first."""
        return self.rows.labels()

    def of_root(self, root, names=None):
        """Rows of a root, all or of some names, a dict from name to `Row`."""
        return self.rows.of_root(root, names)

    def named(self, name):
        """Rows of a name, or of a whole path."""
        return self.rows.named(name)

    def rows_of(self, places, state):
        """The rows of some places, a dict from place to `Row`; `None` if the state is another."""
        with self.rows.reading():
            return self.rows.get(places) if self.rows.state() == state else None

    def walk(self, size, where=None):
        """Rows by age, `size` at a time: all of them, or those that fit a filter.

        Yields:
            A list of n `Row`s, and `(n, D)` float32.
        """
        vectors, places, _ = self.read(where)
        state = self.rows.state()
        for start in range(0, len(places), size):
            part = places[start : start + size]
            rows = self.rows_of(part, state)
            if rows is None:
                raise ValueError("The index must stay as it is meanwhile. Received: a change")
            yield [rows[place] for place in part.tolist()], vectors[part]

    @property
    def calibration_place(self):
        """The file of the calibration, for messages."""
        return self.folder / CALIBRATION

    def read_calibration(self):
        """What `keep_calibration` has kept, or `None`."""
        path = self.folder / CALIBRATION
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def keep_calibration(self, text):
        """Keep what distances mean, a text."""
        with replacing(self.folder / CALIBRATION) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def read(self, where=None):
        """What can be searched, as it is at one moment.

        Args:
            where: a filter, as `mdl_tf.index.where` has it. Defaults to `None`: all rows.

        Returns:
            `Content`.

        Raises:
            ValueError: for a filter that cannot be, or a damaged file.
        """
        with self.rows.reading():
            return self._read(where)

    def _read(self, where):
        places, generation = self.rows.places(where), self.rows.fact("generation")
        if self.width is None:
            return Content(np.empty((0, 0), np.float32), places, generation)
        return Content(self._vector_file().read(self._written), places, generation)

    @property
    def _written(self):
        """Places that have been written; what comes is put behind them."""
        return max(self.rows.end, self.rows.fact("written", 0))

    @property
    def kind(self):
        """How the index is searched, a `Kind`."""
        return Kind(*self.rows.fact("kind", ["exact"]))

    def set_kind(self, kind):
        """Keep how the index is searched, a `Kind`."""
        with self.rows.writing():
            self.rows.set_fact("kind", list(kind))
            self.rows.mark_changed()

    def vectors_of(self, digests):
        """Vectors of contents that are there, under whatever name.

        Args:
            digests: of contents.

        Returns:
            A dict from digest to `(D,)` float32.
        """
        with self.rows.reading():
            places = self.rows.by_digest(digests)
            vectors = self._vector_file().read(self._written) if places else None
            return {digest: np.array(vectors[place]) for digest, place in places.items()}

    def add(self, rows, vectors):
        """Add rows with their vectors; of the same root and name the old row goes.

        Args:
            rows: n `Row`s, whose places are not looked at.
            vectors: `(n, D)` float32.
        """
        with self.rows.writing():
            if self.width is None:
                self.rows.set_fact("width", vectors.shape[1])
            first = self._written
            self._vector_file().write(first, vectors)
            self.rows.add(row._replace(place=first + i) for i, row in enumerate(rows))
            self.rows.set_fact("written", first + len(vectors))
        self._close_up_many_holes()

    def update(self, rows):
        """Change labels and columns of rows that are there.

        Args:
            rows: `Row`s, whose places are not looked at.
        """
        with self.rows.writing():
            self.rows.update(rows)

    def remove(self, rows):
        """Remove rows, and holes when there are many.

        Args:
            rows: `Row`s, whose places are not looked at.
        """
        with self.rows.writing():
            self.rows.remove(rows)
        self._close_up_many_holes()

    def delete(self):
        """Remove the folder."""
        self.close()
        shutil.rmtree(self.folder)

    def copy_to(self, folder):
        """Write the index into a new folder, without holes.

        Args:
            folder: an empty one.
        """
        folder = Path(folder)
        with self.rows.reading():
            self.rows.copy_to(folder / ROWS)
            content = self._read(None)
            kind = self.kind
        for path in self.folder.iterdir():
            is_ours = path.name.startswith((ROWS, "vectors-", ".")) or path.suffix == ".faiss"
            if not is_ours:
                copy = shutil.copytree if path.is_dir() else shutil.copyfile
                copy(path, folder / path.name)
        with contextlib.closing(Store(folder)) as copied:
            if kind.is_exact:
                copied._close_up(content.vectors)
            elif len(content.vectors):
                copied._vector_file().write(0, content.vectors)
                self._copy_faiss(folder, kind, content)

    def _copy_faiss(self, folder, kind, content):
        """What FAISS has made, whose rows are places; who lacks it makes it anew."""
        made = approximate.find(self.folder, kind.name, content.generation, len(content.vectors))
        with contextlib.suppress(FileNotFoundError):
            if made:
                shutil.copyfile(made[0], folder / made[0].name)

    def _close_up_many_holes(self):
        if self._written - len(self.rows) > max(_HOLES, len(self.rows)):
            self._close_up()

    def _close_up(self, vectors=None):
        """Write the vectors that count into a new file, and let it take the old one's place."""
        if self.width is None:
            return
        with self.rows.writing():
            vectors = self._vector_file().read(self._written) if vectors is None else vectors
            places = self.rows.places()
            old = self._path(self.rows.fact("generation"))
            generation = self.rows.fact("generation") + 1
            self._path(generation).unlink(missing_ok=True)  # of a kill
            target = VectorFile(self._path(generation), self.width)
            for start in range(0, len(places), _COPIED):
                target.write(start, vectors[places[start : start + _COPIED]])
            self.rows.renumber(places)
            self.rows.set_fact("generation", generation)
            self.rows.set_fact("written", len(places))
        self._file = None
        # Who has it mapped goes on to see it.
        old.unlink(missing_ok=True)

    def _vector_file(self):
        generation = self.rows.fact("generation")
        if self._file is None or generation != self._generation:
            self._file = VectorFile(self._path(generation), self.width)
            self._generation = generation
        return self._file

    def _path(self, generation):
        return self.folder / f"vectors-{generation}.f32"


def as_vectors(vectors, width=None):
    """Vectors as an index keeps them.

    Args:
        vectors: finite floats, shape `(n, D)`.
        width: D that they must have. Defaults to `None`: any.

    Returns:
        `(n, D)` float32.

    Raises:
        ValueError: for something else.
    """
    vectors = np.asarray(vectors)
    is_float = vectors.dtype.kind == "f" or vectors.dtype.name == "bfloat16"
    if vectors.ndim != 2 or not is_float or not vectors.shape[1]:
        raise ValueError(
            f"Vectors must be (n, D) floats. Received: shape {vectors.shape}, {vectors.dtype}"
        )
    if width is not None and vectors.shape[1] != width:
        raise ValueError(
            f"Vectors must have the {width} numbers of the index. Received: {vectors.shape[1]}"
        )
    with np.errstate(over="ignore"):
        vectors = vectors.astype(np.float32, copy=False)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise ValueError(
            "Vectors must be finite in float32. "
            f"Received: NaN or infinity in {len(wrong):,} rows, such as {wrong[:5].tolist()}"
        )
    return vectors
