"""Files that are damaged or hostile: what is wrong is told, within bounds of memory and time."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest

from mdl_tf.reading import check_file, list_arrays, parse_json, read_arrays, read_json

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("{", "is no JSON"),
        ('{"a": 1} x', "is no JSON"),
        (DEEP, "is nested too deeply"),
        ('{"a":' * 60 + "1" + "}" * 60, "is nested too deeply"),
        ("9" * 400, "has an integer of 400 digits"),
        ('{"a": ' + "9" * 10_000 + "}", "has an integer of 10,000 digits"),
        ("1e400", "has the number 1e400, which is not finite"),
        ("[NaN]", "has the number NaN"),
        ('{"a": -Infinity}', "has the number -Infinity"),
    ],
    ids=lambda text: text[:12],
)
def test_json_that_is_refused(text, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        parse_json(text)


def test_json_as_it_should_be():
    value = {"a": [1, -2.5, None, True, "\u00fc"], "b": {"c": {}}, "d": 2**63}
    assert parse_json(json.dumps(value)) == value
    nested = json.loads("[" * 49 + "]" * 49)
    assert parse_json(json.dumps(nested)) == nested


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes(b'{"a": "\xe9"}')
    reasons = {"pipe": "is a pipe", "folder": "is a folder", "latin": "is no text in UTF-8"}
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason):
            read_json(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone")
    with pytest.raises(ValueError, match="has 10 bytes, more than 9"):
        check_file(tmp_path / "latin", 9)


def npy(shape, dtype="<f8", content=b"\0" * 16):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


HOSTILE = {
    "claims 100 TB": ([("a.npy", npy((10**13, 1)))], "claims an array of shape"),
    "claims more than 64 bits": ([("a.npy", npy((10**30,)))], "claims an array of shape"),
    "objects": ([("a.npy", npy((2,), "|O"))], "holds Python objects in 'a.npy'"),
    "header cut off": ([("a.npy", npy((2,))[:20])], "is no complete .npz file"),
    "no array": ([("a.npy", b"text")], "is no complete .npz file"),
    "content cut off": ([("a.npy", npy((2,), content=b"\0" * 8))], "claims an array of shape"),
    "two of one name": ([("a.npy", npy((2,))), ("a.npy", npy((2,)))], "holds 'a' twice"),
    "negative": ([("a.npy", npy((-1,)))], "is no complete .npz file"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_arrays_that_are_refused(name, tmp_path):
    members, reason = HOSTILE[name]
    with pytest.raises(ValueError, match=f"^{reason}"):
        read_arrays(write(tmp_path / "a.npz", members))


def test_a_bomb_of_zeros_is_bounded_by_the_size_of_its_file(tmp_path):
    """Deflate makes a thousand bytes of one; a header that says more is not believed."""
    path = write(tmp_path / "a.npz", [("a.npy", npy((1,)))], zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 2**31)  # the uncompressed size in the directory
    path.write_bytes(data)
    with pytest.raises(ValueError, match="claims 2,147,483,648 bytes of 'a.npy', and has"):
        read_arrays(path)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"text", b"PK\x03\x04" + b"\0" * 99])
def test_what_is_no_npz(content, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    for read in (read_arrays, list_arrays):
        with pytest.raises(ValueError, match="is no complete .npz file"):
            read(path)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "gone.npz")


def test_every_damaged_byte_is_told_or_does_no_harm(tmp_path):
    """A bit turned anywhere: the arrays as they were, or a reason; never another exception."""
    file = io.BytesIO()
    np.savez_compressed(file, a=np.arange(40.0), b=np.array(["x", "yy"]))
    whole, path = file.getvalue(), tmp_path / "a.npz"
    told = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :])
        try:
            arrays = read_arrays(path)
        except ValueError:
            told += 1
        else:
            for name, array in arrays.items():
                assert name not in "ab" or np.array_equal(
                    array, {"a": np.arange(40.0)}.get(name, array)
                )
    assert told > len(whole) / 2


def test_arrays_as_they_should_be(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array("text"), "c": np.zeros((0, 4))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = read_arrays(tmp_path / "a.npz")
        assert read.keys() == arrays.keys()
        assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
        assert list(read_arrays(tmp_path / "a.npz", ("b", "d"))) == ["b"]
        assert list_arrays(tmp_path / "a.npz") == ["a", "b", "c"]
