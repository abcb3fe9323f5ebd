"""Where files are kept that serve again, and how they are written: whole or not at all, and by one
process at a time."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# In the root of a data set that was generated to stand in for a real one.
STAND_IN = "stand_in.json"
UNFINISHED = ".unfinished-"
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)  # what a disk refuses
# What this module calls what is not finished; nothing else is ever removed.
_OURS = re.compile(re.escape(UNFINISHED) + r"(.*-)?[0-9a-f]{16}(\..*)?", re.DOTALL)


def data_folder(data_dir=None):
    """The folder of data sets: `data_dir`, else `$MDL_TF_HOME`, else `~/.cache/mdl_tf`."""
    folder = data_dir or os.environ.get("MDL_TF_HOME") or "~/.cache/mdl_tf"
    return Path(folder).expanduser()


@contextlib.contextmanager
def replacing(path, *, tidy=True):
    """A temporary path that becomes the file `path` when the block ends without an error.

    Renamed when complete: a kill, or a second process, never leaves half a file. What a kill has
    left in the folder is removed the next time, where the system has file locks. Its mode is what
    `open(path, "w")` would have left: that of the file that is replaced, else by the umask.

    Args:
        path: of the file; its folder is made.
        tidy: whether to look for what a kill has left, which takes longer in a folder of very many
            files. Defaults to `True`.

    Raises:
        OSError: if the folder cannot be written, or its disk is full: it names `path`, what is
            free, and what caused it. The old file is then as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A digest of the name, which may be as long as a name can be.
    begin = f"{UNFINISHED}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"
    if tidy:
        remove_leftovers(path.parent)
    # Two suffixes, since Keras insists on `.weights.h5`.
    temporary = path.with_name(f"{begin}{secrets.token_hex(8)}{''.join(path.suffixes[-2:])}")
    try:
        # By `open` and not by `tempfile`, whose files nobody else may read.
        open(temporary, "xb").close()
        # h5py has a lock of its own on what it writes, which does not go with another.
        own_lock = contextlib.nullcontext() if path.suffix == ".h5" else locked(temporary)
        with own_lock:
            yield temporary
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            os.replace(temporary, path)
    except Exception as error:
        number = find_disk_error(error)
        if number is None:
            raise
        raise OSError(number, _describe(number, temporary), str(path)) from error
    finally:
        # Of a disk that has become read-only it cannot be removed.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def find_disk_error(error):
    """The number of the error of a disk that is full or read-only, in an exception; else `None`.

    h5py and TensorFlow tell it in words alone.

    Args:
        error: an exception.
    """
    if isinstance(error, OSError) and error.errno in _DISK:
        return error.errno
    numbers = {int(text) for text in re.findall(r"errno = (\d+)", str(error))}
    numbers |= {number for number in _DISK if os.strerror(number) in str(error)}
    return min(numbers & set(_DISK), default=None)


def _describe(number, temporary):
    """The error in words, with what had been written and what is free, where it is known."""
    text = os.strerror(number)
    with contextlib.suppress(OSError):
        written = temporary.stat().st_size
        free = shutil.disk_usage(temporary.parent).free
        if number != errno.EROFS:
            text += f" ({written:,} bytes were written, {free:,} more are free)"
    return text


def free_room(folder):
    """Bytes that are free on the disk of a folder.

    Args:
        folder: a path; it need not be there yet.
    """
    folder = Path(folder)
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def check_room(folder, needed, what):
    """Refuse long work whose files will not fit on the disk.

    Args:
        folder: where they will be; it need not be there yet.
        needed: bytes.
        what: that needs them, such as `"A run"`.

    Raises:
        OSError: if less is free, with the folder, what is needed and what is free.
    """
    free = free_room(folder)
    if free < needed:
        megabytes = f"{needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free"
        raise OSError(errno.ENOSPC, f"{what} needs about {megabytes}", str(folder))


def remove_leftovers(folder):
    """Remove what a kill left half-written: files and folders of ours that nobody writes.

    Without file locks they stay, as they cannot be told from what another process is writing.

    Args:
        folder: where to look, not below it.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = folder / name
            ours = _OURS.fullmatch(name)
            # A folder without a name in its name has just been made, and has no lock yet.
            if ours and not path.is_symlink() and (ours[1] or not path.is_dir()):
                with contextlib.suppress(OSError, _InUse), locked(path, _InUse()) as is_locked:
                    if is_locked and path.is_dir():
                        shutil.rmtree(path, ignore_errors=True)
                    elif is_locked:
                        path.unlink()


@contextlib.contextmanager
def temporary_folder(folder, name):
    """A hidden folder inside of `folder`, removed when the block ends unless it has been renamed.

    What a kill has left is removed the next time. Without file locks it stays, as it cannot be told
    from what another process is writing.

    Args:
        folder: where to make it; made if it is missing.
        name: of what is written, for people who look into the folder.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder, token = Path(folder), secrets.token_hex(8)
    folder.mkdir(parents=True, exist_ok=True)
    begin = f"{UNFINISHED}{name}-"
    remove_leftovers(folder)
    temporary = folder / f"{UNFINISHED}{token}"
    temporary.mkdir()
    try:
        with locked(temporary):
            # Only now, as another process could have taken it for a leftover.
            temporary = temporary.rename(folder / f"{begin}{token}")
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _InUse(Exception):
    """Another process has the lock."""


@contextlib.contextmanager
def locked(path, in_use=None):
    """Hold an exclusive lock while the block runs; a no-op on systems without file locks.

    Such are Windows and some network file systems: there two processes can be in the block at once.

    Args:
        path: of the file that is locked, made if it is missing, or of a folder.
        in_use: the exception to raise if another process has the lock. Defaults to `None`: wait.

    Yields:
        Whether there is a lock.

    Raises:
        OSError: if the file cannot be opened.
    """
    if fcntl is None:
        yield False
        return
    flags = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        is_locked = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if in_use else 0))
        except BlockingIOError:
            raise in_use from None
        except OSError:  # a file system that has no locks
            is_locked = False
        yield is_locked
    finally:
        os.close(descriptor)
