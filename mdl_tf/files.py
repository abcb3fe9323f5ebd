"""Where files are kept that serve again, and how a file is written: whole or not at all, and by one
process at a time."""

import contextlib
import os
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# In the root of a data set that was generated to stand in for a real one.
STAND_IN = "stand_in.json"


def data_folder(data_dir=None):
    """The folder of data sets: `data_dir`, else `$MDL_TF_HOME`, else `~/.cache/mdl_tf`."""
    folder = data_dir or os.environ.get("MDL_TF_HOME") or "~/.cache/mdl_tf"
    return Path(folder).expanduser()


@contextlib.contextmanager
def replacing(path, prefix=".unfinished-"):
    """A temporary path that becomes the file `path` when the block ends without an error.

    Renamed when complete: a kill, or a second process, never leaves half a file.

    Args:
        path: of the file; its folder is made.
        prefix: how the temporary name begins. Defaults to `".unfinished-"`.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two suffixes, since Keras insists on `.weights.h5`.
    suffix = "".join(path.suffixes[-2:])
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=suffix)
    os.close(descriptor)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path, in_use):
    """Keep other processes from the same block; nothing is done where there are no locks.

    Args:
        path: of the file that is locked; it is made if it is not there.
        in_use: the exception that is raised if another process has it.
    """
    with contextlib.ExitStack() as stack:
        if fcntl:
            file = stack.enter_context(open(path, "ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise in_use from None
            except OSError:
                pass  # a file system that has no locks
        yield
