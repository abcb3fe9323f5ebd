"""A pickle as data: `pickletools` checks its instructions, then an `Unpickler` that can call four
functions of ours, and nothing else, reads it.

The names that an `Unpickler` finds decide what can run, and not how much work or memory a pickle
asks for. So instructions are checked first, and keys of dicts before they are hashed.
"""

import io
import pickle
import pickletools
from typing import NamedTuple

import numpy as np

from mdl_tf.backbones.torch_file.messages import damaged, refused
from mdl_tf.backbones.torch_file.tensors import (
    STORAGES,
    Storage,
    are_counts,
    make_parameter,
    make_tensor,
)

LARGEST = 32 << 20  # bytes of a pickle; that of ImageNet weights has some 100,000
_LIMIT = 2_000_000  # instructions, and items that calls copy; ImageNet weights have some 10,000
_INSTRUCTIONS = frozenset(
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT MEMOIZE "
    "BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID".split()
)
# Their length, and what is read in their place: a call that makes a `Dict`, and nothing.
_REPLACED = {"EMPTY_DICT": (1, b"ccollections\nOrderedDict\n)R"), "FRAME": (9, b"")}
_KEYS = (str, int, bool, type(None))
_LARGEST_KEY = 1 << 32  # larger ones can be chosen to have equal hashes, and filling takes for ever


class Dict(dict):
    """A dict that hashes no key before it is known to be harmless, and sets each once."""

    __slots__ = ()

    def __setitem__(self, key, value):
        if type(key) not in _KEYS or (type(key) is int and abs(key) > _LARGEST_KEY):
            raise damaged("its pickle has a key that is neither text nor a small integer")
        if key in self:
            raise damaged("its pickle has a key twice")
        super().__setitem__(key, value)

    def __setstate__(self, state):
        # The versions of the modules of a state dict, which no weight depends on.
        if type(state) is not Dict or list(state) != ["_metadata"]:
            raise refused("to set attributes")


class Name(NamedTuple):
    """What a pickle names. As a tuple it has no attributes that a pickle could set."""

    name: str
    unpickler: pickle.Unpickler

    def __call__(self, *arguments):
        if self.name not in _CALLS:
            raise refused(f"to call {self.name}")
        return _CALLS[self.name](self.unpickler, *arguments)


class _Unpickler(pickle.Unpickler):
    def __init__(self, instructions, file_size):
        # Python 2 wrote text as bytes.
        super().__init__(io.BytesIO(instructions), encoding="latin1")
        self.storages = {}
        self._room = file_size
        self._copied = 0

    def find_class(self, module, name):
        if f"{module}.{name}" not in _NAMES:
            raise refused(f"{module}.{name}")
        return Name(f"{module}.{name}", self)

    def persistent_load(self, parts):
        if type(parts) is not tuple or len(parts) not in (5, 6) or parts[0] != "storage":
            raise refused("a persistent id that is no storage")
        _, kind, key, _, count, part = (*parts, None)[:6]
        if type(kind) is not Name or kind.name not in STORAGES:
            raise refused("a storage of no known type")
        if type(key) is not str or not are_counts(count):
            raise damaged("its pickle has a storage without key or length")
        if key not in self.storages:
            stored, made = STORAGES[kind.name]
            self._room -= count * stored.itemsize
            if self._room < 0:
                raise damaged("its storages are larger than the file")
            self.storages[key] = Storage(kind.name, np.empty(count, made))
        name, numbers = self.storages[key]
        if (name, len(numbers)) != (kind.name, count):
            raise damaged("its pickle describes a storage in two ways")
        _, start, length = (None, 0, count) if part is None else part
        if not are_counts(start, length) or start + length > count:
            raise damaged("its pickle has a part of a storage that is not in it")
        return Storage(name, numbers[start : start + length])

    def spend(self, count):
        """Count items that are copied: what the memo keeps costs no bytes in the file."""
        self._copied += count
        if self._copied > _LIMIT:
            raise damaged(f"its pickle copies more than {_LIMIT} items")


def load(data, file_size):
    """Read the pickle at the beginning of some bytes.

    Args:
        data: bytes, at most `LARGEST`; those after the pickle are not looked at.
        file_size: bytes of the whole file, which storages cannot exceed.

    Returns:
        The value, with each tensor a `Tensor`; a dict of the storages that it names, each to be
        filled; and the length of the pickle in bytes.

    Raises:
        Unreadable, or any error of `Unpickler.load`: if the pickle is damaged or wants more than
            data.
    """
    instructions, length = _check(data)
    unpickler = _Unpickler(instructions, file_size)
    return unpickler.load(), unpickler.storages, length


def _check(data):
    """The instructions of a pickle as they may be read, and its length."""
    stream = io.BytesIO(data)
    parts, begin, height, marks = [], 0, 0, []
    for number, (opcode, argument, place) in enumerate(pickletools.genops(stream)):
        name, taken = opcode.name, opcode.stack_before
        wish = argument.replace(" ", ".", 1) if name in ("GLOBAL", "INST") else ""
        if name not in _INSTRUCTIONS or (wish and wish not in _NAMES):
            raise refused(wish or f"the pickle instruction {name}")
        if number > _LIMIT:
            raise damaged(f"its pickle has more than {_LIMIT} instructions")
        if name.endswith("PUT") and argument > number:
            raise damaged(f"its pickle keeps value {argument}, and has not made so many")
        if name in _REPLACED:
            width, instead = _REPLACED[name]
            parts += data[begin:place], instead
            begin = place + width
        if pickletools.markobject in taken:
            height = (marks.pop() if marks else 0) - taken.index(pickletools.markobject)
        else:
            height -= len(taken)
        if name == "MARK":
            marks.append(height)
        else:
            height += len(opcode.stack_after)
    if height or marks:
        raise damaged("its pickle does not end in one value")
    return b"".join([*parts, data[begin : stream.tell()]]), stream.tell()


def _make_dict(unpickler, pairs=()):
    unpickler.spend(len(pairs))
    made = Dict()
    for key, value in pairs:
        made[key] = value
    return made


def _make_bytes(unpickler, text="", encoding="latin1"):
    """How pickles of protocol 2 write bytes, if there are any."""
    if encoding != "latin1":
        raise refused("_codecs.encode of other than latin1")
    unpickler.spend(len(text))
    return text.encode("latin1")


_CALLS = {
    "collections.OrderedDict": _make_dict,
    "torch._utils._rebuild_tensor": make_tensor,
    "torch._utils._rebuild_tensor_v2": make_tensor,
    "torch._utils._rebuild_parameter": make_parameter,
    "_codecs.encode": _make_bytes,
    "__builtin__.bytes": _make_bytes,
}
_NAMES = {*_CALLS, *STORAGES}
