"""Files that may be damaged or come from strangers, read within bounds: JSON, arrays of NumPy.

What is wrong is told as a `ValueError` whose text completes "the file ...": the caller knows which
file it is, and what to do about it. Loads little.
"""

import json
import math
import os
import stat
import zipfile

from mdl_tf.words import shorten

MOST_TEXT = 2**28  # bytes of a text file; the largest of ours has some megabytes
MOST_DIGITS = 40  # of an integer in JSON; ours have ten
MOST_NESTED = 50  # lists and objects inside of each other in JSON; ours have five
_MOST_INFLATED = 1032  # bytes that deflate makes of one at most


class _Wrong(ValueError):
    """What we say of a file ourselves, which needs no more words."""


def read_text(path):
    """The text of a file.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no file, cannot be read, is no UTF-8, or very large.
    """
    check_file(path, MOST_TEXT)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def check_file(path, most=None):
    """Refuse what is no file, before it is opened: opening a pipe waits for ever.

    Args:
        path: what is to be opened.
        most: bytes that it may have. Defaults to `None`: any.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no file, or too large.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if stat.S_ISDIR(found.st_mode):
        raise ValueError("is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is a pipe or a device")
    if most is not None and found.st_size > most:
        raise ValueError(f"has {found.st_size:,} bytes, more than {most:,}")


def parse_json(text, most_nested=MOST_NESTED):
    """What a JSON text holds, of finite numbers, none of them very long, and not nested deeply.

    Args:
        text: a string.
        most_nested: lists and objects that may be inside of each other. Defaults to `50`.

    Raises:
        ValueError: for anything else.
    """
    if not text.strip():
        raise ValueError("is empty")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_float, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON ({error})") from error
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    # What goes through a value later on, such as `copy.deepcopy`, takes a call for each level.
    level, depth = _containers([value]), 0
    while level:
        depth += 1
        if depth > most_nested:
            raise ValueError("is nested too deeply")
        level = _containers(
            item for part in level for item in (part.values() if isinstance(part, dict) else part)
        )
    return value


def _containers(values):
    return [value for value in values if isinstance(value, dict | list)]


def read_json(path):
    """What a JSON file holds; bounds as in `parse_json`.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no such file.
    """
    return parse_json(read_text(path))


def _refuse(constant):
    raise ValueError(f"has the number {constant}")


def _float(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"has the number {_in_short(text)}, which is not finite")
    return value


def _integer(text):
    if len(text) > MOST_DIGITS:
        raise ValueError(f"has an integer of {len(text):,} digits")
    return int(text)


def _in_short(text):
    return shorten(text, 20)


def read_arrays(path, keys=None):
    """The arrays of an `.npz` file, none of which takes more memory than the file can hold.

    Args:
        path: of the file.
        keys: which are read, of those that are there. Defaults to `None`: all.

    Returns:
        A dict from names to arrays.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no such file, is damaged, holds Python objects, or claims arrays that
            are not in it.
    """
    import numpy as np

    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise _Wrong(f"holds {min(twice)!r} twice")
            arrays, size = {}, os.path.getsize(path)
            for name, info in zip(names, archive.infolist(), strict=True):
                if keys is None or name in keys:
                    _check_member(archive, info, size)
                    with archive.open(info) as member:
                        arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
            return arrays
    except _Wrong:
        raise
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from error
    # Damage shows itself in many ways: `zipfile.BadZipFile`, `zlib.error`, `EOFError`, `KeyError`,
    # `struct.error`, `SyntaxError` of a header, `NotImplementedError` of a compression.
    except Exception as error:
        raise ValueError(f"is no complete .npz file ({error or type(error).__name__})") from error


def list_arrays(path):
    """The names of the arrays in an `.npz` file; errors as those of `read_arrays`."""
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"is no complete .npz file ({error})") from error


def _check_member(archive, info, size):
    """Refuse an array whose header promises more than is there: NumPy allocates what it says."""
    import numpy as np

    if info.compress_size > size or info.file_size > info.compress_size * _MOST_INFLATED + 1024:
        raise _Wrong(f"claims {info.file_size:,} bytes of {info.filename!r}, and has {size:,}")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise _Wrong(f"has {info.filename!r} in a form that is not known, {version}")
        shape, _, dtype = read(member)
        header = member.tell()
    if dtype.hasobject:
        raise _Wrong(f"holds Python objects in {info.filename!r}, which are not read")
    if math.prod(shape) * dtype.itemsize + header > info.file_size:
        raise _Wrong(f"claims an array of shape {shape} in {info.filename!r}, and is too short")
