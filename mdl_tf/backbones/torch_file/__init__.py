"""Weight files of PyTorch, without PyTorch and without running what is in them.

`torch.save` writes one of two forms. The older is a stream: five pickles (a magic number, the
version, facts about the machine, the object, the keys of the storages), and then the storages, each
as a count of elements and their bytes. The newer is a zip with the object in `data.pkl` and each
storage in an entry of its own.
"""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

from mdl_tf.backbones.torch_file import machine
from mdl_tf.backbones.torch_file.messages import (
    NO_TORCH_FILE,
    Unreadable,
    damaged,
    other_archive,
    other_file,
    shown,
)
from mdl_tf.backbones.torch_file.objects import ITEM_SIZES
from mdl_tf.backbones.torch_file.tensors import Arrays

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_ZIP = b"PK"
_PICKLE = b"\x80"

# What `zipfile` raises for damaged archives.
_BROKEN_ZIP = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, OverflowError, ValueError),
)


def read(path):
    """Read a file of `torch.save`: the stream of PyTorch before 1.6, or the zip since then.

    Nothing in the file is run. Known are dicts, lists, tuples, text, bytes, numbers, `True`,
    `False`, `None` and tensors on dense storages, also as parameters; what modules note about their
    versions (`_metadata`) is left out.

    Args:
        path: path of the file, usually `.pth` or `.pt`.

    Returns:
        A dict from text to values, in the order of the file. Tensors are NumPy arrays of their own,
        contiguous, of native byte order, with the shape PyTorch has (OIHW for kernels); bfloat16
        becomes float32. An `OrderedDict` is a dict.

    Raises:
        ValueError: if `path` is no file, is of another kind, is damaged or cut off, or wants
            anything that is no data, which is named.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"`path` must be a file, not a folder. Received: path={path}")
    if not path.is_file():
        raise ValueError(f"`path` must be a file that exists. Received: path={path}")
    try:
        with open(path, "rb") as file:
            return _names(_read(file, os.fstat(file.fileno()).st_size))
    except Unreadable as error:
        raise ValueError(
            f"`path` must {error.rule}. Received: path={path}, {error.detail}"
        ) from error
    except OSError as error:
        raise ValueError(f"`path` must be readable. Received: path={path}, {error}") from error


def _names(value):
    if type(value) is not dict:
        raise Unreadable("hold a dict of tensors by name", f"which holds a {type(value).__name__}")
    for name in value:
        if type(name) is not str:
            kind = type(name).__name__
            raise Unreadable("hold a dict of tensors by name", f"which has a name of type {kind}")
    return value


def _read(file, size):
    begin = file.read(512)
    file.seek(0)
    if begin.startswith(_ZIP):
        return _read_zip(file, size)
    if begin.startswith(_PICKLE):
        return _read_stream(_Bounded(file, size), size)
    raise Unreadable(NO_TORCH_FILE, f"which is {other_file(begin)}")


class _Bounded:
    """A file that is never asked for more than it has: `read` reserves memory for what it is asked.

    Args:
        file: a binary file at its start.
        size: bytes of the file.
    """

    def __init__(self, file, size):
        self._file = file
        self._size = size
        self.tell = file.tell
        self.readline = file.readline

    def read(self, count):
        """Read bytes.

        Args:
            count: how many; less at the end of the file.

        Returns:
            The bytes.
        """
        return self._file.read(min(count, self._size - self.tell()))


def _read_stream(stream, size):
    if machine.load(stream)[0] != _MAGIC:
        raise Unreadable(NO_TORCH_FILE, "which is a pickle of another program")
    if machine.load(stream)[0] != _VERSION:
        raise damaged("its version is not 1001")
    system, _ = machine.load(stream)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Unreadable("have been written on a little-endian machine", "which says otherwise")
    value, storages = machine.load(stream)
    keys, _ = machine.load(stream)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise damaged("its list of storages is no list of text")
    if len(keys) != len(storages) or set(keys) != set(storages):
        raise damaged("its list of storages differs from those of its tensors")
    arrays = Arrays(value, size)
    for key in keys:
        count = storages[key].count
        _require(stream, 8, size)
        if struct.unpack("<q", stream.read(8)) != (count,):
            raise damaged(f"storage {shown(key)} has another length than its tensors say")
        _require(stream, count * ITEM_SIZES[storages[key].kind], size)
        arrays.fill(key, stream.read(count * ITEM_SIZES[storages[key].kind]))
    if stream.tell() != size:
        raise damaged(f"{size - stream.tell()} bytes follow its last storage")
    return arrays.value


def _require(stream, count, size):
    missing = stream.tell() + count - size
    if missing > 0:
        raise damaged(f"at least {missing} bytes are missing at its end")


def _read_zip(file, size):
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive, size)
    except _BROKEN_ZIP as error:
        raise damaged(shown(str(error))) from error


def _read_archive(archive, size):
    entries = {entry.filename: entry for entry in archive.infolist()}
    folder = _folder(archive, entries, size)
    pickled = io.BytesIO(archive.read(entries[f"{folder}/data.pkl"]))
    value, storages = machine.load(pickled)
    if pickled.read(1):
        raise damaged("something follows its pickle")
    big_endian = _is_big_endian(archive, entries.get(f"{folder}/byteorder"))
    arrays = Arrays(value, size)
    for key, storage in storages.items():
        entry = entries.get(f"{folder}/data/{key}")
        if entry is None or entry.file_size != storage.count * ITEM_SIZES[storage.kind]:
            wrong = "is missing" if entry is None else "has another length than its tensors say"
            raise damaged(f"storage {shown(key)} {wrong}")
        arrays.fill(key, archive.read(entry), big_endian)
    return arrays.value


def _folder(archive, entries, size):
    """The one folder of the archive, after a look at whether the entries can be trusted."""
    if len(entries) != len(archive.infolist()):
        raise damaged("it has an entry twice")
    folders = [name.split("/")[0] for name in entries if name.split("/")[1:] == ["data.pkl"]]
    if len(folders) != 1 or f"{folders[0]}/constants.pkl" in entries:
        raise Unreadable(NO_TORCH_FILE, f"which is {other_archive(entries)}")
    if any(entry.compress_type or entry.flag_bits & 1 for entry in entries.values()):
        raise Unreadable("be as torch.save wrote it", "whose entries are compressed or encrypted")
    lengths = sum(max(entry.file_size, entry.compress_size) for entry in entries.values())
    if lengths > size:
        raise damaged("its entries are larger than the file")
    return folders[0]


def _is_big_endian(archive, entry):
    order = b"little" if entry is None else archive.read(entry)
    if order not in (b"little", b"big"):
        raise damaged("its byte order is neither little nor big")
    return order == b"big"
