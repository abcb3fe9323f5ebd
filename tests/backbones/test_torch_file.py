"""Files of PyTorch, read without it; what PyTorch wrote is in `golden/torch_files.npz` and
`golden/bn_inception_files.npz`, and what it would not write is put together here."""

import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile

import file_skeletons as skeletons
import numpy as np
import pytest
from helpers import GOLDEN
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

CASES = ("dtypes", "views", "containers", "module")
SAVED = [f"{form}_{protocol}" for form in ("zip", "legacy") for protocol in (2, 3, 4, 5)]
DATA_ALONE = f"`path` must {messages.DATA_ALONE}. Received: path="
WHOLE = f"`path` must {messages.WHOLE}. Received: path="
NO_TORCH_FILE = "`path` must be a file that torch.save wrote. Received: path="


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "torch_files.npz") as file:
        return dict(file)


HANDLER = b"}K\x01K\x01s"


def with_arguments(call, last, more=b""):
    """A call with another last argument than an empty OrderedDict, and perhaps one more."""
    return call[: -len(ordered() + b"tR")] + last + more + b"tR"


def parameter(storage):
    return called(named("torch._utils", "_rebuild_parameter"), tensor(storage), b"\x88", ordered())


@pytest.fixture
def save(tmp_path):
    def write(data):
        path = tmp_path / "a file é.pth"
        path.write_bytes(data)
        return path

    return write


def error_of(path):
    with pytest.raises(ValueError) as caught:
        torch_file.read(path)
    # The message is ours, not one of Python's that slipped through.
    assert type(caught.value) is ValueError
    return str(caught.value)


# What PyTorch wrote.


def check(found, node, numbers):
    """Types, order, shapes and bits are those of the golden tree."""
    kind, content = node
    if kind == "array":
        dtype, shape, start = content
        expected = np.frombuffer(numbers, dtype, int(np.prod(shape)), start).reshape(shape)
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.flags.c_contiguous and found.flags.owndata and found.flags.writeable
        assert found.tobytes() == expected.tobytes()
    elif kind == "dict":
        assert type(found) is dict and list(found) == [key for key, _ in content]
        assert [type(key) for key in found] == [type(key) for key, _ in content]
        for key, item in content:
            check(found[key], item, numbers)
    elif kind in ("list", "tuple"):
        assert type(found).__name__ == kind and len(found) == len(content)
        for item, expected in zip(found, content, strict=True):
            check(item, expected, numbers)
    else:
        expected = bytes.fromhex(content) if kind == "bytes" else content
        assert type(found) is type(expected) and found == expected


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("case", CASES)
def test_a_file_of_pytorch_gives_what_pytorch_reads(golden, save, case, saved):
    found = torch_file.read(save(golden[f"file_{case}_{saved}"].tobytes()))
    numbers = golden[f"numbers_{case}"].tobytes()
    assert len(found) > 8
    check(found, json.loads(str(golden[f"tree_{case}"])), numbers)


@pytest.mark.parametrize("saved", SAVED)
def test_tensors_that_share_a_storage_become_independent_arrays(golden, save, saved):
    found = torch_file.read(save(golden[f"file_views_{saved}"].tobytes()))
    before = found["slice"].copy()
    found["base"][...] = -1
    assert (found["slice"] == before).all()


@pytest.mark.parametrize("kind", skeletons.KINDS)
def test_inception_bn_is_read_as_pytorch_wrote_it(tmp_path, kind):
    path = tmp_path / "bn_inception.pth"
    skeletons.write(kind, path)
    found = torch_file.read(path)
    path.unlink()
    counters = [name for name in found if name.endswith("num_batches_tracked")]
    assert len(counters) == (69 if kind == "zip" else 0)
    for name in counters:
        counter = found.pop(name)
        assert (counter.dtype, counter.shape, int(counter)) == (np.int64, (), 0)
    assert list(found) == list(skeletons.weights()) and len(found) == 416
    assert found["last_linear.weight"].shape == (1000, 1024)
    for name, expected in skeletons.weights().items():
        row = kind == "legacy_1c" and "_bn." in name
        assert found[name].shape == ((1, *expected.shape) if row else expected.shape), name
        assert found[name].dtype == np.float32
        assert found[name].tobytes() == expected.tobytes(), name


def test_a_skeleton_with_other_weights_is_noticed(tmp_path, monkeypatch):
    changed = {**skeletons.weights()}
    changed["conv1_7x7_s2.bias"] = -changed["conv1_7x7_s2.bias"]
    monkeypatch.setattr(skeletons, "weights", lambda: changed)
    with pytest.raises(RuntimeError) as caught:
        skeletons.write("legacy", tmp_path / "file")
    assert "PyTorch's has" in str(caught.value)


# What PyTorch 0.4 wrote under Python 2, and other forms that PyTorch 2 no longer writes.


def test_a_stream_in_the_style_of_python_2(save):
    metadata = b"}" + text("_metadata") + ordered((text(""), b"}" + text("version") + b"K\x01s"))
    state = ordered(
        (text("conv.weight"), tensor(stored("70", 6), size=(2, 3), stride=(3, 1))),
        (text("conv.bias"), tensor(stored("9", 2), size=(2,))),
        (text("caf\xe9"), long(-(2**40))),
    )
    bias = np.array([-1.5, 2.5], "<f4")
    data = stream(state + metadata + b"sb", [("70", 4, FLOATS), ("9", 4, bias.tobytes())])
    found = torch_file.read(save(data))
    assert list(found) == ["conv.weight", "conv.bias", "café"]
    assert found["conv.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["conv.bias"].tolist() == [-1.5, 2.5]
    assert found["café"] == -(2**40)


def test_storages_are_read_in_the_order_of_their_keys_in_the_file(save):
    state = ordered(
        (text("a"), tensor(stored("1", 1), size=(1,))),
        (text("b"), tensor(stored("2", 1), size=(1,))),
    )
    two, one = np.float32(2).tobytes(), np.float32(1).tobytes()
    found = torch_file.read(save(stream(state, [("2", 4, two), ("1", 4, one)])))
    assert (found["a"].tolist(), found["b"].tolist()) == ([1], [2])


def test_a_storage_that_is_a_part_of_another(save):
    part = several(text("part"), long(2), long(3))
    state = ordered((text("a"), tensor(stored("1", 6, view=part), 1, (2,))))
    found = torch_file.read(save(stream(state, [("1", 4, FLOATS)])))
    assert found["a"].tolist() == [3, 4]


def test_the_tensors_of_pytorch_0_3(save):
    rebuilt = called(
        named("torch._utils", "_rebuild_tensor"),
        stored("1", 6),
        b"K\x01",
        several(b"K\x02"),
        several(b"K\x03"),
    )
    found = torch_file.read(save(stream(ordered((text("a"), rebuilt)), [("1", 4, FLOATS)])))
    assert found["a"].tolist() == [1, 4]


def test_a_zip_of_a_big_endian_machine(save):
    state = ordered((text("a"), tensor(stored("0", 2, kind="BFloat16Storage"), size=(2,))))
    swapped = [("0", 2, b"\x3f\x80\xc0\x20")]  # 1 and -2.5
    found = torch_file.read(save(archive(state, swapped, byteorder=b"big")))
    assert found["a"].tolist() == [1, -2.5] and found["a"].dtype.isnative


def test_the_step_along_a_size_of_1_does_not_matter(save):
    state = ordered((text("a"), tensor(stored("0", 6), 2, (1, 2), (2**62, 3))))
    found = torch_file.read(save(archive(state, [("0", 4, FLOATS)])))
    assert found["a"].tolist() == [[2, 5]]


def test_true_is_any_byte_but_0(save):
    state = ordered((text("a"), tensor(stored("0", 3, kind="BoolStorage"), size=(3,))))
    found = torch_file.read(save(archive(state, [("0", 1, b"\x00\x01\xff")])))
    assert found["a"].view("u1").tolist() == [0, 1, 1]


# What runs when it is unpickled.


def popped(path):
    return called(named("os", "mkdir"), path) + b"0}"


def by_new(path):
    lazy = named("builtins", "map") + several(named("os", "mkdir"), several(path)) + b"\x81"
    return named("builtins", "tuple") + several(lazy) + b"\x81"


def by_state(path):
    handler = b"}" + text("__setstate__") + named("os", "mkdir") + b"s"
    return ordered() + handler + b"b" + path + b"b"


DISGUISES = {
    "REDUCE": lambda path: called(named("os", "mkdir"), path),
    "INST": lambda path: b"(" + path + b"ios\nmkdir\n",
    "OBJ": lambda path: b"(" + named("os", "mkdir") + path + b"o",
    "NEWOBJ": by_new,
    "STACK_GLOBAL": lambda path: called(text("os") + text("mkdir") + b"\x93", path),
    "STACK_GLOBAL with dots": lambda path: called(
        b"\x80\x04" + text("os") + text("path.os.mkdir") + b"\x93", path
    ),
    "BUILD of an allowed object": by_state,
    "in the list of an OrderedDict": lambda path: ordered(
        (text("a"), called(named("os", "mkdir"), path))
    ),
    "in the metadata that is left out": lambda path: (
        ordered() + (b"}" + text("_metadata") + called(named("os", "mkdir"), path) + b"sb")
    ),
    "thrown away at once": popped,
}
WISHES = {"NEWOBJ": "builtins.tuple", "STACK_GLOBAL with dots": "os.path.os.mkdir"}


def unpickle_stream(data):
    file = io.BytesIO(data)
    for _ in range(4):
        pickle.load(file)


def unpickle_archive(data):
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        pickle.loads(file.read("Gerät 識/data.pkl"))


HOSTILE = {
    "stream, first pickle": (lambda body: finished(body), pickle.loads),
    "stream, fourth pickle": (stream, unpickle_stream),
    "zip": (archive, unpickle_archive),
}


@pytest.mark.parametrize("form", HOSTILE)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_pickle_that_runs_when_it_is_loaded_does_not_run_here(save, monkeypatch, disguise, form):
    make, unpickle = HOSTILE[form]
    data = make(DISGUISES[disguise](text("marker")))
    path = save(data)
    monkeypatch.chdir(path.parent)
    wish = WISHES.get(disguise, "os.mkdir")
    assert error_of(path) == f"{DATA_ALONE}{path}, which wants {wish}"
    assert not os.path.exists("marker")
    # The same bytes do run where they may.
    unpickle(data)
    assert os.path.isdir("marker")


HOOKS = "a tensor with hooks, or with a sign or conjugation to be applied"


@pytest.mark.parametrize(
    ("body", "wish"),
    [
        (named("torch", "load"), "torch.load"),
        (
            named("torch.nn.modules.linear", "Linear"),
            "torch.nn.modules.linear.Linear; of a whole module save the state_dict()",
        ),
        (named("torch", "ComplexFloatStorage"), "torch.ComplexFloatStorage"),
        (named("torch._utils", "_rebuild_tensor_v3"), "torch._utils._rebuild_tensor_v3"),
        # A name that prints as another one is shown by its codes.
        (text("os") + b"\x8c\x06\xe2\x80\xaedir\x93", r"'os.\u202edir'"),
        (b"\x82\x01", "the pickle instruction EXT1"),
        (b"P1\n", "the pickle instruction PERSID"),
        (
            several(text("module"), b"N", b"N", b"N", b"N") + b"Q",
            "a persistent id that is no storage",
        ),
        (b"K\x01Q", "a persistent id that is no storage"),
        (stored("0", 6), "a storage without a tensor"),
        (named("torch", "FloatStorage"), "torch.FloatStorage"),
        (called(named("torch", "FloatStorage"), b"K\x01"), "to call torch.FloatStorage"),
        (
            called(named("_codecs", "encode"), text("a"), text("rot13")),
            "_codecs.encode of other than latin1",
        ),
        (b"}}b", "to set attributes"),
        (ordered() + b"}" + text("x") + b"Nsb", "to set attributes"),
        (with_arguments(tensor(stored("0", 6)), HANDLER), HOOKS),
        (with_arguments(tensor(stored("0", 6)), ordered(), HANDLER), HOOKS),
        (with_arguments(parameter(stored("0", 6)), HANDLER), "a parameter with hooks"),
        (ordered() + b"Nb", "to set attributes"),
        (named("x" * 200, "y"), "x" * 48 + "..." + "x" * 47 + ".y"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_data_is_named(save, form, body, wish):
    path = save(FORMS[form](ordered((text("a"), body)), [("0", 4, FLOATS)] if b"Q" in body else []))
    assert error_of(path) == f"{DATA_ALONE}{path}, which wants {wish}"


# What is damaged, or says what cannot be.


def one_tensor(offset=0, size=(6,), stride=(1,), **storage):
    return ordered((text("a"), tensor(stored("0", 6, **storage), offset, size, stride)))


OUTSIDE = "its pickle has a part of a storage that is not in it"
BEHIND = "a tensor ends behind its storage"
NEGATIVE = "its pickle has a tensor with a negative or too large size or stride"
NESTED = "its values are nested more than 100 deep, or in themselves"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (one_tensor(offset=1), BEHIND),
        (one_tensor(size=(7,)), BEHIND),
        (one_tensor(size=(2, 3), stride=(4, 1)), BEHIND),
        (one_tensor(size=(2**62,), stride=(2**62,)), BEHIND),
        (one_tensor(offset=7, size=(0,)), BEHIND),
        (one_tensor(offset=2, size=(1,), view=several(text("v"), long(1), long(2))), BEHIND),
        (one_tensor(offset=-1), NEGATIVE),
        (one_tensor(size=(-1,)), NEGATIVE),
        (one_tensor(stride=(-1,), offset=5), NEGATIVE),
        (one_tensor(size=(2**40,), stride=(0,)), "its tensors are far larger than the file"),
        # One tensor by reference, each time an array.
        (
            ordered(
                (
                    text("a"),
                    b"](" + tensor(stored("0", 6)) + b"q\x09" + b"h\x09" * 120_000 + b"e",
                )
            ),
            "its tensors are far larger than the file",
        ),
        (one_tensor(size=(0, 2**40, 2**40), stride=(1, 1, 1)), None),
        (one_tensor(size=(1,) * 65, stride=(1,) * 65), None),
        (one_tensor(stride=(1, 1)), None),
        (
            one_tensor(view=several(text("v"), long(4), long(3))),
            OUTSIDE,
        ),
        (
            one_tensor(view=several(text("v"), long(-4), long(3))),
            OUTSIDE,
        ),
        (
            ordered((text("a"), tensor(stored("0", 6))), (text("b"), tensor(stored("0", 5)))),
            "its pickle describes a storage in two ways",
        ),
        (
            ordered(
                (text("a"), tensor(stored("0", 6))),
                (text("b"), tensor(stored("0", 6, kind="IntStorage"))),
            ),
            "its pickle describes a storage in two ways",
        ),
        (ordered((text("a"), b"N"), (text("a"), b"N")), "its pickle has a key twice"),
        (ordered((b")", b"N")), "its pickle has a key that is neither text nor a small integer"),
        # Multiples of this have equal hashes.
        (
            b"}" + long(2**61 - 1) + b"Ns",
            "its pickle has a key that is neither text nor a small integer",
        ),
        (b"}q\x00" + text("a") + b"h\x00s", NESTED),
        (b"}" + text("a") + b"]" * 200 + b"a" * 199 + b"s", NESTED),
        (b"}h\x07", None),
        (b"}s", None),
        (b"}t", None),
        (b"}}", "its pickle does not end in one value"),
        (b"}(", "its pickle does not end in one value"),
        (b"(}", "its pickle does not end in one value"),
        (b"}(Nu", None),
        (b"}Na", None),
        (b"]NNs", None),
        (b"}\x8d" + struct.pack("<Q", 2**62), None),
        (b"}\xff", None),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_pickle(save, form, body, detail):
    path = save(FORMS[form](body, [("0", 4, FLOATS)] if b"Q" in body else []))
    if detail is None:  # in the words of Python or NumPy
        assert re.fullmatch(re.escape(f"{WHOLE}{path}, ") + r"[ -~]{10,}", error_of(path))
    else:
        assert error_of(path) == f"{WHOLE}{path}, {detail}"


@pytest.mark.parametrize("form", FORMS)
def test_a_small_file_does_not_unfold_to_a_large_value(save, form):
    """Ten times the same list, in ten times the same list, and so on: 10^30 values."""
    body = b"]q\x00"
    for level in range(30):
        body = listed(body, *[bytes([ord("h"), level])] * 9) + bytes([ord("q"), level + 1])
    value = torch_file.read(save(FORMS[form](b"}" + text("a") + body + b"s")))["a"]
    for _ in range(30):
        assert len(value) == 10 and value[0] is value[9]
        value = value[0]
    assert value == []


PAIRS = b"]q\x00(" + b"".join(listed(text(str(n)), b"N") for n in range(2000)) + b"e"
LETTERS = b"X" + struct.pack("<I", 10_000) + b"x" * 10_000 + b"q\x00"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (listed(b"N" * 1_990_000), None),
        (listed(b"N" * 2_000_000), "its pickle has more than 2000000 instructions"),
        (
            listed(PAIRS, called(named("collections", "OrderedDict"), b"h\x00") * 1001),
            "its pickle copies more than 2000000 items",
        ),
        (
            listed(LETTERS, called(named("_codecs", "encode"), b"h\x00", text("latin1")) * 201),
            "its pickle copies more than 2000000 items",
        ),
    ],
    ids=["many instructions", "more instructions", "dicts of the same list", "bytes of one text"],
)
def test_a_pickle_does_not_work_for_hours(save, body, detail):
    path = save(archive(b"}" + text("a") + body + b"s"))
    if detail is None:
        assert len(torch_file.read(path)["a"]) == 1_990_000
    else:
        assert error_of(path) == f"{WHOLE}{path}, {detail}"


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_is_no_dict_of_names(save, form):
    rule = "`path` must hold a dict of tensors by name. Received: path="
    path = save(FORMS[form](tensor(stored("0", 6)), [("0", 4, FLOATS)]))
    assert error_of(path) == f"{rule}{path}, which holds a ndarray"
    path = save(FORMS[form](b"}K\x01Ns"))
    assert error_of(path) == f"{rule}{path}, which has a name of type int"


def test_a_stream_says_where_it_is_cut_off(save):
    whole = stream(one_tensor(), [("0", 4, FLOATS)])
    first = len(pickle.dumps(MAGIC, 2))
    exhausted = "pickle exhausted before seeing STOP"
    for length, detail in (
        (1, None),
        (first - 1, exhausted),
        (first, exhausted),
        (len(whole) - 33, exhausted),
        (len(whole) - 32, "at least 8 bytes are missing at its end"),
        (len(whole) - 25, "at least 1 bytes are missing at its end"),
        (len(whole) - 24, "at least 24 bytes are missing at its end"),
        (len(whole) - 1, "at least 1 bytes are missing at its end"),
    ):
        path = save(whole[:length])
        if detail is None:
            assert error_of(path).startswith(f"{WHOLE}{path}, ")
        else:
            assert error_of(path) == f"{WHOLE}{path}, {detail}", length


def test_a_stream_whose_parts_do_not_fit(save):
    whole = stream(one_tensor(), [("0", 4, FLOATS)])
    keys = listed(text("0"))
    for data, detail in (
        (whole + b"ab", "2 bytes follow its last storage"),
        (
            stream(one_tensor(), [("0", 4, FLOATS[:20])]),
            "storage 0 has another length than its tensors say",
        ),
        (
            stream(one_tensor(), [("1", 4, FLOATS)]),
            "its list of storages differs from those of its tensors",
        ),
        (stream(one_tensor()), "its list of storages differs from those of its tensors"),
        (
            whole.replace(finished(keys), finished(listed(text("0"), text("0")))),
            "its list of storages differs from those of its tensors",
        ),
        (
            whole.replace(finished(keys), finished(listed(b"]"))),
            "its list of storages is no list of text",
        ),
        (whole.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)), "its version is not 1001"),
    ):
        path = save(data)
        assert error_of(path) == f"{WHOLE}{path}, {detail}"


def test_a_stream_of_a_big_endian_machine_is_refused(save):
    path = save(stream(one_tensor(), [("0", 4, FLOATS)], {"little_endian": False}))
    rule = "have been written on a little-endian machine"
    assert error_of(path) == f"`path` must {rule}. Received: path={path}, which says otherwise"


def test_a_zip_whose_parts_do_not_fit(save):
    whole = archive(one_tensor(), [("0", 4, FLOATS)])
    flipped = bytearray(whole)
    flipped[whole.index(FLOATS) + 5] ^= 1
    large = bytearray(whole)
    place = large.rindex(b"PK\x01\x02") + 20
    large[place : place + 8] = struct.pack("<II", 2**31, 2**31)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = io.BytesIO(whole)
        with zipfile.ZipFile(twice, "a") as file:
            file.writestr("Gerät 識/data/0", FLOATS)
    for data, detail in (
        (archive(one_tensor()), "storage 0 is missing"),
        (
            archive(one_tensor(), [("0", 4, FLOATS[:20])]),
            "storage 0 has another length than its tensors say",
        ),
        (bytes(flipped), "Bad CRC-32 for file 'Gerät 識/data/0'"),
        (bytes(large), "its entries are larger than the file"),
        (twice.getvalue(), "it has an entry twice"),
        (whole[:-1], "File is not a zip file"),
        (
            archive(one_tensor(), [("0", 4, FLOATS)], byteorder=b"middle"),
            "its byte order is neither little nor big",
        ),
        (archive(b"}.N"), "something follows its pickle"),
    ):
        path = save(data)
        assert error_of(path) == f"{WHOLE}{path}, {detail}"


def test_a_compressed_or_encrypted_zip_is_refused(save):
    compressed = archive(one_tensor(), [("0", 4, FLOATS)], zipfile.ZIP_DEFLATED)
    encrypted = bytearray(archive(one_tensor(), [("0", 4, FLOATS)]))
    encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
    for data in (compressed, encrypted):
        path = save(data)
        assert error_of(path) == (
            "`path` must be as torch.save wrote it. "
            f"Received: path={path}, whose entries are compressed or encrypted"
        )


# What is something else.


def tar(*names):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as entry:
        for name in names:
            entry.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as entry:
        for name in names:
            entry.writestr(name, b"")
    return file.getvalue()


TORCH_SCRIPT = "a TorchScript archive, a program: save the state_dict() of its module"
OTHERS = {
    "nothing": (b"", "empty"),
    "web page": (b"\n<!DOCTYPE html><html><title>404</title>", "a web page"),
    "oldest tar": (
        tar("sys_info", "pickle", "tensors", "storages"),
        "a tar archive, the oldest form of torch.save: load and save it with PyTorch",
    ),
    "other tar": (tar("images/1.jpg"), "a tar archive"),
    "TorchScript": (
        zipped("model/data.pkl", "model/code/__torch__.py", "model/constants.pkl"),
        TORCH_SCRIPT,
    ),
    "TorchScript of 1.0": (zipped("model/model.json", "model/tensors/0"), TORCH_SCRIPT),
    "Keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "a .keras file"),
    "npz": (zipped("a.npy", "b.npy"), "an archive of NumPy arrays"),
    "zip": (zipped("a/b.txt"), "a zip archive without its one data.pkl"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(8), "an HDF5 file, as Keras writes them"),
    "MXNet": (struct.pack("<QQQ", 0x112, 0, 3), "a file of MXNet"),
    "safetensors": (struct.pack("<Q", 300) + b'{"a": {', "a safetensors file"),
    "gzip": (b"\x1f\x8b\x08" + bytes(9), "compressed by gzip"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer: the file itself has not been fetched",
    ),
    "zeros": (bytes(4000), "full of zeros: it was not written to its end"),
    "picture": (b"\xff\xd8\xff\xe0" + bytes(20), "of another kind"),
    "pickle": (pickle.dumps({"a": 1}, 2), "a pickle of another program"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_kind_is_named(save, kind):
    data, words = OTHERS[kind]
    path = save(data)
    assert error_of(path) == f"{NO_TORCH_FILE}{path}, which is {words}"


def test_a_path_that_is_no_file(tmp_path):
    missing = tmp_path / "missing.pth"
    assert error_of(missing) == f"`path` must be a file that exists. Received: path={missing}"
    assert error_of(tmp_path) == f"`path` must be a file, not a folder. Received: path={tmp_path}"


# Damage at random.

FUZZED = [f"{case}_{form}_{n}" for case in CASES for form, n in (("zip", 2), ("legacy", 4))]


@pytest.mark.parametrize("name", FUZZED)
def test_a_file_that_is_cut_off_anywhere_is_refused(golden, save, name):
    data = golden[f"file_{name}"].tobytes()
    for length in range(0, len(data), 29):
        path = save(data[:length])
        assert error_of(path).count(str(path)) == 1


@pytest.mark.parametrize("name", FUZZED)
def test_a_file_with_flipped_bits_gives_a_value_or_one_error(golden, save, name):
    data = golden[f"file_{name}"].tobytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        path = save(changed)
        try:
            assert type(torch_file.read(path)) is dict
        except ValueError as error:
            assert type(error) is ValueError and str(error).startswith("`path` must ")
            refused += 1
    assert 0 < refused < 150
