"""Weight files of PyTorch, without PyTorch and without running what is in them.

`torch.save` writes one of two forms. The older is a stream: five pickles (a magic number, the
version, facts about the machine, the object, the keys of the storages), and then the storages, each
as a count of elements and their bytes. The newer is a zip with the object in `data.pkl` and each
storage in an entry of its own.
"""

import os
import struct
import zipfile
from pathlib import Path

from mdl_tf.backbones.torch_file import unpickler
from mdl_tf.backbones.torch_file.messages import (
    NO_TORCH_FILE,
    Unreadable,
    damaged,
    other_archive,
    other_file,
)
from mdl_tf.backbones.torch_file.tensors import Copier
from mdl_tf.words import clean

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


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
            return _read(file, os.fstat(file.fileno()).st_size)
    except Unreadable as error:
        rule, detail = error.args
        raise ValueError(f"`path` must {rule}. Received: path={path}, {detail}") from error
    except OSError as error:
        raise ValueError(f"`path` must be readable. Received: path={path}, {error}") from error


def _read(file, size):
    beginning = file.read(512)
    file.seek(0)
    try:
        if beginning.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive:
                value = _read_archive(archive, size)
        elif beginning.startswith(b"\x80"):
            value = _read_stream(file, size)
        else:
            raise Unreadable(NO_TORCH_FILE, f"which is {other_file(beginning)}")
        value = Copier(size).copy(value)
    except Unreadable:
        raise
    except Exception as error:  # `pickle` and `zipfile` raise whatever damaged data lead to
        raise damaged(str(error) or type(error).__name__) from error
    if type(value) is not dict:
        raise Unreadable("hold a dict of tensors by name", f"which holds a {type(value).__name__}")
    for name in value:
        if type(name) is not str:
            kind = type(name).__name__
            raise Unreadable("hold a dict of tensors by name", f"which has a name of type {kind}")
    return value


def _read_stream(file, size):
    if _next_pickle(file, size)[0] != _MAGIC:
        raise Unreadable(NO_TORCH_FILE, "which is a pickle of another program")
    if _next_pickle(file, size)[0] != _VERSION:
        raise damaged("its version is not 1001")
    system, _ = _next_pickle(file, size)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Unreadable("have been written on a little-endian machine", "which says otherwise")
    value, storages = _next_pickle(file, size)
    keys, _ = _next_pickle(file, size)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise damaged("its list of storages is no list of text")
    if len(keys) != len(storages) or set(keys) != set(storages):
        raise damaged("its list of storages differs from those of its tensors")
    for key in keys:
        if _take(file, 8, size) != struct.pack("<q", len(storages[key].numbers)):
            raise damaged(f"storage {clean(key, 100)} has another length than its tensors say")
        storages[key].fill(_take(file, storages[key].bytes, size))
    if file.tell() != size:
        raise damaged(f"{size - file.tell()} bytes follow its last storage")
    return value


def _next_pickle(file, size):
    """The value of the pickle at the position of a file, and its storages."""
    place = file.tell()
    # `read` reserves memory for what it is asked.
    data = file.read(min(size - place, unpickler.LARGEST))
    value, storages, length = unpickler.load(data, size)
    file.seek(place + length)
    return value, storages


def _take(file, count, size):
    missing = file.tell() + count - size
    if missing > 0:
        raise damaged(f"at least {missing} bytes are missing at its end")
    return file.read(count)


def _read_archive(archive, size):
    entries = {entry.filename: entry for entry in archive.infolist()}
    folder = _folder(archive, entries, size)
    entry = entries[f"{folder}/data.pkl"]
    if entry.file_size > unpickler.LARGEST:
        raise damaged(f"its pickle has more than {unpickler.LARGEST} bytes")
    pickled = archive.read(entry)
    value, storages, length = unpickler.load(pickled, size)
    if length < len(pickled):
        raise damaged("something follows its pickle")
    entry = entries.get(f"{folder}/byteorder")
    order = b"little" if entry is None else archive.read(entry)
    if order not in (b"little", b"big"):
        raise damaged("its byte order is neither little nor big")
    for key, storage in storages.items():
        entry = entries.get(f"{folder}/data/{key}")
        if entry is None or entry.file_size != storage.bytes:
            wrong = "is missing" if entry is None else "has another length than its tensors say"
            raise damaged(f"storage {clean(key, 100)} {wrong}")
        storage.fill(archive.read(entry), "<" if order == b"little" else ">")
    return value


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
