"""PyTorch's tensors as NumPy arrays: what a pickle describes, and the bytes beside it."""

import collections
import math

import numpy as np

from mdl_tf.backbones.torch_file.messages import damaged, refused
from mdl_tf.backbones.torch_file.objects import ITEM_SIZES, Storage, Tensor

_TYPES = {
    **{"DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2"},
    "BFloat16Storage": "u2",  # the upper half of a float32
    **{"LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1"},
    **{"ByteStorage": "u1", "BoolStorage": "u1"},
}
_RESULTS = {**_TYPES, "BFloat16Storage": "f4", "BoolStorage": "?"}

# A tensor may repeat its elements, so a small file could ask for any amount of memory.
_FACTOR = 4
_ALLOWANCE = 64 << 20  # bytes
_ARRAY = 600  # bytes of an array beside its elements
_DEEPEST = 100
_DIMENSIONS = 32  # of NumPy 1
_PLAIN = (str, bytes, int, float, bool, type(None))


class Arrays:
    """A value with its tensors as arrays, which are filled as the storages arrive.

    Args:
        value: a value of `machine.load`.
        file_size: bytes of the whole file.

    Attributes:
        value: the same with dicts, lists, tuples and plain values as they are, and an array of its
            own in place of each `Tensor`, contiguous and of native byte order.
        wanted: keys of the storages that the arrays need, in the order of the tensors.

    Raises:
        Unreadable: if a tensor leaves its storage; if the arrays would be much larger than the
            file; if the value is nested more than 100 deep or in itself, or holds what is no data.
    """

    def __init__(self, value, file_size):
        self._room = _FACTOR * file_size + _ALLOWANCE
        self._open = set()
        self._done = {}
        self.wanted = {}
        self.value = self._plain(value)

    def fill(self, key, data, big_endian=False):
        """Write the elements of a storage into the arrays that need it.

        Args:
            key: key of the storage.
            data: its bytes, as many as the pickle says.
            big_endian: whether the most significant byte is first. Defaults to `False`.
        """
        for tensor, array in self.wanted.get(key, ()):
            _copy(tensor, data, ">" if big_endian else "<", array)

    def _plain(self, value):
        if type(value) in _PLAIN:
            return value
        if type(value) is Tensor:
            return self._array(value)
        if type(value) not in (dict, collections.OrderedDict, list, tuple):
            raise refused("a storage without a tensor" if type(value) is Storage else value.name)
        # What the file holds once and names often stays one object, or it could grow without end.
        if id(value) not in self._done:
            if id(value) in self._open or len(self._open) >= _DEEPEST:
                raise damaged(f"its values are nested more than {_DEEPEST} deep, or in themselves")
            self._open.add(id(value))
            self._done[id(value)] = self._container(value)
            self._open.remove(id(value))
        return self._done[id(value)]

    def _container(self, value):
        if type(value) in (list, tuple):
            return type(value)([self._plain(item) for item in value])
        return {key: self._plain(item) for key, item in value.items()}

    def _array(self, tensor):
        _check_bounds(tensor)
        result = np.dtype(_RESULTS[tensor.storage.kind])
        # Sizes of 0 do not count: NumPy refuses shapes whose other sizes are beyond measure.
        self._room -= math.prod(n for n in tensor.size if n) * result.itemsize + _ARRAY
        if self._room < 0:
            raise damaged("its tensors are far larger than the file")
        array = np.empty(tensor.size, result)
        if array.size:
            self.wanted.setdefault(tensor.storage.key, []).append((tensor, array))
        return array


def _check_bounds(tensor):
    if len(tensor.size) > _DIMENSIONS:
        raise damaged(f"a tensor has more than {_DIMENSIONS} dimensions")
    last = tensor.offset
    if 0 not in tensor.size:
        last += 1 + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if last > tensor.storage.count:
        raise damaged("a tensor ends behind its storage")


def _copy(tensor, data, order, array):
    kind = tensor.storage.kind
    width = ITEM_SIZES[kind]
    # Steps along a size of 1 are never taken, and PyTorch writes any number there.
    steps = [
        0 if n == 1 else step * width for n, step in zip(tensor.size, tensor.stride, strict=True)
    ]
    start = (tensor.storage.start + tensor.offset) * width
    view = np.ndarray(tensor.size, order + _TYPES[kind], data, start, steps)
    if kind == "BFloat16Storage":
        view = (view.astype("u4") << 16).view("f4")
    array[...] = view  # of type bool: any byte but 0 is true
