"""Archives: what they become, what is refused, and what a kill leaves."""

import gzip
import io
import os
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from mdl_tf import files
from mdl_tf.datasets.papers import archive as archive_module
from mdl_tf.datasets.papers.archive import extract

PICTURE = bytes(range(256)) * 20
TREE = {
    "car ims/000001.jpg": PICTURE,
    "car ims/Ωμέγα/naïve 🚗.jpg": b"second",
    "car ims/empty.txt": b"",
    "cars_annos.mat": b"annotations",
}
KINDS = ("tgz", "tar.gz", "tar", "zip", "TGZ")


def tar_member(name, content=b"", **settings):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in settings.items():
        setattr(member, key, value)
    return member, content


def make_tar(path, members):
    with tarfile.open(path, "w:gz" if str(path).lower().endswith("gz") else "w") as file:
        for member, content in members:
            file.addfile(member, io.BytesIO(content))
    return path


def zip_member(name, content=b"", mode=0, **settings):
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    for key, value in settings.items():
        setattr(member, key, value)
    return member, content


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for member, content in members:
            file.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


def make(path, tree):
    if path.suffix == ".zip":
        return make_zip(path, [zip_member(*item) for item in tree.items()])
    return make_tar(path, [tar_member(*item) for item in tree.items()])


def contents(folder):
    """Every file and empty folder below, hidden ones too."""
    found = {}
    for path in Path(folder).rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = None
    return found


def error_of(path, folder):
    with pytest.raises(ValueError) as caught:
        extract(path, folder)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_becomes_its_files_in_a_new_folder(tmp_path, kind):
    path = make(tmp_path / f"Cars ä.{kind}", TREE)
    folder = tmp_path / "new" / "data sets"
    assert extract(path, folder) == (folder / "car ims", folder / "cars_annos.mat")
    assert contents(folder) == TREE


@pytest.mark.parametrize("kind", ("tgz", "zip"))
def test_folders_without_files_and_names_with_a_dot_in_front(tmp_path, kind):
    make_one = {"tgz": make_tar, "zip": make_zip}[kind]
    member = {"tgz": tar_member, "zip": zip_member}[kind]
    folders = {"type": tarfile.DIRTYPE} if kind == "tgz" else {}
    path = make_one(
        tmp_path / f"a.{kind}",
        [member("./", **folders), member("./a/empty/", **folders), member("./a//b.txt", b"b")],
    )
    extract(path, tmp_path / "out")
    assert contents(tmp_path / "out") == {"a/empty/": None, "a/b.txt": b"b"}


def test_a_tgz_that_a_browser_has_unzipped(tmp_path):
    path = make(tmp_path / "a.tar", TREE).rename(tmp_path / "a.tgz")
    extract(path, tmp_path / "out")
    assert contents(tmp_path / "out") == TREE


@pytest.mark.parametrize("kind", ("tgz", "zip"))
def test_what_macos_adds_is_passed_over(tmp_path, kind):
    mac = {
        "__MACOSX/readme.txt": b"x",
        "._car ims": b"x",
        "car ims/._000001.jpg": b"x",
        "car ims/.DS_Store": b"x",
    }
    path = make(tmp_path / f"a.{kind}", {**mac, **TREE})
    extract(path, tmp_path / "out")
    assert contents(tmp_path / "out") == TREE


@pytest.mark.parametrize("kind", ("tar", "tgz", "zip"))
@pytest.mark.parametrize(
    "name",
    ("/evil.txt", "../evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt", "a/c:evil.txt"),
)
def test_a_name_that_could_lead_outside_is_refused(tmp_path, kind, name):
    path = make(tmp_path / f"a.{kind}", {"good.txt": b"good", name: b"evil"})
    before = contents(tmp_path)
    assert error_of(path, tmp_path / "data" / "out") == (
        "`archive` must hold plain files and folders that land inside `folder`. Received: "
        f"archive={path}, member {name!r}: it could land outside the folder"
    )
    assert contents(tmp_path) == {**before, "data/out/": None}


LINKS = {
    "symbolic": {"type": tarfile.SYMTYPE, "linkname": "/etc"},
    "hard": {"type": tarfile.LNKTYPE, "linkname": "good.txt"},
    "device": {"type": tarfile.CHRTYPE},
    "fifo": {"type": tarfile.FIFOTYPE},
}


@pytest.mark.parametrize("link", LINKS)
def test_a_link_or_device_in_a_tar_file_is_refused(tmp_path, link):
    members = [tar_member("good.txt", b"good"), tar_member("a/odd", **LINKS[link])]
    path = make_tar(tmp_path / "a.tgz", members)
    assert error_of(path, tmp_path / "out") == (
        "`archive` must hold plain files and folders that land inside `folder`. Received: "
        f"archive={path}, member 'a/odd': it is a link, a device or the like"
    )
    assert contents(tmp_path / "out") == {}


def header(name, *, size=0, kind=tarfile.REGTYPE, body=b"", form=tarfile.GNU_FORMAT):
    """A member as no writer of Python's makes it: a size that its body does not have."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(form) + body.ljust(-(-len(body) // 512) * 512, b"\0")


def pax(**records):
    """A header of records for the member that follows."""
    lines = b""
    for key, value in records.items():
        line = f" {key}={value}\n".encode()
        length = len(line) + 1
        length += len(str(length + len(str(length)) - 1)) - 1
        lines += str(length).encode() + line
    return header("pax", size=len(lines), kind=tarfile.XHDTYPE, body=lines)


GOOD = header("good.txt", size=4, body=b"good")
PLAIN = "member 'odd': it is a link, a device or the like"
FULL = "with enough free space"
OUTSIDE = "it could land outside the folder"
DAMAGED = "is damaged or cut off"
HOSTILE = {
    "a negative size": (header("odd", size=-512), PLAIN),
    "a negative size in a record": (pax(size="-512") + header("odd"), PLAIN),
    "a negative size of what is passed over": (header("._odd", size=-512), "it is a link"),
    "a long name of negative size": (
        header("././@LongLink", size=-1024, kind=tarfile.GNUTYPE_LONGNAME) + GOOD,
        DAMAGED,
    ),
    "records of negative size": (header("pax", size=-1024, kind=tarfile.XHDTYPE) + GOOD, DAMAGED),
    # Read at once, it would take all the memory.
    "a long name of a gigabyte": (
        header("././@LongLink", size=1 << 30, kind=tarfile.GNUTYPE_LONGNAME),
        DAMAGED,
    ),
    "records of a gigabyte": (header("pax", size=1 << 30, kind=tarfile.XHDTYPE), DAMAGED),
    "global records of a gigabyte": (header("pax", size=1 << 30, kind=tarfile.XGLTYPE), DAMAGED),
    "another name in a record": (pax(path="../evil.txt") + header("odd"), OUTSIDE),
    "an absolute name in a record": (pax(path="/evil.txt") + header("odd"), OUTSIDE),
    "a name with a null in a record": (pax(path="evil\0.txt") + header("odd"), OUTSIDE),
    "a long name that leads outside": (
        header("././@LongLink", size=512, kind=tarfile.GNUTYPE_LONGNAME, body=b"../" * 170)
        + header("odd"),
        OUTSIDE,
    ),
    # With which Python's own filter could be deceived until June 2025.
    "a link, and a file behind it": (
        header("odd", kind=tarfile.SYMTYPE) + header("odd/evil.txt", size=4, body=b"evil"),
        PLAIN,
    ),
    "a link to itself by a record": (
        pax(linkpath="odd") + header("odd", kind=tarfile.SYMTYPE),
        PLAIN,
    ),
    "a hard link to a good file": (
        GOOD + pax(linkpath="good.txt") + header("odd", kind=tarfile.LNKTYPE),
        PLAIN,
    ),
    "a folder that is a link in a longer name": (
        b"".join(header("d" * 80 + f"/{i}/", kind=tarfile.DIRTYPE) for i in range(9))
        + header("odd", kind=tarfile.SYMTYPE),
        PLAIN,
    ),
    "a device": (header("odd", kind=tarfile.BLKTYPE), PLAIN),
    "a kind that nobody knows": (header("odd", kind=b"Z"), PLAIN),
    "a sparse file of a petabyte": (pax(**{"GNU.sparse.size": 1 << 50}) + GOOD, FULL),
    "a file of a petabyte": (header("odd", size=1 << 50), FULL),
    "a file in a file": (GOOD + header("good.txt/evil.txt", size=4, body=b"evil"), "there twice"),
    "a folder in place of a file": (GOOD + header("good.txt", kind=tarfile.DIRTYPE), "there twice"),
    "a file in place of a folder": (
        header("odd", kind=tarfile.DIRTYPE) + header("odd", size=4, body=b"evil"),
        "there twice",
    ),
    "the folder itself as a file": (header(".", size=4, body=b"evil"), "there twice"),
}


@pytest.mark.parametrize("zipped", (False, True))
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("filter_is_deceived", (False, True))
def test_hostile_tar_files(tmp_path, monkeypatch, kind, zipped, filter_is_deceived):
    """Refused by our own look at each member: Python's filter may let everything pass."""
    content, message = HOSTILE[kind]
    first = header("first.txt", size=5, body=b"first")
    data = first + content + bytes(20_000_000 if "gigabyte" in kind else 1024)
    path = tmp_path / ("a.tgz" if zipped else "a.tar")
    path.write_bytes(gzip.compress(data, 1) if zipped else data)
    if filter_is_deceived:
        monkeypatch.setattr(tarfile, "data_filter", lambda member, target: member)
    before = contents(tmp_path)
    tracemalloc.start()
    try:
        error = error_of(path, tmp_path / "data" / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message in error and "\n" not in error
    assert peak < 10_000_000
    assert contents(tmp_path) == {**before, "data/out/": None}


def test_an_archive_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "_MOST", 3)
    for kind in ("tgz", "zip"):
        path = make(tmp_path / f"a.{kind}", {f"{i}.txt": b"" for i in range(4)})
        assert error_of(path, tmp_path / kind).endswith("'3.txt': it is one of more than 3")


def test_a_python_without_filters_for_tar_files_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    path = make(tmp_path / "a.tgz", TREE)
    message = error_of(path, tmp_path / "out")
    assert message.startswith("Tar files are extracted by Python 3.10.12, 3.11.4 or newer; or ")
    assert message.endswith(f"Received: archive={path}, Python {platform.python_version()}")
    assert contents(tmp_path / "out") == {}
    extract(make(tmp_path / "a.zip", TREE), tmp_path / "out")


@pytest.mark.parametrize("kind", (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO))
def test_a_link_or_device_in_a_zip_file_is_refused(tmp_path, kind):
    members = [zip_member("good.txt", b"good"), zip_member("a/odd", b"/etc", kind | 0o777)]
    path = make_zip(tmp_path / "a.zip", members)
    assert error_of(path, tmp_path / "out") == (
        "`archive` must hold plain files and folders that land inside `folder`. Received: "
        f"archive={path}, member 'a/odd': it is a link, a device or the like"
    )
    assert contents(tmp_path / "out") == {}


def test_an_encrypted_zip_member_is_refused(tmp_path):
    path = make(tmp_path / "a.zip", {"good.txt": b"good", "secret.txt": b"secret"})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert error_of(path, tmp_path / "out") == (
        "`archive` must hold plain files and folders that land inside `folder`. Received: "
        f"archive={path}, member 'secret.txt': it is encrypted; extract it by hand"
    )


def test_a_zip_compression_that_is_not_deflate_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a.txt", "text" * 100)
    assert error_of(path, tmp_path / "out").endswith(
        f"archive={path}, member 'a.txt': its compression is not deflate; extract it by hand"
    )


@pytest.mark.parametrize("kind", ("tgz", "zip"))
@pytest.mark.parametrize("second", ("a.txt", "a.txt/b.txt", "a.txt/b/c.txt"))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path, kind, second):
    member, make_one = (tar_member, make_tar) if kind == "tgz" else (zip_member, make_zip)
    members = [member("a.txt", b"one"), member(second, b"two")]
    path = make_one(tmp_path / f"a.{kind}", members)
    assert error_of(path, tmp_path / "out").endswith(f"member {second!r}: it is there twice")
    assert contents(tmp_path / "out") == {}


def cut(data, kind):
    if kind == "half":
        return data[: len(data) // 2]
    if kind == "last bytes":
        return data[:-5]
    return b""


@pytest.mark.parametrize("how", ("half", "last bytes", "all"))
@pytest.mark.parametrize("kind", ("tgz", "zip"))
def test_an_archive_that_is_cut_off(tmp_path, kind, how):
    path = make(tmp_path / f"a.{kind}", {"a/1.bin": os.urandom(30_000), "a/2.bin": b"x" * 999})
    path.write_bytes(cut(path.read_bytes(), how))
    start = (
        "`archive` must be whole, and this one is damaged or cut off: delete it and fetch it again."
        f" Received: archive={path}, "
    )
    assert error_of(path, tmp_path / "out").startswith(start)
    assert contents(tmp_path / "out") == {}


def test_a_tar_file_that_is_cut_off_just_between_two_members_or_within_one(tmp_path):
    path = make(tmp_path / "a.tar", {"a/1.bin": b"1" * 1024, "a/2.bin": b"2" * 1024})
    whole = path.read_bytes()
    for length in (1536, 1536 + 100, 1536 + 512 + 700, 3072):
        path.write_bytes(whole[:length])
        assert "is damaged or cut off" in error_of(path, tmp_path / "out"), length
    path.write_bytes(gzip.compress(whole[:1536]))
    assert "is damaged or cut off" in error_of(path, tmp_path / "out")
    path.write_bytes(whole)
    extract(path, tmp_path / "out")


def test_an_archive_with_a_damaged_middle(tmp_path):
    """A damaged header in a tar file, a flipped byte of content in the others."""
    content = os.urandom(1024)
    for kind, place in (("tar", 1536 + 20), ("tgz", 700), ("zip", 700)):
        path = make(tmp_path / f"a.{kind}", {"1.bin": content, "2.bin": b"2" * 1024})
        data = bytearray(path.read_bytes())
        data[place] ^= 255
        path.write_bytes(data)
        assert "is damaged or cut off" in error_of(path, tmp_path / kind), kind
        assert contents(tmp_path / kind) == {}


@pytest.mark.parametrize("name", ("a.tgz", "a.tar", "a.zip"))
def test_a_web_page_with_the_name_of_an_archive(tmp_path, name):
    path = tmp_path / name
    path.write_text("<!doctype html><title>Not found</title>" + " " * 2000, encoding="utf-8")
    assert "is damaged or cut off: delete it and fetch it again" in error_of(path, tmp_path / "out")


def test_missing_empty_and_unknown_archives(tmp_path):
    path = tmp_path / "a.tgz"
    assert error_of(path, tmp_path / "out") == (
        f"`archive` must be a file that exists. Received: archive={path}"
    )
    path = tmp_path / "a.rar"
    assert error_of(path, tmp_path / "out") == (
        f"`archive` must be a .tgz, .tar.gz, .tar or .zip file. Received: archive={path}"
    )
    for kind in ("tar", "tgz", "zip"):
        path = make(tmp_path / f"a.{kind}", {"__MACOSX/._a": b"x"} if kind != "tar" else {})
        assert error_of(path, tmp_path / "out") == (
            f"`archive` must hold files. Received: archive={path}, it is empty"
        )


def test_a_folder_that_is_a_file(tmp_path):
    path = make(tmp_path / "a.zip", TREE)
    (tmp_path / "out").write_bytes(b"")
    message = error_of(path, tmp_path / "out")
    assert message.startswith(
        "`archive` must be readable, and `folder` a folder that can be written to. "
        f"Received: archive={path}, folder={tmp_path / 'out'}, "
    )


@pytest.mark.parametrize("kind", ("tgz", "tar", "zip"))
def test_more_than_the_disk_holds_is_refused_before_it_is_written(tmp_path, kind, monkeypatch):
    path = make(tmp_path / f"bomb.{kind}", {"a/zeros.bin": bytes(5_000_000)})
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(4_999_999))
    # What is removed in the end has no files.
    remove = shutil.rmtree
    removed = []

    def watch(folder, **options):
        removed.append([path for path in Path(folder).rglob("*") if path.is_file()])
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", watch)
    size = path.stat().st_size if kind == "tar" else 5_000_000
    assert error_of(path, tmp_path / "out") == (
        "`folder` must be on a disk with enough free space. Received: "
        f"folder={tmp_path / 'out'}, 4,999,999 bytes free, archive={path}, at least {size:,} bytes "
        "needed"
    )
    assert removed == [[]]


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    path = make(tmp_path / "a.tgz", TREE)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_module, "_put_in_place", full)
    assert error_of(path, tmp_path / "out") == (
        "`folder` must be on a disk with enough free space, and it is full. What was extracted "
        "is removed again, and the archive stays. "
        f"Received: folder={tmp_path / 'out'}, archive={path}"
    )
    assert contents(tmp_path / "out") == {}


def test_files_get_the_usual_modes_whatever_the_archive_says(tmp_path):
    old = os.umask(0o022)
    try:
        members = [
            tar_member("a", type=tarfile.DIRTYPE, mode=0o000),
            tar_member("a/setuid", b"x", mode=0o6777),
            tar_member("a/unreadable", b"x", mode=0o000),
        ]
        extract(make_tar(tmp_path / "a.tgz", members), tmp_path / "out")
    finally:
        os.umask(old)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "out").rglob("*")}
    assert modes == {"a": 0o755, "setuid": 0o644, "unreadable": 0o644}


def test_progress_counts_compressed_bytes_of_a_tgz_and_extracted_bytes_of_a_zip(tmp_path):
    tree = {f"{i}.bin": os.urandom(100_000) for i in range(5)} | {"zeros": bytes(3_000_000)}
    for kind in ("tgz", "tar", "zip"):
        path = make(tmp_path / f"a.{kind}", tree)
        calls = []
        extract(path, tmp_path / kind, lambda *call, calls=calls: calls.append(call))
        total = 3_500_000 if kind == "zip" else path.stat().st_size
        assert calls[-1] == (total, total)
        assert calls == sorted(calls)
        assert {call[1] for call in calls} == {total}
        assert 0 < calls[0][0] < total / 2
        assert len({call[0] for call in calls}) > 2


def test_an_entry_that_is_there_and_the_same_stays_and_the_rest_is_added(tmp_path):
    path = make(tmp_path / "a.tgz", TREE)
    extract(path, tmp_path / "out")
    (tmp_path / "out" / "cars_annos.mat").unlink()
    (tmp_path / "out" / "car ims" / "my notes.txt").write_bytes(b"mine")
    inode = (tmp_path / "out" / "car ims" / "000001.jpg").stat().st_ino
    extract(path, tmp_path / "out")
    assert contents(tmp_path / "out") == {**TREE, "car ims/my notes.txt": b"mine"}
    assert (tmp_path / "out" / "car ims" / "000001.jpg").stat().st_ino == inode


@pytest.mark.parametrize("how", ("missing", "shorter", "other", "folder"))
def test_an_entry_that_is_there_and_differs_is_an_error_and_nothing_changes(tmp_path, how):
    path = make(tmp_path / "a.zip", TREE)
    folder = tmp_path / "out"
    extract(path, folder)
    (folder / "cars_annos.mat").unlink()
    file = folder / "car ims" / "000001.jpg"
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "missing":
        file.write_bytes(PICTURE[:-1] + (b"?" if how == "other" else b""))
    before = contents(folder)
    wrong = {"missing": "is missing", "folder": "is not what it is in the archive"}
    assert error_of(path, folder) == (
        "`folder` must not hold another car ims than the archive, as old and new files are never "
        f"mixed: move or delete {folder / 'car ims'}. Received: folder={folder}, archive={path}, "
        f"{file} {wrong.get(how, 'differs')}"
    )
    assert contents(folder) == before


KILLED = """
import os, sys
from mdl_tf.datasets.papers.archive import extract
extract(sys.argv[1], sys.argv[2], lambda done, total: done > total / 2 and os._exit(9))
"""


@pytest.mark.parametrize("kind", ("tgz", "zip"))
def test_a_kill_leaves_nothing_that_looks_complete_and_the_next_try_cleans_up(tmp_path, kind):
    tree = {f"images/{i}.bin": os.urandom(50_000) for i in range(6)} | {"list.txt": b"list"}
    path, folder = make(tmp_path / f"a[1].{kind}", tree), tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(folder)])
    assert done.returncode == 9
    (left,) = folder.iterdir()
    assert left.name.startswith(".")
    assert any(left.rglob("*.bin")), "it was killed in the middle"
    extract(path, folder)
    assert contents(folder) == tree


def test_ctrl_c_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    path = make(tmp_path / "a.tgz", TREE)
    with pytest.raises(KeyboardInterrupt):
        extract(path, tmp_path / "out", interrupt)
    assert contents(tmp_path / "out") == {}


SLOW = """
import sys, time
from mdl_tf.datasets.papers.archive import extract
def wait(done, total):
    print(time.monotonic(), flush=True)
    time.sleep(0.3)
extract(sys.argv[1], sys.argv[2], wait)
"""


@pytest.mark.skipif(files.fcntl is None, reason="no locks on Windows")
def test_a_second_process_waits_for_the_first(tmp_path):
    tree = {"a/1.bin": os.urandom(1000), "b.txt": b"b"}
    path, folder = make(tmp_path / "a.zip", tree), tmp_path / "out"
    command = [sys.executable, "-c", SLOW, str(path), str(folder)]
    mine = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline()
        extract(path, folder, lambda *_: mine.append(time.monotonic()))
        (last,) = first.stdout.read().split()
    assert first.returncode == 0
    assert min(mine) > float(last)
    assert contents(folder) == tree


def test_a_large_member_is_not_held_in_memory(tmp_path):
    for kind in ("tgz", "zip"):
        path = make(tmp_path / f"a.{kind}", {"large.bin": bytes(30_000_000)})
        tracemalloc.start()
        extract(path, tmp_path / kind)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000
