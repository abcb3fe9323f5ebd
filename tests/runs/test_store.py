"""A folder of results: who may write, what is removed, what a damaged file says."""

import os
import subprocess
import sys

import pytest
from helpers.runs import SMALL, started

from mdl_tf import cli, files
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.datasets.own import csv_file, index
from mdl_tf.doctor import labels
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


def test_tables_hold_no_formulas_and_our_reader_gets_the_texts_back(tmp_path):
    store = Store(tmp_path)
    store.write_left_out([("=HYPERLINK(1).jpg", "-is empty"), ("-5", "@x")])
    assert (tmp_path / "left_out.csv").read_text(encoding="utf-8").splitlines() == [
        "path,reason",
        "'=HYPERLINK(1).jpg,'-is empty",
        "-5,'@x",
    ]
    rows = [("classes", "path"), ("=1+1", "+a"), ("'=b", "c")]
    assert labels._csv(rows).splitlines()[1:] == ["'=1+1,'+a", "''=b,c"]
    examples = [index.Example(f"+{i}.png", b"png", label) for i, (label, _) in enumerate(rows)]
    images = csv_file.read(index.write(tmp_path / "data", examples)).images
    assert sorted(images.class_names) == sorted(label for label, _ in rows)
    assert {os.path.basename(path) for path in images.paths} == {"+0.png", "+1.png", "+2.png"}


def test_only_what_was_written_here_is_discarded(tmp_path):
    store = Store(tmp_path / "runs" / "r")
    store.make()
    store.write_text("resume/a.json", "{}")
    (store.folder / "resume" / "mine.txt").write_text("mine")
    store.discard()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.txt"]
    # Of a folder that was there, nothing.
    other = Store(tmp_path / "runs")
    other.write_text("a.json", "{}")
    other.discard()
    assert (tmp_path / "runs" / "a.json").is_file()
    empty = Store(tmp_path / "a" / "b")
    empty.make()
    empty.write_text("config.json", "{}")
    empty.discard()
    assert not (tmp_path / "a").exists()


@LOCKS
def test_what_a_killed_run_left_before_its_config_is_taken_over(tmp_path):
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / f"{UNFINISHED}1.json").write_text("half")
    config = TrainConfig(**SMALL)
    run = Run.create(config, tmp_path / "runs", "r")
    assert run.config == config and not run.is_new
    with pytest.raises(ConfigError, match="`name` must be new"):
        Run.create(config, tmp_path / "runs", "r")
