"""Files and folders that are written whole, with the modes a user expects, by one process."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from mdl_tf import files
from mdl_tf.datasets.cache import store_arrays
from mdl_tf.datasets.own import index
from mdl_tf.files import locked, replacing, temporary_folder

LOCKS = pytest.mark.skipif(files.fcntl is None, reason="no locks on Windows")


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


@pytest.fixture(params=(0o022, 0o077, 0o002), ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_new_file_has_the_mode_that_open_gives(tmp_path, umask):
    with replacing(tmp_path / "a.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5")
        temporary.write_text("a")
    store_arrays(tmp_path / "b.npz", {"a": [1, 2]})
    with open(tmp_path / "opened", "w"):
        pass
    assert mode(tmp_path / "a.weights.h5") == mode(tmp_path / "b.npz") == mode(tmp_path / "opened")
    assert mode(tmp_path / "opened") == 0o666 & ~umask


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, umask):
    for kept in (0o600, 0o644, 0o664, 0o640):
        path = tmp_path / "a.txt"
        path.write_text("old")
        path.chmod(kept)
        with replacing(path) as temporary:
            temporary.write_text("new")
        assert (path.read_text(), mode(path)) == ("new", kept)


def test_a_folder_and_its_files_have_the_modes_that_the_user_gives(tmp_path, umask):
    index.write(tmp_path / "images", [index.Example("a/0.png", b"x", "1")])
    for path in (tmp_path / "images", tmp_path / "images" / "a"):
        assert mode(path) == 0o777 & ~umask
    for path in (tmp_path / "images" / "index.csv", tmp_path / "images" / "a" / "0.png"):
        assert mode(path) == 0o666 & ~umask


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise RuntimeError
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"] and path.read_text() == "old"


def test_h5py_writes_too(tmp_path):
    with replacing(tmp_path / "a.weights.h5") as temporary, h5py.File(temporary, "w") as file:
        file["a"] = [1, 2]
    with h5py.File(tmp_path / "a.weights.h5") as file:
        assert file["a"][:].tolist() == [1, 2]


def test_a_temporary_folder_is_renamed_or_removed(tmp_path):
    with temporary_folder(tmp_path / "new", "a") as temporary:
        (temporary / "file").touch()
        assert temporary.parent == tmp_path / "new" and temporary.name.startswith(".")
        temporary.rename(tmp_path / "new" / "a")
    with pytest.raises(RuntimeError), temporary_folder(tmp_path / "new", "a") as temporary:
        (temporary / "file").touch()
        raise RuntimeError
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a"]
    assert (tmp_path / "new" / "a" / "file").exists()


@LOCKS
def test_what_a_kill_left_is_removed_and_what_is_in_use_is_not(tmp_path):
    with temporary_folder(tmp_path, "a") as temporary:
        for leftover in (f".unfinished-a-{16 * '0'}", f".unfinished-b.zip-{16 * 'f'}"):
            (tmp_path / leftover).mkdir()
            (tmp_path / leftover / "file").touch()
        with temporary_folder(tmp_path, "a") as other:
            assert {path.name for path in tmp_path.iterdir()} == {temporary.name, other.name}
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_is_taken_for_a_leftover(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    with temporary_folder(tmp_path, "a") as temporary, temporary_folder(tmp_path, "a"):
        assert temporary.exists()
    with locked(tmp_path / "lock", RuntimeError()) as one, locked(tmp_path / "lock") as other:
        assert (one, other) == (False, False)


@LOCKS
@pytest.mark.parametrize("kind", ("file", "folder"))
def test_a_lock_is_held_by_one(tmp_path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "lock"
    with locked(path, RuntimeError("in use")) as is_locked:
        assert is_locked
        with pytest.raises(RuntimeError, match="in use"), locked(path, RuntimeError("in use")):
            pytest.fail("two had it")
    with locked(path, RuntimeError("in use")):
        pass


@LOCKS
def test_a_file_system_without_locks_lets_all_in(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with locked(tmp_path / "lock", RuntimeError()) as is_locked:
        assert not is_locked


def test_a_lock_whose_file_cannot_be_made_is_an_error(tmp_path):
    if files.fcntl is not None:
        with pytest.raises(OSError), locked(tmp_path / "nowhere" / "lock"):
            pytest.fail("there is no such folder")


HOLDER = """
import sys, time
from mdl_tf.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(1)
"""


WRITER = """
import sys, time
from mdl_tf.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""


@LOCKS
def test_what_a_kill_left_beside_a_file_is_removed_the_next_time(tmp_path):
    path, mine = tmp_path / "a.npz", tmp_path / ".unfinished-thoughts.txt"
    mine.touch()

    def write_with_new_eyes():
        with replacing(path) as temporary:
            temporary.write_text("whole")

    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        half = Path(writer.stdout.readline().strip())
        write_with_new_eyes()
        assert half.exists(), "it is being written"
        writer.kill()
    assert half.exists()
    write_with_new_eyes()
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, mine.name}
    assert path.read_text() == "whole"


@LOCKS
def test_a_lock_is_waited_for(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as one:
        one.stdout.readline()
        begin = time.monotonic()
        with locked(path):
            assert time.monotonic() - begin > 0.5
