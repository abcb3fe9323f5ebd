"""A pickle as data: a machine over the instructions of `pickletools`, with which nothing can run.

It knows dicts, lists, tuples, text, bytes, numbers and PyTorch's tensors; a pickle that names
anything else is refused. Tensors come out as descriptions (`Tensor`), since their numbers are
elsewhere in the file.
"""

import collections
import pickletools

from mdl_tf.backbones.torch_file.messages import damaged, refused, shown
from mdl_tf.backbones.torch_file.objects import CALLS, STORAGES, Global, fill_dict, storage

_LIMIT = 2_000_000  # instructions and copied items; ImageNet weights have some 10,000


def load(stream):
    """Parse the pickle at the position of a stream, and leave the stream behind it.

    Args:
        stream: a binary file-like object. Its `read` must not reserve memory for more than there
            is, since pickles state lengths.

    Returns:
        The value, with each tensor a `Tensor`, and a dict of the storages that the pickle names,
        from key to the whole `Storage`.

    Raises:
        Unreadable: if the pickle is damaged or wants more than data.
    """
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            step = _STEPS.get(opcode.name)
            if step is None:
                raise refused(_wish(opcode.name, argument))
            if number > _LIMIT:
                raise damaged(f"its pickle has more than {_LIMIT} instructions")
            step(machine, argument)
    except ValueError as error:
        raise damaged(f"its pickle: {shown(str(error))}") from error
    except IndexError as error:
        raise damaged("its pickle uses values that it has not made") from error
    return machine.result(), machine.storages


def _wish(opcode, argument):
    if opcode == "INST":
        return str(argument).replace(" ", ".")
    return f"the pickle instruction {opcode}"


class _Machine:
    """Stack and memo of a pickle. `outer` are the stacks below the marks."""

    def __init__(self):
        self.stack = []
        self.outer = []
        self.memo = {}
        self.storages = {}
        self.copied = 0

    def result(self):
        if len(self.stack) != 1 or self.outer:
            raise damaged("its pickle does not end in one value")
        return self.stack[0]

    def push(self, value):
        self.stack.append(value)

    def mark(self, _):
        self.outer.append(self.stack)
        self.stack = []

    def since_mark(self):
        values = self.stack
        self.stack = self.outer.pop()
        return values

    def pop(self, count):
        if len(self.stack) < count:
            raise IndexError
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def put(self, place):
        self.memo[place] = self.stack[-1]

    def get(self, place):
        if place not in self.memo:
            raise IndexError
        self.push(self.memo[place])

    def append(self, values):
        target = self.stack[-1]
        if type(target) is not list:
            raise damaged("its pickle appends to what is no list")
        target.extend(values)

    def set_items(self, values):
        if len(values) % 2:
            raise damaged("its pickle has a key without a value")
        fill_dict(self.stack[-1], zip(values[::2], values[1::2], strict=True))

    def name_global(self, module, name):
        if type(module) is not str or type(name) is not str:
            raise damaged("its pickle names something by what is no text")
        full = f"{module}.{name}"
        if full not in CALLS and full not in STORAGES:
            raise refused(full)
        self.push(Global(full))

    def reduce(self, _):
        function, arguments = self.pop(2)
        if type(function) is not Global or function.name not in CALLS:
            name = function.name if type(function) is Global else type(function).__name__
            raise refused(f"to call {name}")
        if type(arguments) is not tuple:
            raise damaged(f"its pickle hands no tuple to {function.name}")
        call, counts = CALLS[function.name]
        if len(arguments) not in counts:
            raise damaged(f"its pickle hands {len(arguments)} arguments to {function.name}")
        self.push(call(self.spend, *arguments))

    def build(self, _):
        (state,) = self.pop(1)
        # The versions of the modules of a state dict, which no weight depends on.
        if type(self.stack[-1]) is not collections.OrderedDict or type(state) is not dict:
            raise refused("to set attributes")
        for name in state:
            if name != "_metadata":
                raise refused(f"to set the attribute {name}")

    def persistent(self, _):
        (parts,) = self.pop(1)
        whole, part = storage(parts)
        known = self.storages.setdefault(whole.key, whole)
        if (known.kind, known.count) != (whole.kind, whole.count):
            raise damaged("its pickle describes a storage in two ways")
        self.push(part)

    def spend(self, count):
        """A copy of what the memo keeps costs no bytes in the file, so it is counted."""
        self.copied += count
        if self.copied > _LIMIT:
            raise damaged(f"its pickle copies more than {_LIMIT} items")


_STEPS = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
            # Python 2 wrote text as bytes, which `pickletools` decodes as latin-1.
            *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        ),
        _Machine.push,
    ),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": _Machine.mark,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    "APPEND": lambda machine, _: machine.append(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": lambda machine, name: machine.name_global(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name_global(*machine.pop(2)),
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
