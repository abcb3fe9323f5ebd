"""The vectors of an index: one file of float32 numbers, row behind row, mapped into memory."""

import os

import numpy as np


class VectorFile:
    """Rows of `width` float32 numbers in a file without a header.

    Which rows count is not told here: a row is written before anything points to it, so a kill
    leaves at most rows that nobody knows, and they are written over.

    Args:
        path: of the file; made if it is missing.
        width: D, numbers in a vector.
    """

    def __init__(self, path, width):
        self._path, self._width = path, width
        path.touch()
        self._mapped = None

    def write(self, place, vectors):
        """Write rows from a place on, down to the disk."""
        with open(self._path, "r+b") as file:
            file.seek(place * self._width * 4)
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            file.flush()
            os.fsync(file.fileno())

    def read(self, rows):
        """The first rows, `(rows, D)` float32, read from the disk as they are looked at.

        Raises:
            ValueError: if the file has fewer.
        """
        if not rows:
            return np.empty((0, self._width), np.float32)
        there = self._path.stat().st_size // (4 * self._width)
        if there < rows:
            raise ValueError(
                f"The index must have {rows:,} vectors of {self._width} numbers. "
                f"Received: {self._path}, of {there:,}"
            )
        if self._mapped is None or len(self._mapped) < rows:
            self._mapped = np.memmap(self._path, "<f4", "r", shape=(there, self._width))
        return self._mapped[:rows]
