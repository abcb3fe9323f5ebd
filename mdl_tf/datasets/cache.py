"""Arrays that are made once and found again."""

import contextlib
from pathlib import Path

import numpy as np

from mdl_tf.files import data_folder, replacing
from mdl_tf.reading import read_arrays

__all__ = ["cached_arrays", "data_folder", "stored_arrays", "store_arrays"]


def stored_arrays(path):
    """The arrays in an `.npz` file, a dict; `None` if it is not there or not readable."""
    try:
        return read_arrays(path)
    except (FileNotFoundError, ValueError):
        return None


def store_arrays(path, arrays):
    """Write a dict of arrays to an `.npz` file, or nothing if its folder cannot be written."""
    # What is stored here can be made again.
    with contextlib.suppress(OSError), replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def cached_arrays(path, make):
    """The arrays in the file `path`; made, and the file written, if it is not there or unreadable.

    Args:
        path: of an `.npz` file.
        make: a function without arguments that returns a dict of arrays.

    Returns:
        A dict of arrays. If the folder cannot be written, the arrays are made anew each time.
    """
    path = Path(path)
    arrays = stored_arrays(path)
    if arrays is None:
        arrays = make()
        store_arrays(path, arrays)
    return arrays
