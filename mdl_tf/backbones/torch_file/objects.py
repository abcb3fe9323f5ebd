"""What a pickle of PyTorch may name: dicts, bytes, and tensors as descriptions of them."""

import collections
import dataclasses

from mdl_tf.backbones.torch_file.messages import damaged, refused

# Bytes of an element. The names are those of PyTorch's storage classes.
ITEM_SIZES = {
    **{"DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2},
    **{"LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1},
    **{"ByteStorage": 1, "BoolStorage": 1},
}

_LARGEST = 2**63 - 1  # what PyTorch counts with
_KEYS = (str, int, bool, type(None))
_LARGEST_KEY = 1 << 32  # larger ones can be chosen to have equal hashes, and filling takes for ever


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """Elements in a row, the whole or a part of what the file keeps under a key."""

    key: str
    kind: str  # a key of ITEM_SIZES
    start: int  # elements
    count: int  # elements


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and stride count elements."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
    """A name of `CALLS` or `STORAGES` on the stack of a pickle."""

    name: str


def fill_dict(target, items):
    """Set items of a dict, each once.

    Args:
        target: a `dict` or `OrderedDict`.
        items: pairs of key and value.

    Raises:
        Unreadable: if the target is no dict, or a key no text or number, or there already.
    """
    if type(target) not in (dict, collections.OrderedDict):
        raise damaged("its pickle sets items of what is no dict")
    for key, value in items:
        if type(key) not in _KEYS or (type(key) is int and abs(key) > _LARGEST_KEY):
            raise damaged("its pickle has a key that is neither text nor a small integer")
        if key in target:
            raise damaged("its pickle has a key twice")
        target[key] = value


def storage(parts):
    """A storage by what PyTorch calls it in a persistent id.

    Args:
        parts: the tuple of PyTorch, with a name of `STORAGES` in place of the class.

    Returns:
        Two of `Storage`: the whole that the file keeps, and the part of it that is meant, which is
        the same unless the file says otherwise.

    Raises:
        Unreadable: if it is something else or contradicts itself.
    """
    if type(parts) is not tuple or len(parts) not in (5, 6) or parts[0] != "storage":
        raise refused("a persistent id that is no storage")
    _, kind, key, _, count = parts[:5]
    if type(kind) is not Global or kind.name not in STORAGES:
        raise refused("a storage of no known type")
    if type(key) is not str or not _is_count(count):
        raise damaged("its pickle has a storage without key or length")
    whole = Storage(key, STORAGES[kind.name], 0, count)
    return whole, _part(whole, parts[5] if len(parts) == 6 else None)


def _is_count(value):
    return type(value) is int and 0 <= value <= _LARGEST


def _part(whole, view):
    if view is None:
        return whole
    if type(view) is not tuple or len(view) != 3 or not all(_is_count(n) for n in view[1:]):
        raise damaged("its pickle has a part of a storage without start or length")
    _, start, count = view
    if start + count > whole.count:
        raise damaged("its pickle has a part of a storage that ends behind it")
    return Storage(whole.key, whole.kind, start, count)


def _ordered_dict(spend, pairs=()):
    if type(pairs) not in (list, tuple):
        raise damaged("its pickle makes a dict of what is no list")
    spend(len(pairs))
    # Python 2 wrote lists of two, Python 3 tuples.
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        raise damaged("its pickle makes a dict of what are no pairs")
    target = collections.OrderedDict()
    fill_dict(target, pairs)
    return target


def _bytes(spend, text, encoding):
    """How pickles of protocol 2 write bytes, if there are any."""
    if type(text) is not str or encoding != "latin1":
        raise refused("_codecs.encode of other than latin1")
    spend(len(text))
    return text.encode("latin1")


def _tensor(spend, storage, offset, size, stride, grad=False, hooks=None, bits=None):
    if type(storage) is not Storage:
        raise damaged("its pickle has a tensor without a storage")
    if hooks or bits:
        raise refused("a tensor with hooks, or with a sign or conjugation to be applied")
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise damaged("its pickle has a tensor without size or stride")
    spend(2 * len(size))
    if not all(_is_count(n) for n in (offset, *size, *stride)):
        raise damaged("its pickle has a tensor with a negative or too large size or stride")
    return Tensor(storage, offset, size, stride)


def _parameter(spend, tensor, grad, hooks):
    if type(tensor) is not Tensor:
        raise damaged("its pickle has a parameter without a tensor")
    if hooks:
        raise refused("a parameter with hooks")
    return tensor


STORAGES = {f"torch.{kind}": kind for kind in ITEM_SIZES}
# What may be called, and the numbers of arguments that PyTorch gives it. The first argument of the
# functions here is one more: a function to be told how many items are copied.
CALLS = {
    "collections.OrderedDict": (_ordered_dict, (0, 1)),
    "torch._utils._rebuild_tensor": (_tensor, (4,)),
    "torch._utils._rebuild_tensor_v2": (_tensor, (6, 7)),
    "torch._utils._rebuild_parameter": (_parameter, (3,)),
    "_codecs.encode": (_bytes, (2,)),
    "__builtin__.bytes": (lambda spend: b"", (0,)),
}
