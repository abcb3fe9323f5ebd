"""A disk that is full or read-only: which path, what is free, and what was there stays whole."""

import contextlib
import errno
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from helpers import tiny

from mdl_tf.embedding import load_model
from mdl_tf.files import UNFINISHED, find_disk_error, replacing
from mdl_tf.reading import read_json
from mdl_tf.runs.keeping import bytes_of_run


@contextlib.contextmanager
def failing(number, folder, name):
    """Whatever is written to a file of that name below `folder` fails with an error number."""
    replace = os.replace

    def fail(source, target, **options):
        if str(target).startswith(str(folder)) and str(target).endswith(name):
            raise OSError(number, os.strerror(number), str(source))
        return replace(source, target, **options)

    os.replace = fail
    try:
        yield
    finally:
        os.replace = replace


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tiny.write_features(tmp_path_factory.mktemp("disk") / "f.npz")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_the_old_file_stays_and_the_error_names_it(number, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(OSError) as raised, failing(number, tmp_path, "a.json"):
        with replacing(path) as temporary:
            temporary.write_text("new")
    assert raised.value.errno == number and raised.value.filename == str(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (RuntimeError("Can't decrement id ref count (errno = 28, error message = 'x')"), 28),
        (RuntimeError("events.out: No space left on device"), errno.ENOSPC),
        (ValueError("Read-only file system"), errno.EROFS),
        (OSError(errno.ENOENT, "gone"), None),
        (ValueError("errno = 2"), None),
    ],
)
def test_what_is_an_error_of_the_disk(error, number):
    """h5py and TensorFlow tell it in words."""
    assert find_disk_error(error) == number


# The file that finds no room, by command; what was done before stays, and goes on.
RUN_FILES = ["config.json", ".keras"]
RUN_FILES += [
    pytest.param(name, marks=pytest.mark.longest)
    for name in ("state.json", "history.csv", "metrics.json", "report.txt")
]


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_run_without_room_says_so_and_goes_on_with_room(name, features, tmp_path):
    with failing(errno.ENOSPC, tmp_path, name):
        code, _, err = tiny.train(features, tmp_path / "runs", "r")
    lines = [line for line in err.splitlines() if not line.startswith("Kept so far")]
    assert code == 2 and len(lines) == 1
    assert name in lines[0] and "No space left on device" in lines[0] and "make room" in lines[0]
    assert "bytes were written" in lines[0] or name == "config.json"
    run = tmp_path / "runs" / "r"
    if run.is_dir():
        code, _, err = tiny.call("train", "--resume", run)
    else:
        code, _, err = tiny.train(features, tmp_path / "runs", "r")
    assert code == 0, err
    assert read_json(run / "resume/state.json")["epochs_done"] == 2
    assert not list(run.rglob(UNFINISHED + "*"))


def test_a_run_that_will_not_fit_is_refused_before_its_first_step(features, tmp_path, monkeypatch):
    free = 3_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    monkeypatch.setattr("mdl_tf.runs.single.bytes_of_run", lambda network: 5_000_000)
    code, _, err = tiny.train(features, tmp_path / "runs", "r")
    assert code == 2
    run = tmp_path / "runs" / "r"
    assert err == f"mdl-tf: error: {run}: A run needs about 5 MB, and 3 MB are free; make room\n"
    assert not (tmp_path / "runs").exists()
    free = 5_000_000
    assert tiny.train(features, tmp_path / "runs", "r")[0] == 0


def test_what_a_run_needs_is_at_least_what_it_writes(features, tmp_path):
    assert tiny.train(features, tmp_path / "runs", "r")[0] == 0
    run = tmp_path / "runs" / "r"
    written = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert written < bytes_of_run(load_model(run / "model.keras", compile=False))


@pytest.mark.longest
def test_a_comparison_without_room(features, tmp_path):
    with failing(errno.ENOSPC, tmp_path, "seed-1.json"):
        code, _, err = tiny.compare(features, tmp_path / "runs", "c")
    assert code == 2 and "seed-1.json" in err and "No space left on device" in err
    assert tiny.compare(features, tmp_path / "runs", "c")[0] == 0


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_folder_of_runs_that_is_read_only(command, features, tmp_path, monkeypatch):
    def refuse(path, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    code, _, err = getattr(tiny, command)(features, tmp_path / "runs", "r")
    assert code == 2 and err.count("\n") == 1
    assert "`runs_dir` must be a folder that can be written" in err
    assert "Read-only file system" in err


@pytest.mark.longest
@pytest.mark.skipif(shutil.which("mount") is None, reason="no disk of a size of its own")
@pytest.mark.parametrize("size", ["64k", "200k"])
def test_a_disk_that_is_really_full(size, features, tmp_path, monkeypatch):
    # It fills up while the run is at work.
    monkeypatch.setattr("mdl_tf.runs.single.bytes_of_run", lambda network: 0)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        code, _, err = tiny.train(features, disk / "runs", "r")
        lines = [line for line in err.splitlines() if not line.startswith("Kept so far")]
        assert code == 2 and len(lines) == 1 and "No space left on device" in err
        grow = ["mount", "-o", "remount,size=64m", str(disk)]
        assert subprocess.run(grow, capture_output=True).returncode == 0
        run = disk / "runs" / "r"
        again = tiny.call("train", "--resume", run) if (run / "config.json").is_file() else None
        assert (again or tiny.train(features, disk / "runs", "r"))[0] == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
