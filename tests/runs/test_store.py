"""A folder of results: who may write, what is removed, what a damaged file says."""

import subprocess
import sys

import pytest
from helpers.runs import SMALL, started

from mdl_tf import cli, files
from mdl_tf.config import ConfigError
from mdl_tf.runs import Run
from mdl_tf.runs.store import LOCK, UNFINISHED, Store

LOCKS = pytest.mark.skipif(files.fcntl is None, reason="no locks on Windows")
# A process that holds the lock of a run until its input ends.
HOLDER = (
    "import sys; from mdl_tf.runs import Run\n"
    "with Run(sys.argv[1]).alone('A run must be trained'):\n"
    "    print('locked', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def held(tmp_path):
    """A run that another process trains."""
    _, run = started(tmp_path, **SMALL)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    yield run
    process.communicate()


@LOCKS
@pytest.mark.parametrize("more", [[], ["--epochs", "9"]])
def test_a_run_that_is_being_trained_is_left_alone(held, more, capsys):
    """Not even what looks half-written is removed: the other process is writing it."""
    half = held.folder / f"{UNFINISHED}1.keras"
    half.write_text("half")
    before = {path: path.read_bytes() for path in held.folder.iterdir()}
    assert cli.main(["train", "--resume", str(held.folder), *more]) == 2
    shown = capsys.readouterr()
    assert shown.err == (
        "mdl-tf: error: A run must be trained by one process at a time. Received: "
        f"{held.folder}, where another one is at work\n"
    )
    assert {path: path.read_bytes() for path in held.folder.iterdir()} == before


@LOCKS
def test_a_lock_ends_with_its_process(held, capsys):
    with pytest.raises(ConfigError), Run(held.folder).alone("A run must be trained"):
        pass


def test_inside_a_block_of_its_own_a_store_is_not_locked_out(tmp_path):
    store = Store(tmp_path)
    with store.alone("It must be written"), store.alone("It must be written"):
        pass
    with Store(tmp_path).alone("It must be written"):
        pass


@LOCKS
def test_two_stores_of_one_folder(tmp_path):
    with Store(tmp_path).alone("It must be written"):
        with pytest.raises(ConfigError, match="It must be written by one process at a time"):
            with Store(tmp_path).alone("It must be written"):
                pass


def test_what_a_kill_left_is_removed_but_not_that_of_a_run_inside(tmp_path):
    for name in ("a", "resume/b", "tensorboard/x/c", "fold-1/d", "fold-1/resume/e"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(UNFINISHED + path.name).write_text("half")
        path.write_text("whole")
    (tmp_path / "fold-1" / LOCK).write_text("")
    Store(tmp_path).remove_unfinished()
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob(UNFINISHED + "*"))
    assert left == [f"fold-1/{UNFINISHED}d", f"fold-1/resume/{UNFINISHED}e"]
    assert len([p for p in tmp_path.rglob("*") if p.is_file() and p.name != LOCK]) == 5 + 2


def test_a_run_that_fails_removes_only_a_folder_that_it_made(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--dataset", "folder", "--data-dir", "gone", "--backbone", "conv4"]
    assert cli.main(["train", *arguments, "--name", "new"]) == 2
    assert not (tmp_path / "runs" / "new").exists()
    _, earlier = started(tmp_path / "earlier", **SMALL, data_dir=str(tmp_path / "gone"))
    earlier.write_text("config.json", earlier.config.to_json().replace('"digits"', '"folder"'))
    assert cli.main(["train", "--resume", str(earlier.folder)]) == 2
    assert (earlier.folder / "config.json").is_file()
    assert "gone" in capsys.readouterr().err


def test_rows_become_a_table(tmp_path):
    store = Store(tmp_path)
    store.write_rows("a.csv", [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 1e-9}])
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss\r\n1,0.1\r\n2,1e-09\r\n"
    store.write_rows("b.csv", [])
    assert not (tmp_path / "b.csv").exists()
