"""Extract the archive of a data set: nothing outside its folder, and completely or not at all."""

import contextlib
import errno
import filecmp
import gzip
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
ZIP_SUFFIX = ".zip"

_CHUNK = 1 << 20  # bytes
_TEMPORARY = ".extracting"
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error),
    *(EOFError, NotImplementedError, struct.error, UnicodeDecodeError),
)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def extract(archive, folder, progress=None):
    """Extract an archive into a folder.

    Everything is first extracted into a hidden temporary folder inside `folder`; its top-level
    entries are then moved into place by renaming. A kill leaves no entry half there, and what it
    does leave is removed at the next try. An entry that is in `folder` already stays as it is if it
    holds all that the archive has of it, byte for byte; if it does not, that is an error, and
    nothing is changed. macOS's `__MACOSX`, `._*` and `.DS_Store` are passed over.

    Args:
        archive: path of a `.tgz`, `.tar.gz`, `.tar` or `.zip` file.
        folder: where to extract it to; created if it is missing.
        progress: a function of (done, total) in bytes, called on the way: of the archive's own for
            tar files, of the extracted files for zip files. Defaults to `None`.

    Returns:
        The paths of the top-level entries, a tuple in the order of their names.

    Raises:
        ValueError: if the archive is missing, of another kind, damaged, cut off or empty; if a
            member would land outside the folder, is a link or a device, is encrypted, or is there
            twice; if the disk is too small; if an entry of the same name differs.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.name.lower().endswith((*TAR_SUFFIXES, ZIP_SUFFIX)):
        raise ValueError(
            f"`archive` must be a .tgz, .tar.gz, .tar or .zip file. Received: archive={archive}"
        )
    if not archive.is_file():
        raise ValueError(f"`archive` must be a file that exists. Received: archive={archive}")
    unpack = _unzip if archive.name.lower().endswith(ZIP_SUFFIX) else _untar
    try:
        with _temporary_folder(archive, folder) as temporary:
            unpack(archive, temporary, progress)
            return _put_in_place(archive, temporary, folder)
    except _DAMAGED as error:
        raise ValueError(
            "`archive` must be whole, and this one is damaged or cut off: delete it and fetch it "
            f"again. Received: archive={archive}, {error}"
        ) from error
    except OSError as error:
        raise ValueError(_message(error, archive, folder)) from error


def _message(error, archive, folder):
    if error.errno in _DISK_FULL:
        return (
            "`folder` must be on a disk with enough free space, and it is full. "
            f"Received: folder={folder}, archive={archive}"
        )
    return (
        "`archive` must be readable, and `folder` a folder that can be written to. "
        f"Received: archive={archive}, folder={folder}, {error}"
    )


@contextlib.contextmanager
def _temporary_folder(archive, folder):
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for name in os.listdir(folder):
            if name.startswith(f".{archive.name}.") and name.endswith(_TEMPORARY):
                shutil.rmtree(folder / name)
        # Inside the folder and not beside it, which may be another disk.
        temporary = tempfile.mkdtemp(_TEMPORARY, f".{archive.name}.", folder)
        try:
            yield Path(temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder):
    """Wait while another process extracts here: its temporary folder is no leftover."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _untar(archive, target, progress):
    total = archive.stat().st_size
    # A lower bound; the sum of the members would need a pass of its own through the archive.
    _require_space(archive, target, total)
    with open(archive, "rb") as file, contextlib.ExitStack() as stack:
        # By content and not by name: browsers unzip a .tgz and keep its name.
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = stack.enter_context(gzip.GzipFile(fileobj=file)) if zipped else file

        def step(_):
            if progress:
                progress(file.tell(), total)

        with tarfile.open(fileobj=stream, mode="r:") as members:
            for member in members:
                _untar_member(archive, members, member, target, step)
        _require_end(stream)
        step(0)


def _untar_member(archive, members, member, target, step):
    path = _path(archive, member.name, target)
    if path is None:
        return
    if not (member.isdir() or member.isfile()) or member.size < 0:
        raise _refused(archive, member.name, "it is a link, a device or the like")
    if member.isdir():
        _write(archive, member.name, path, None, step)
        return
    _require_space(archive, target, member.size)
    with members.extractfile(member) as source:
        _write(archive, member.name, path, source, step)


def _require_end(stream):
    """What follows the last member is zeros up to the end, at least a block of them.

    tarfile takes a cut between two members, or a damaged header, for the end; and reading to the
    end makes gzip compare its checksum.
    """
    rest = 0
    while chunk := stream.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        rest += len(chunk)
    if not rest:
        raise tarfile.ReadError("unexpected end of data")


def _unzip(archive, target, progress):
    with zipfile.ZipFile(archive) as members:
        chosen = []
        for member in members.infolist():
            path = _path(archive, member.filename, target)
            if path is not None:
                _require_plain(archive, member)
                chosen.append((member, path))
        total = sum(member.file_size for member, _ in chosen)
        _require_space(archive, target, total)
        done = 0

        def step(count):
            nonlocal done
            done += count
            if progress:
                progress(done, total)

        for member, path in chosen:
            if member.is_dir():
                _write(archive, member.filename, path, None, step)
            else:
                with members.open(member) as source:
                    _write(archive, member.filename, path, source, step)


def _require_plain(archive, member):
    """Refuse what a zip file can hold beside files and folders that Python reads everywhere."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, member.filename, "it is a link, a device or the like")
    if member.flag_bits & 0x1:
        raise _refused(archive, member.filename, "it is encrypted; extract it by hand")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(
            archive, member.filename, "its compression is not deflate; extract it by hand"
        )


def _path(archive, name, target):
    """Where a member goes to; `None` if it is passed over."""
    parts = name.split("/")
    outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    # On Windows a drive letter starts from anew wherever it stands.
    if outside or any(re.match("[A-Za-z]:", part) for part in parts):
        raise _refused(archive, name, "it could land outside the folder")
    if any(part.startswith("._") or part in ("__MACOSX", ".DS_Store") for part in parts):
        return None
    return target.joinpath(*parts)


def _write(archive, name, path, source, step):
    """Write a file, or make a folder if there is no source.

    Modes and owners are those of a file that the user makes, whatever the archive says.
    """
    try:
        if source is None:
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
                step(len(chunk))
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(archive, name, "it is there twice") from error


def _require_space(archive, folder, size):
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ValueError(
            "`folder` must be on a disk with enough free space. Received: "
            f"folder={folder.parent}, {free:,} bytes free, archive={archive}, at least "
            f"{size:,} bytes needed"
        )


def _refused(archive, name, reason):
    return ValueError(
        "`archive` must hold plain files and folders that land inside `folder`. "
        f"Received: archive={archive}, member {name!r}: {reason}"
    )


def _put_in_place(archive, temporary, folder):
    names = sorted(os.listdir(temporary))
    if not names:
        raise ValueError(f"`archive` must hold files. Received: archive={archive}, it is empty")
    there = [name for name in names if os.path.lexists(folder / name)]
    for name in there:
        wrong = _difference(temporary / name, folder / name)
        if wrong:
            raise ValueError(
                f"`folder` must not hold another {name} than the archive, as old and new files are "
                f"never mixed: move or delete {folder / name}. "
                f"Received: folder={folder}, archive={archive}, {wrong}"
            )
    for name in names:
        if name not in there:
            os.rename(temporary / name, folder / name)
    return tuple(folder / name for name in names)


def _difference(new, old):
    """What of the new entry the old one lacks or has otherwise; `None` if it has everything."""
    for path in (new, *sorted(new.rglob("*"))):
        other = old / path.relative_to(new)
        if not other.exists():
            return f"{other} is missing"
        if path.is_dir() != other.is_dir():
            return f"{other} is not what it is in the archive"
        if path.is_file() and not filecmp.cmp(path, other, shallow=False):
            return f"{other} differs"
    return None
