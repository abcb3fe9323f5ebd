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
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

from mdl_tf.files import locked, temporary_folder

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
ZIP_SUFFIX = ".zip"

_PIECE = 1 << 20  # bytes that are read at once
_MOST = 10_000_000  # members; the largest data set has some 120,000
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
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the folder and not beside it, which may be another disk.
        with locked(folder), temporary_folder(folder, archive.name) as temporary:
            unpack(_Members(archive, temporary), progress)
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
            "`folder` must be on a disk with enough free space, and it is full. What was extracted "
            "is removed again, and the archive stays. "
            f"Received: folder={folder}, archive={archive}"
        )
    return (
        "`archive` must be readable, and `folder` a folder that can be written to. "
        f"Received: archive={archive}, folder={folder}, {error}"
    )


class _Members:
    """What may be in an archive, asked for one member after the other.

    Args:
        archive: path of the archive.
        target: the empty folder that it is extracted to.
    """

    def __init__(self, archive, target):
        self.archive, self.target = archive, target
        self._count = 0

    def admit(self, name, size, is_folder):
        """Whether to extract a member; `False` for what macOS adds.

        Raises:
            ValueError: if it may not be in an archive, or does not fit on the disk.
        """
        self._count += 1
        if self._count > _MOST:
            raise self.refused(name, f"it is one of more than {_MOST:,}")
        parts = name.split("/")
        outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
        # On Windows a drive letter starts from anew wherever it stands.
        if outside or any(re.match("[A-Za-z]:", part) for part in parts):
            raise self.refused(name, "it could land outside the folder")
        if any(part.startswith("._") or part in ("__MACOSX", ".DS_Store") for part in parts):
            return False
        # Looked up on the disk, which may not tell upper from lower case.
        path = self.target.joinpath(*parts)
        places = [self.target.joinpath(*parts[:i]) for i in range(1, len(parts))]
        taken = os.path.lexists(path) and not (is_folder and path.is_dir())
        if taken or any(place.is_file() for place in places):
            raise self.refused(name, "it is there twice")
        self.require_space(size)
        return True

    def require_space(self, size):
        """Refuse what does not fit on the disk."""
        free = shutil.disk_usage(self.target).free
        if size > free:
            raise ValueError(
                "`folder` must be on a disk with enough free space. Received: "
                f"folder={self.target.parent}, {free:,} bytes free, archive={self.archive}, at "
                f"least {size:,} bytes needed"
            )

    def refused(self, name, reason):
        """The error for a member that may not be there."""
        return ValueError(
            "`archive` must hold plain files and folders that land inside `folder`. "
            f"Received: archive={self.archive}, member {name!r}: {reason}"
        )


def _untar(members, progress):
    if not hasattr(tarfile, "data_filter"):
        version = ".".join(map(str, sys.version_info[:3]))
        raise ValueError(
            "Tar files are extracted by Python 3.10.12, 3.11.4 or newer; or extract this one by "
            f"hand. Received: archive={members.archive}, Python {version}"
        )
    total = members.archive.stat().st_size
    # A lower bound; the sum of the members would need a pass of its own through the archive.
    members.require_space(total)

    def take(member, target):
        # Links are refused here, and with them all by which Python's filter could be deceived
        # before 3.10.18, 3.11.13 and 3.12.11 (CVE-2025-4517, 4330, 4138 and 2024-12718).
        if not (member.isdir() or member.isfile()) or member.size < 0:
            raise members.refused(member.name, "it is a link, a device or the like")
        if progress:
            progress(file.tell(), total)
        if not members.admit(member.name, member.size, member.isdir()):
            return None
        # Modes and times are those of a file that the user makes, whatever the archive says.
        return tarfile.data_filter(member, target).replace(mode=None, mtime=None, deep=False)

    with open(members.archive, "rb") as file, contextlib.ExitStack() as stack:
        # By content and not by name: browsers unzip a .tgz and keep its name.
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = stack.enter_context(gzip.GzipFile(fileobj=file)) if zipped else file
        with tarfile.open(fileobj=_Pieces(stream), mode="r:") as tar:
            tar.extractall(members.target, filter=take)
        _require_end(stream)
        if progress:
            progress(file.tell(), total)


class _Pieces:
    """A stream of which no more is asked at once than a piece: headers state lengths of their own.

    Args:
        stream: a binary file.
    """

    def __init__(self, stream):
        self._read, self.seek, self.tell = stream.read, stream.seek, stream.tell

    def read(self, size):
        """As of a file."""
        if not 0 <= size <= _PIECE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._read(size)


def _require_end(stream):
    """What follows the last member is zeros up to the end, at least a block of them.

    tarfile takes a cut between two members, or a damaged header, for the end; and reading to the
    end makes gzip compare its checksum.
    """
    rest = 0
    while chunk := stream.read(_PIECE):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        rest += len(chunk)
    if not rest:
        raise tarfile.ReadError("unexpected end of data")


def _unzip(members, progress):
    with zipfile.ZipFile(members.archive) as file:
        infos = file.infolist()
        total = sum(info.file_size for info in infos)
        members.require_space(total)
        done = 0
        for info in infos:
            _require_plain(members, info)
            if members.admit(info.filename, info.file_size, info.is_dir()):
                file.extract(info, members.target)
            done += info.file_size
            if progress:
                progress(done, total)


def _require_plain(members, info):
    """Refuse what a zip file can hold beside files and folders that Python reads everywhere."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    reason = None
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "it is a link, a device or the like"
    elif info.flag_bits & 0x1:
        reason = "it is encrypted; extract it by hand"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        reason = "its compression is not deflate; extract it by hand"
    if reason:
        raise members.refused(info.filename, reason)


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
