"""Hostile files in the form of PyTorch's: each gives plain data or one line, with nothing run or
written, in little time and memory, and leaves the reader as it was."""

import codecs
import contextlib
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers.torch_files import (
    FLOATS,
    FORMS,
    MAGIC,
    archive,
    called,
    finished,
    listed,
    long,
    named,
    ordered,
    several,
    stored,
    stream,
    tensor,
    text,
)

from mdl_tf.backbones import torch_file
from mdl_tf.backbones.torch_file import messages

MEMORY = 16_000_000  # bytes; none of the files has more than 2 MB
SECONDS = 10
GOOD = ordered((text("a"), tensor(stored("0", 6))))
STORAGES = [("0", 4, FLOATS)]

# An audit hook stays as long as Python runs, so there is one, which listens when it is asked.
_HARMLESS = ("object.", "gc.", "builtins.id", "sys._getframe", "marshal.", "array.", "ctypes.")
_heard = None


def _hear(event, arguments):
    if _heard is None or event.startswith(_HARMLESS):
        return
    if event == "open" and arguments[1] in ("r", "rb"):
        return
    _heard.append((event, str(arguments)[:200]))


sys.addaudithook(_hear)


@contextlib.contextmanager
def watched():
    """Python's own account of what happens: imports, code that is run, files that are written."""
    global _heard
    _heard = heard = []
    try:
        yield heard
    finally:
        _heard = None


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """A function that reads a file: the value, or the error in words."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pth"
    # What is imported when it is first needed is there from now on.
    for codec in ("ascii", "cp437", "latin-1", "utf-8", "raw_unicode_escape", "unicode_escape"):
        codecs.lookup(codec)
    for data in (archive(GOOD, STORAGES), stream(GOOD, STORAGES)):
        path.write_bytes(data)
        torch_file.read(path)

    def read(data):
        path.write_bytes(data)
        before = sorted(os.listdir())
        begin, result = time.perf_counter(), None
        tracemalloc.start()
        try:
            with watched() as heard:
                result = torch_file.read(path)
        except ValueError as error:
            assert type(error) is ValueError
            result = str(error)
            assert result.startswith("`path` must ") and result.count(str(path)) == 1
            assert "\n" not in result and result.isprintable() and len(result) < 600
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert heard == []
        assert peak < MEMORY and time.perf_counter() - begin < SECONDS
        assert sorted(os.listdir()) == before
        # The reader is as it was.
        path.write_bytes(archive(GOOD, STORAGES))
        assert torch_file.read(path)["a"].tolist() == [0, 1, 2, 3, 4, 5]
        return result

    return read


def test_what_is_watched_for_is_seen(tmp_path):
    with watched() as heard:
        pickle.loads(finished(called(named("os", "mkdir"), text(str(tmp_path / "made")))))
        with open(tmp_path / "written", "w"):
            pass
        exec("1")
    events = {event for event, _ in heard}
    assert {"os.mkdir", "open", "exec", "pickle.find_class"} <= events


def short(value):
    """Text of protocol 4."""
    data = value.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(data)]) + data


def stack_global(module, name):
    return b"\x80\x04" + short(module) + short(name) + b"\x93"


def as_item(body):
    return b"}" + text("a") + body + b"s"


def doubled(levels):
    """A pair of the same pair of the same pair ...: 2^levels values."""
    body = b")q\x00"
    for level in range(levels):
        body += bytes([ord("h"), level]) + b"\x86q" + bytes([level + 1])
    return body


# Names that are wanted, as they would be called.
WISHES = (
    *("os.system", "posix.system", "subprocess.Popen", "builtins.eval", "builtins.exec"),
    *("builtins.getattr", "builtins.__import__", "builtins.open", "__builtin__.eval"),
    *("__builtin__.file", "importlib.import_module", "pickle.loads", "marshal.loads"),
    *("functools.partial", "operator.attrgetter", "operator.methodcaller", "types.FunctionType"),
    *("types.CodeType", "copyreg._reconstructor", "copy_reg._reconstructor", "codecs.encode"),
    *("_codecs.decode", "_codecs.lookup", "builtins.bytes", "builtins.dict", "builtins.object"),
    *("collections.defaultdict", "collections.OrderedDict.fromkeys", "collections.deque"),
    *("numpy.core.multiarray._reconstruct", "numpy.load", "numpy.frombuffer", "numpy.dtype"),
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch._utils._rebuild_qtensor"),
    *("torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_device_tensor_from_numpy"),
    *("torch._utils._import_dotted_name", "torch.serialization._get_layout", "torch._C._nn"),
    *("torch.storage._load_from_bytes", "torch.nn.parameter.Parameter", "torch.Tensor"),
    *("mdl_tf.backbones.torch_file.read", "mdl_tf.backbones.torch_file.unpickler.load"),
    *("builtins.type", "weakref.finalize", "threading.Thread", "shutil.rmtree", "ctypes.CDLL"),
)


@pytest.mark.parametrize("wish", WISHES)
def test_every_other_name_is_refused_and_said(attempt, wish):
    module, _, name = wish.rpartition(".")
    arguments = (text("mkdir made"), b"K\x01")
    for data in (
        archive(as_item(called(named(module, name), *arguments))),
        archive(as_item(called(stack_global(module, name), *arguments))),
        # Dots in a name are attributes of a module.
        archive(as_item(called(stack_global(*wish.split(".", 1)), *arguments))),
        stream(as_item(b"(" + text("x") + f"i{module}\n{name}\n".encode())),
    ):
        error = attempt(data)
        assert messages.DATA_ALONE in error and error.endswith(f", which wants {wish}")


LOOK_ALIKES = {
    "Cyrillic letters": ("torch._utils", "_rebuild_tens\u043er_v2"),
    "full width": ("\uff54orch", "FloatStorage"),
    "a ligature": ("torch", "\ufb02oatStorage"),
    "no width": ("torch", "FloatStorage\u200b"),
    "turned around": ("torch", "\u202eegarotStaolF"),
    "an accent that combines": ("collections", "O\u0301rderedDict"),
    "half a character": ("torch", "FloatStorage\ud800"),
    "a blank": ("torch", "FloatStorage "),
    "a null": ("torch", "FloatStorage\0"),
    "codes of a terminal": ("torch", "\x1b[2JFloatStorage"),
    "upper case": ("Torch", "FloatStorage"),
    "no module": ("", "torch.FloatStorage"),
    "no name": ("torch", ""),
}


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_a_name_that_looks_like_a_known_one_is_refused_by_its_codes(attempt, kind):
    module, name = LOOK_ALIKES[kind]
    error = attempt(archive(as_item(called(stack_global(module, name), b"K\x01"))))
    shown = error.partition(", which wants ")[2]
    assert messages.DATA_ALONE in error and shown and shown.isascii()
    assert shown not in ("torch.FloatStorage", "torch._utils._rebuild_tensor_v2")


INSTRUCTIONS = {
    "INT": b"I5\n",
    "INT of a boolean": b"I01\n",
    "LONG": b"L5L\n",
    "LONG4": b"\x8b" + struct.pack("<i", 3) + b"abc",
    "FLOAT": b"F1.5\n",
    "STRING": b"S'os.system'\n",
    "UNICODE": b"Vos.system\n",
    "DICT": b"(d",
    "LIST": b"(l",
    "PUT": b"Np1\n",
    "GET": b"g1\n",
    "PERSID": b"P1\n",
    "POP": b"NN0",
    "POP_MARK": b"N(NN1",
    "DUP": b"N2",
    "INST": b"(icollections\nOrderedDict\n",
    "OBJ": b"(" + named("collections", "OrderedDict") + b"o",
    "NEWOBJ": named("collections", "OrderedDict") + b")\x81",
    "NEWOBJ_EX": named("collections", "OrderedDict") + b")}\x92",
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 3) + b"abc",
    "NEXT_BUFFER": b"\x97",
    "READONLY_BUFFER": b"\x97\x98",
    "EMPTY_SET": b"\x8f",
    "ADDITEMS": b"\x8f(N\x90",
    "FROZENSET": b"(N\x91",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_instructions_that_pytorch_does_not_write_are_refused(attempt, kind, form):
    error = attempt(FORMS[form](as_item(INSTRUCTIONS[kind])))
    assert messages.DATA_ALONE in error
    wish = "collections.OrderedDict" if kind == "INST" else "the pickle instruction "
    assert f"which wants {wish}" in error


# What is set or called, on each kind of object that a pickle can have.
OBJECTS = {
    "a name that may be called": named("collections", "OrderedDict"),
    "a function of tensors": named("torch._utils", "_rebuild_tensor_v2"),
    "the name of a storage": named("torch", "FloatStorage"),
    "a storage": stored("0", 6),
    "a tensor": tensor(stored("0", 6)),
    "an OrderedDict": ordered((text("x"), b"N")),
    "a dict": b"}",
    "a list": b"]",
    "a tuple": b"(NNt",
    "text": text("x"),
    "an integer": b"K\x01",
    "None": b"N",
}
ATTRIBUTES = (
    *("__class__", "__dict__", "__setstate__", "__call__", "__code__", "__defaults__", "name"),
    *("__reduce__", "__setitem__", "append", "extend", "unpickler", "view", "numbers", "spend"),
)


@pytest.mark.parametrize("kind", OBJECTS)
def test_no_object_takes_a_state(attempt, kind):
    for attribute in ATTRIBUTES:
        entry = b"}" + text(attribute) + named("collections", "OrderedDict") + b"s"
        nothing = (b"N", several(b"N", b"N"))
        for state in (entry, several(b"N", entry), several(entry, entry), *nothing):
            storages = STORAGES if b"Q" in OBJECTS[kind] else []
            result = attempt(archive(as_item(OBJECTS[kind] + state + b"b"), storages))
            # Where there is no state, Python sets nothing, and the object may stand in the value.
            if isinstance(result, dict):
                assert state in nothing


def test_nothing_takes_a_state_and_is_used_after_it(attempt):
    state = b"}" + text("x") + b"Nsb"
    kind = named("torch", "FloatStorage")
    parts = (text("storage"), kind + state, text("0"), text("cpu"), long(6), b"N")
    for body in (
        named("collections", "OrderedDict") + state + b")R",
        tensor(several(*parts) + b"Q"),
        tensor(stored("0", 6) + state),
        listed(tensor(stored("0", 6)) + state),
    ):
        assert isinstance(attempt(archive(as_item(body), STORAGES)), str)
        assert isinstance(attempt(archive(as_item(body.replace(state, b"")), STORAGES)), dict)


CALLABLES = (
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
    ("torch", "FloatStorage"),
)


@pytest.mark.parametrize("name", [".".join(name) for name in CALLABLES])
def test_a_call_of_what_may_be_called_takes_no_other_arguments(attempt, name):
    function = named(*name.rsplit(".", 1))
    for count in range(9):
        for body in OBJECTS.values():
            storages = STORAGES if count and b"Q" in body else []
            result = attempt(archive(as_item(called(function, *[body] * count)), storages))
            if isinstance(result, dict):
                # bytes(), and what an empty or a one-item sequence makes.
                assert type(result["a"]) in (dict, bytes) and len(result["a"]) < 2
    for arguments in (b"N", b"]", b"}", text("ab"), b"K\x01", tensor(stored("0", 6))):
        error = attempt(archive(as_item(function + arguments + b"R"), STORAGES))
        assert isinstance(error, str)


@pytest.mark.parametrize("kind", OBJECTS)
def test_only_names_are_called(attempt, kind):
    if not kind.startswith(("a name", "a function")):
        assert isinstance(attempt(archive(as_item(OBJECTS[kind] + b")R"), STORAGES)), str)


@pytest.mark.parametrize("kind", OBJECTS)
def test_items_are_set_and_appended_where_they_belong(attempt, kind):
    item, body = text("k") + b"N", OBJECTS[kind]
    for change in (item + b"s", b"(" + item + b"u", b"Na", b"(NNe", b"K\x00Ns", several() + b"Ns"):
        result = attempt(archive(as_item(body + change), STORAGES))
        if isinstance(result, dict):
            assert kind in ("an OrderedDict", "a dict", "a list")


def test_a_pickle_in_a_pickle_stays_bytes(attempt):
    inner = finished(called(named("os", "mkdir"), text("made")))
    for _ in range(3):
        inner = finished(b"C" + bytes([len(inner)]) + inner)
    result = attempt(archive(b"\x80\x03" + as_item(b"C" + bytes([len(inner)]) + inner)))
    assert result == {"a": inner}


LENGTHS = {
    "BINBYTES8": b"\x8e" + struct.pack("<Q", 2**62),
    "BINBYTES8 beyond what Python counts": b"\x8e" + struct.pack("<Q", 2**64 - 1),
    "BINUNICODE8": b"\x8d" + struct.pack("<Q", 2**40),
    "BINBYTES": b"B" + struct.pack("<I", 2**32 - 1),
    "BINUNICODE": b"X" + struct.pack("<I", 2**32 - 1),
    "BINSTRING": b"T" + struct.pack("<i", 2**31 - 1),
    "BINSTRING below 0": b"T" + struct.pack("<i", -1),
    "LONG1": b"\x8a\xff",
    "LONG4": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "LONG4 below 0": b"\x8b" + struct.pack("<i", -(2**31)),
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 2**62),
    "SHORT_BINUNICODE": b"\x8c\xff",
    "GLOBAL without an end": b"ctorch\n" + b"F" * 1000,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", LENGTHS)
def test_lengths_beyond_the_file_reserve_nothing(attempt, kind, form):
    assert isinstance(attempt(FORMS[form](as_item(LENGTHS[kind]))), str)


def test_frames_of_any_length_are_passed_over(attempt):
    frame = b"\x95" + struct.pack("<Q", 2**63)
    result = attempt(archive(b"\x80\x04" + frame + as_item(b"K\x05" + frame)))
    assert result == {"a": 5}


@pytest.mark.parametrize("protocol", [6, 255])
def test_protocols_to_come_are_refused(attempt, protocol):
    assert "protocol" in attempt(archive(b"\x80" + bytes([protocol]) + b"}"))


@pytest.mark.parametrize("place", [2**31 - 1, 2**32 - 1, 100_000])
def test_a_memo_with_a_high_number_is_refused(attempt, place):
    put = b"r" + struct.pack("<I", place)
    error = attempt(archive(as_item(b"N" + put)))
    assert f"keeps value {place}" in error
    get = b"j" + struct.pack("<I", place)
    assert "memo" in attempt(archive(as_item(get))).lower()


def test_a_memo_that_is_filled_again_and_again(attempt):
    result = attempt(archive(as_item(listed(b"N" + b"q\x00" * 100_000 + b"h\x00" * 50_000))))
    assert result == {"a": [None] * 50_001}


def test_values_of_two_of_two_of_two_stay_small(attempt):
    value = attempt(archive(as_item(doubled(90))))["a"]
    for _ in range(90):
        assert len(value) == 2 and value[0] is value[1]
        value = value[0]
    assert value == ()


KEYS = {
    # Tuples do not keep their hash: it would take 2^60 steps.
    "tuples of two of two": doubled(60),
    "a tuple": several(b"K\x01", b"K\x02"),
    "a float": b"G" + struct.pack(">d", 2.0**61),
    "bytes": b"C\x01a",
    "a list": b"]",
    "a dict": b"}",
    "an OrderedDict": ordered(),
    "a tensor": tensor(stored("0", 6)),
    "a name": named("torch", "FloatStorage"),
    "a large integer": long(2**61 - 1),
    "a large negative integer": long(-(2**61) - 1),
    "a huge integer": b"\x8a\xff" + b"\x01" * 255,
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_are_text_or_small_integers(attempt, kind):
    key = KEYS[kind]
    for body in (b"}" + key + b"Ns", b"}(" + key + b"Nu", ordered() + key + b"Ns"):
        error = attempt(archive(body, STORAGES))
        assert error.endswith("its pickle has a key that is neither text nor a small integer")
    assert "small integer" in attempt(archive(ordered((key, b"N")), STORAGES))


def test_many_keys_of_equal_hashes_take_no_time(attempt):
    # Multiples of 2^61 - 1 all have the hash 0 in CPython.
    multiples = (n * (2**61 - 1) for n in range(1, 50_000))
    keys = b"".join(b"\x8a\x0a" + n.to_bytes(10, "little") + b"N" for n in multiples)
    assert "small integer" in attempt(archive(b"}(" + keys + b"u"))


@pytest.mark.parametrize("first, again", [(b"K\x01", b"\x88"), (b"K\x00", b"\x89"), (b"N", b"N")])
def test_a_key_comes_once(attempt, first, again):
    error = attempt(archive(b"}(" + first + b"N" + again + b"Nu"))
    assert error.endswith("its pickle has a key twice")


CYCLES = {
    "a list in itself": as_item(b"]q\x00h\x00a"),
    "a dict in itself": as_item(b"}q\x00" + text("b") + b"h\x00s"),
    "an OrderedDict in itself": as_item(ordered() + b"q\x00" + text("b") + b"h\x00s"),
    "a tuple in its list": as_item(b"]q\x00(h\x00tq\x01a"),
    "the whole in itself": b"}q\x00" + text("a") + b"h\x00s",
    "two lists in each other": as_item(b"]q\x00]q\x01h\x00aa"),
}


@pytest.mark.parametrize("kind", CYCLES)
def test_cycles_are_refused(attempt, kind):
    assert "nested more than 100 deep, or in themselves" in attempt(archive(CYCLES[kind]))


def test_a_dict_that_is_its_own_metadata_is_left_out(attempt):
    body = ordered() + b"q\x00}" + text("_metadata") + b"h\x00sb"
    assert attempt(archive(as_item(body))) == {"a": {}}


DEPTHS = {
    "lists": b"]" * 50_000 + b"a" * 49_999,
    "tuples": b")" + b"\x85" * 50_000,
    "dicts": (b"}" + text("b")) * 20_000 + b"N" + b"s" * 20_000,
    "OrderedDicts": named("collections", "OrderedDict")
    + b"q\x00"
    + b")R"
    + (text("b") + b"h\x00)R") * 20_000
    + b"s" * 20_000,
    "marks": b"(" * 100_000 + b"t" * 100_000,
    "calls": (named("collections", "OrderedDict") + b"(") * 20_000 + b"tR" * 20_000,
    "states": (ordered() + b"}" + text("_metadata")) * 5000 + b"N" + b"sb" * 5000,
}


@pytest.mark.parametrize("kind", DEPTHS)
def test_depth_is_refused_without_recursion(attempt, kind):
    result = attempt(archive(as_item(DEPTHS[kind])))
    if isinstance(result, dict):
        assert kind in ("calls", "states") and result == {"a": {}}


IDS = {
    "None": b"N",
    "an integer": b"K\x01",
    "text": text("storage"),
    "a list": listed(text("storage"), named("torch", "FloatStorage"), text("0"), b"N", b"K\x06"),
    "an empty tuple": b")",
    "too short": several(text("storage"), named("torch", "FloatStorage"), text("0"), b"K\x06"),
    "too long": several(*[text("storage")] * 7),
    "a tensor": tensor(stored("0", 6)),
    "a persistent id": stored("0", 6),
    "of another kind": several(text("module"), b"N", b"N", b"N", b"N"),
}
PARTS = {
    "type is text": (1, text("torch.FloatStorage")),
    "type is a function": (1, named("collections", "OrderedDict")),
    "type is a tensor": (1, tensor(stored("0", 6))),
    "type is a list": (1, b"]"),
    "key is an integer": (2, b"K\x00"),
    "key is a list": (2, b"]"),
    "key is nested tuples": (2, doubled(60)),
    "count is below 0": (4, long(-6)),
    "count is true": (4, b"\x88"),
    "count is a float": (4, b"G" + struct.pack(">d", 6.0)),
    "count is text": (4, text("6")),
    "count is beyond PyTorch's": (4, b"\x8a\x09" + b"\xff" * 8 + b"\x00"),
    "part is text": (5, text("abc")),
    "part is a list of two": (5, listed(b"K\x00", b"K\x01")),
    "part has a negative start": (5, several(text("v"), long(-1), long(2))),
    "part starts behind the end": (5, several(text("v"), long(7), long(0))),
    "part has counts that are no integers": (5, several(text("v"), b"\x89", b"\x88")),
}


@pytest.mark.parametrize("kind", IDS)
def test_persistent_ids_of_other_kinds_are_refused(attempt, kind):
    error = attempt(archive(as_item(IDS[kind] + b"Q"), STORAGES))
    assert error.endswith("a persistent id that is no storage")


@pytest.mark.parametrize("kind", PARTS)
def test_persistent_ids_with_another_part_are_refused(attempt, kind):
    place, body = PARTS[kind]
    parts = [text("storage"), named("torch", "FloatStorage"), text("0"), text("cpu"), long(6), b"N"]
    parts[place] = body
    error = attempt(archive(as_item(tensor(several(*parts) + b"Q")), STORAGES))
    assert isinstance(error, str)
    assert "storage" in error or "unpack" in error


VIEWS = {
    "an offset beyond what NumPy counts": {"offset": 2**63 - 1},
    "a size beyond what NumPy counts": {"size": (2**63 - 1,)},
    # In 64 bits these end at element 0.
    "strides that overflow to nothing": {"size": (2**32 + 1,), "stride": (2**32,)},
    "strides that overflow to a negative": {"size": (3,), "stride": (2**62,)},
    "bytes that overflow": {"size": (2,), "stride": (2**61,)},
    "sizes that overflow": {"size": (2**32, 2**32), "stride": (0, 0)},
    "sizes with 0 that overflow": {"size": (0, 2**62, 2**62), "stride": (1, 1, 1)},
    "a negative size": {"size": (-6,)},
    "a negative offset": {"offset": -1},
    "a negative stride": {"offset": 5, "stride": (-1,)},
    "one element more": {"offset": 1},
    "fewer strides": {"size": (2, 3), "stride": (1,)},
    "more dimensions than NumPy has": {"size": (1,) * 100, "stride": (1,) * 100},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", VIEWS)
def test_a_tensor_stays_in_its_storage(attempt, kind, form):
    view = {"offset": 0, "size": (6,), "stride": (1,), **VIEWS[kind]}
    error = attempt(FORMS[form](as_item(tensor(stored("0", 6), **view)), STORAGES))
    assert isinstance(error, str)


@pytest.mark.parametrize("form", FORMS)
def test_a_stride_of_0_does_not_ask_for_much(attempt, form):
    body = tensor(stored("0", 6), size=(2**34,), stride=(0,))
    assert "far larger" in attempt(FORMS[form](as_item(body), STORAGES))


def test_no_tensor_has_sizes_that_are_no_integers(attempt):
    call = named("torch._utils", "_rebuild_tensor")
    for bad in (b"\x88", b"G" + struct.pack(">d", 2.0), text("2"), b"N", b"]", several(b"K\x02")):
        for size, stride in ((bad, b"K\x01"), (b"K\x02", bad)):
            body = called(call, stored("0", 6), b"K\x00", several(size), several(stride))
            assert "size or stride" in attempt(archive(as_item(body), STORAGES))


@pytest.mark.parametrize("form", FORMS)
def test_storages_that_are_larger_than_the_file_are_not_made(attempt, form):
    large = tensor(stored("0", 2**50), size=(1,))
    assert isinstance(attempt(FORMS[form](as_item(large), STORAGES)), str)
    # Each would fit, all of them do not.
    data = bytes(4_000)
    many = listed(*(tensor(stored(str(n), 1000), size=(1,)) for n in range(20)))
    error = attempt(FORMS[form](as_item(many), [("0", 4, data)]))
    assert error.endswith("its storages are larger than the file")


def test_entries_of_a_zip_that_lie_in_each_other_are_refused(attempt):
    """The bytes of one entry, listed a hundred times: 100 storages in a small file."""
    data = bytes(100_000)
    body = listed(*(tensor(stored(str(n), 25_000), size=(1,)) for n in range(100)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as entry:
        entry.writestr("a/data.pkl", finished(as_item(body)))
        entry.writestr("a/data/0", data)
        first = entry.infolist()[-1]
        for n in range(1, 100):
            twin = zipfile.ZipInfo(f"a/data/{n}")
            for name in ("header_offset", "CRC", "compress_size", "file_size", "external_attr"):
                setattr(twin, name, getattr(first, name))
            entry.filelist.append(twin)
            entry.NameToInfo[twin.filename] = twin
    error = attempt(file.getvalue())
    assert messages.WHOLE in error


def test_keys_of_storages_lead_to_no_other_file(attempt):
    for key in ("../../etc/passwd", "/etc/passwd", "C:\\x", "", ".", "0/../0", "a\nb\x1b[2J"):
        body = as_item(tensor(stored(key, 6)))
        assert "is missing" in attempt(archive(body, STORAGES))
        assert "list of storages differs" in attempt(stream(body, STORAGES))


def test_the_other_pickles_of_a_stream_are_read_as_strictly(attempt):
    hostile = finished(called(named("os", "mkdir"), text("made")))
    whole = stream(GOOD, STORAGES)
    end_of_third = whole.index(finished(GOOD))
    begin, version = pickle.dumps(MAGIC, 2), pickle.dumps(1001, 2)
    system, keys = whole[len(begin + version) : end_of_third], finished(listed(text("0")))
    for part in (begin, version, system, keys):
        assert whole.count(part) == 1
        error = attempt(whole.replace(part, hostile))
        assert error.endswith("which wants os.mkdir")


def test_chance_instructions_give_data_or_one_line(attempt):
    """Pickles made of whole instructions in any order, which bytes at random seldom are."""
    pieces = [
        *(b"N", b"\x88", b"K\x01", b"}", b"]", b")", b"(", b"t", b"\x85", b"\x86", b"\x87", b"a"),
        *(b"e", b"s", b"u", b"q\x00", b"h\x00", b"\x94", b"R", b"b", b"Q", text("a"), text("b")),
        *(named("collections", "OrderedDict"), named("torch", "FloatStorage"), stored("0", 6)),
        *(named("torch._utils", "_rebuild_tensor_v2"), several(b"K\x02"), tensor(stored("0", 6))),
        *(b"}" + text("_metadata") + b"Ns", named("_codecs", "encode"), text("latin1"), b"\x93"),
    ]
    rng = np.random.default_rng(0)
    values = 0
    for _ in range(600):
        body = b"".join(pieces[i] for i in rng.integers(0, len(pieces), rng.integers(1, 12)))
        values += isinstance(attempt(archive(as_item(body), STORAGES)), dict)
    assert 0 < values < 600
