"""Where data sets are kept, and a cache of drawn images that survives a kill."""

import os
import tempfile
from pathlib import Path

import numpy as np


def data_folder(data_dir=None):
    """The folder of data sets: `data_dir`, else `$MDL_TF_HOME`, else `~/.cache/mdl_tf`."""
    return Path(data_dir or os.environ.get("MDL_TF_HOME") or Path.home() / ".cache" / "mdl_tf")


def cached_arrays(path, make):
    """The arrays in the file `path`; made, and the file written, if it is not there or unreadable.

    Args:
        path: of an `.npz` file.
        make: a function without arguments that returns a dict of arrays.

    Returns:
        A dict of arrays. If the folder cannot be written, the arrays are made anew each time.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, KeyError):
        pass  # not there, or cut off
    except Exception as error:  # zipfile.BadZipFile, zlib.error: damaged in the middle
        if type(error).__module__ not in ("zipfile", "zlib"):
            raise
    arrays = make()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: a kill, or a second process, never leaves half a file.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(temporary, path)
    except OSError:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return arrays
