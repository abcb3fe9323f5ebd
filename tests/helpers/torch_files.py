"""Files of PyTorch, put together by hand: each function of the first part gives the instructions
of a pickle that put one value on its stack."""

import io
import pickle
import struct
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
FLOATS = np.arange(6, dtype="<f4").tobytes()


def text(value):
    """As Python 2 wrote text: bytes."""
    return b"U" + bytes([len(value)]) + value.encode("latin-1")


def long(value):
    """As Python 2 wrote `long`."""
    return b"\x8a\x08" + struct.pack("<q", value)


def several(*items):
    return b"(" + b"".join(items) + b"t"


def listed(*items):
    return b"](" + b"".join(items) + b"e"


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def called(function, *arguments):
    return function + several(*arguments) + b"R"


def ordered(*pairs):
    """As Python 2 wrote an OrderedDict: called with a list of lists."""
    return called(named("collections", "OrderedDict"), listed(*(listed(*pair) for pair in pairs)))


def stored(key, count, view=b"N", kind="FloatStorage"):
    """A persistent id, as the stream has it."""
    parts = (text("storage"), named("torch", kind), text(key), text("cpu"), long(count), view)
    return several(*parts) + b"Q"


def tensor(storage, offset=0, size=(6,), stride=(1,)):
    return called(
        named("torch._utils", "_rebuild_tensor_v2"),
        storage,
        long(offset),
        several(*map(long, size)),
        several(*map(long, stride)),
        b"\x89",
        ordered(),
    )


def finished(instructions):
    return b"\x80\x02" + instructions + b"."


def stream(instructions, storages=(), system=None):
    """A file of the older form; `storages` are (key, item size, bytes)."""
    system = system or {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    first = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, system))
    keys = finished(listed(*(text(key) for key, _, _ in storages)))
    last = b"".join(struct.pack("<q", len(data) // width) + data for _, width, data in storages)
    return first + finished(instructions) + keys + last


def archive(instructions, storages=(), compression=zipfile.ZIP_STORED, **entries):
    """A file of the newer form, in a folder with a name of its own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as entry:
        entry.writestr("Gerät 識/data.pkl", finished(instructions))
        for key, _, data in storages:
            entry.writestr(f"Gerät 識/data/{key}", data)
        for name, data in entries.items():
            entry.writestr(f"Gerät 識/{name}", data)
    return file.getvalue()


FORMS = {"stream": stream, "zip": archive}
