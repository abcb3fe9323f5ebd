"""PyTorch's storages and tensors as NumPy arrays.

A tensor is a view of its storage, which is filled when its bytes are read, and copied at the end.
"""

from typing import NamedTuple

import numpy as np

from mdl_tf.backbones.torch_file.messages import damaged, refused

_BFLOAT16 = "torch.BFloat16Storage"  # its elements are the upper halves of float32
_TYPES = "Double:f8 Float:f4 Half:f2 Long:i8 Int:i4 Short:i2 Char:i1 Byte:u1"
# By the names of PyTorch's storage classes: the type of an element in the file, and in arrays.
STORAGES = {
    _BFLOAT16: (np.dtype("u2"), np.dtype("f4")),
    "torch.BoolStorage": (np.dtype("u1"), np.dtype("?")),
    **{
        f"torch.{name}Storage": (np.dtype(code), np.dtype(code))
        for name, code in (entry.split(":") for entry in _TYPES.split())
    },
}
_LARGEST = 2**63 - 1  # what PyTorch counts with
# A tensor may repeat its elements, so a small file could ask for any amount of memory.
_FACTOR = 4
_ALLOWANCE = 64 << 20  # bytes
_ARRAY = 600  # bytes of an array beside its elements
_DEEPEST = 100
_PLAIN = (str, bytes, int, float, bool, type(None))


# As tuples these have no attributes that a pickle could set.
class Storage(NamedTuple):
    """Elements that the file keeps in a row, or a part of them."""

    name: str  # a key of STORAGES
    numbers: np.ndarray

    @property
    def bytes(self):
        """Its length in the file."""
        return len(self.numbers) * STORAGES[self.name][0].itemsize

    def fill(self, data, order="<"):
        """Set the elements from their bytes; `order` is NumPy's sign of the byte order."""
        numbers = np.frombuffer(data, STORAGES[self.name][0].newbyteorder(order))
        if self.name == _BFLOAT16:
            numbers = (numbers.astype("u4") << 16).view("f4")
        self.numbers[...] = numbers  # of type bool: any byte but 0 is true


class Tensor(NamedTuple):
    """A view of a storage."""

    view: np.ndarray


def are_counts(*values):
    """Whether all are integers with which PyTorch can count."""
    return all(type(value) is int and 0 <= value <= _LARGEST for value in values)


def make_tensor(unpickler, storage, offset, size, stride, grad=False, hooks=None, bits=None):
    """A `Tensor` by the arguments of `torch._utils._rebuild_tensor_v2`; all count elements."""
    if hooks or bits:
        raise refused("a tensor with hooks, or with a sign or conjugation to be applied")
    if type(storage) is not Storage or not type(size) is type(stride) is tuple:
        raise damaged("its pickle has a tensor without storage, size or stride")
    if not are_counts(offset, *size, *stride):
        raise damaged("its pickle has a tensor with a negative or too large size or stride")
    # Steps along a size of 1 are never taken, and PyTorch writes any number there.
    steps = [0 if n < 2 or 0 in size else step for n, step in zip(size, stride, strict=True)]
    # NumPy's own look at the bounds is made with numbers that can overflow.
    last = sum((n - 1) * step for n, step in zip(size, steps, strict=True))
    if offset + (last + 1) * (0 not in size) > len(storage.numbers):
        raise damaged("a tensor ends behind its storage")
    width = storage.numbers.itemsize
    steps = [step * width for step in steps]
    return Tensor(np.ndarray(size, storage.numbers.dtype, storage.numbers, offset * width, steps))


def make_parameter(unpickler, tensor, grad, hooks):
    """The `Tensor` of a parameter by the arguments of `torch._utils._rebuild_parameter`."""
    if type(tensor) is not Tensor:
        raise damaged("its pickle has a parameter without a tensor")
    if hooks:
        raise refused("a parameter with hooks")
    return tensor


class Copier:
    """Makes values of their own of what a pickle holds: of each `Tensor` an array.

    Args:
        file_size: bytes of the whole file, of which the arrays may be a few times as many.
    """

    def __init__(self, file_size):
        self._room = _FACTOR * file_size + _ALLOWANCE
        self._open = set()
        self._done = {}

    def copy(self, value):
        """A copy of dicts, lists, tuples, plain values and arrays; refuses others and cycles."""
        if type(value) in _PLAIN:
            return value
        if type(value) is Tensor:
            self._room -= value.view.nbytes + _ARRAY
            if self._room < 0:
                raise damaged("its tensors are far larger than the file")
            return np.array(value.view, order="C")
        if not isinstance(value, dict) and type(value) not in (list, tuple):
            raise refused("a storage without a tensor" if type(value) is Storage else value.name)
        # What the file holds once and names often stays one object, or it could grow without end.
        if id(value) not in self._done:
            if id(value) in self._open or len(self._open) >= _DEEPEST:
                raise damaged(f"its values are nested more than {_DEEPEST} deep, or in themselves")
            self._open.add(id(value))
            if isinstance(value, dict):
                self._done[id(value)] = {key: self.copy(item) for key, item in value.items()}
            else:
                self._done[id(value)] = type(value)([self.copy(item) for item in value])
            self._open.remove(id(value))
        return self._done[id(value)]
