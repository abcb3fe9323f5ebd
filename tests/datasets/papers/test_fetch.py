"""Downloads from servers that behave, and from servers that do not."""

import errno
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

import mdl_tf
from mdl_tf import files
from mdl_tf.datasets.papers import fetch as fetch_module
from mdl_tf.datasets.papers.fetch import File, checksum_matches, difference, fetch

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
SIZE = len(CONTENT)
NAME = "Bïrds 200.tgz"
PAGE = (
    b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"
    + b" " * 3000
)


class Site(http.server.ThreadingHTTPServer):
    """A server with switches; `requests` are (path, Range), `sent` the bytes of the file."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.modified = CONTENT, None, None
        self.ranges = self.length = True
        self.drop_after = []  # bytes after which each of the next answers ends
        self.codes = []  # of the next answers
        self.body, self.body_type = b"", "text/plain"  # of an answer that is not the file
        self.requests, self.headers, self.sent = [], [], 0

    def handle_error(self, *_):
        pass  # clients that leave are the matter of these tests

    def url(self, path="file"):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site, wanted = self.server, self.headers["Range"]
        site.requests.append((self.path, wanted))
        site.headers.append(self.headers)
        code = site.codes.pop(0) if site.codes else 200
        if self.path == "/missing":
            code = 404
        if self.path == "/page" or code != 200:
            self.answer(200 if self.path == "/page" else code, site.body, site.body_type)
            return
        condition = self.headers["If-Range"]
        if wanted and site.ranges and condition in (None, site.etag, site.modified):
            start, size = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]), len(site.content)
            if start >= size:
                self.answer(416, b"", "text/plain", [("Content-Range", f"bytes */{size}")])
                return
            extent = ("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.answer(206, site.content[start:], "application/gzip", [extent], True)
            return
        self.answer(200, site.content, "application/gzip", [], True)

    def answer(self, code, body, kind, more=(), is_file=False):
        site = self.server
        self.send_response(code)
        self.send_header("Content-Type", kind)
        if site.length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in (("ETag", site.etag), ("Last-Modified", site.modified), *more):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if is_file:
            body = body[: site.drop_after.pop(0)] if site.drop_after else body
            site.sent += len(body)
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch_module, "PAUSES", (0, 0, 0))
    monkeypatch.setattr(fetch_module, "TIMEOUT", 5)
    monkeypatch.setenv("no_proxy", "*")


def the_file(*urls, size=SIZE, sha256=SHA256, md5=None):
    return File(NAME, urls, size, sha256, md5)


def error_of(file, folder):
    with pytest.raises(ValueError) as caught:
        fetch(file, folder)
    return str(caught.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def part_of(folder, content):
    (folder / f"{NAME}.part").write_bytes(content)


DESCRIBED = f"{NAME} (3,000,000 bytes, sha256 {SHA256})"


def failed(folder, answers, kept=""):
    return (
        f"`file` came from none of its sources. Try again later, or fetch {DESCRIBED} by hand and "
        f"put it into {folder}.{kept} Received: {answers}"
    )


def kept(folder, size):
    return f" What has come, {size} bytes, is kept in {folder / NAME}.part."


def test_a_file_is_fetched_into_a_new_folder(site, tmp_path):
    folder = tmp_path / "new ü" / "cub200"
    calls = []
    path = fetch(the_file(site.url()), folder, lambda *call: calls.append(call))
    assert path == folder / NAME
    assert path.read_bytes() == CONTENT
    assert names(folder) == [NAME]
    assert calls == sorted(calls)
    assert len(calls) > 4
    assert calls[-1] == (SIZE, SIZE)
    assert {total for _, total in calls} == {SIZE}
    assert site.headers[0]["User-Agent"] == f"mdl_tf/{mdl_tf.__version__}"


def test_a_file_that_is_there_is_checked_and_not_fetched_again(site, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    for checks in ({}, {"sha256": None, "md5": MD5}, {"sha256": None}, {"sha256": SHA256.upper()}):
        assert fetch(the_file(site.url(), **checks), tmp_path) == tmp_path / NAME
    assert fetch(the_file(), tmp_path) == tmp_path / NAME
    assert site.requests == []


def test_another_file_of_this_name_is_an_error_and_stays(site, tmp_path):
    other = b"x" + CONTENT[1:]
    found = hashlib.sha256(other).hexdigest()
    for content, wrong in (
        (other, f"sha256 {found}, expected {SHA256}"),
        (CONTENT[:-1], "2,999,999 bytes, expected 3,000,000"),
    ):
        (tmp_path / NAME).write_bytes(content)
        assert error_of(the_file(site.url()), tmp_path) == (
            f"`folder` must not hold another {NAME}: delete or move it, then try again. "
            f"Received: {tmp_path / NAME}, {wrong}"
        )
        assert (tmp_path / NAME).read_bytes() == content
    assert site.requests == []


def test_no_source(tmp_path):
    assert error_of(the_file(), tmp_path / "cub200") == (
        f"`file` has no source that a program can fetch: fetch {DESCRIBED} by hand and put it into "
        f"{tmp_path / 'cub200'}. Received: file={NAME}, urls=()"
    )
    assert f": fetch {NAME} by hand" in error_of(File(NAME), tmp_path)


def test_it_goes_on_where_an_earlier_try_stopped(site, tmp_path):
    part_of(tmp_path, CONTENT[:1_234_567])
    calls = []
    path = fetch(the_file(site.url()), tmp_path, lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert site.requests == [("/file", "bytes=1234567-")]
    assert site.sent == SIZE - 1_234_567
    assert calls[0][0] > 1_234_567
    assert calls[-1] == (SIZE, SIZE)
    assert names(tmp_path) == [NAME]


def test_ctrl_c_keeps_what_has_come_and_the_next_call_fetches_only_the_rest(site, tmp_path):
    def interrupt(done, total):
        if done > 1_000_000:
            raise KeyboardInterrupt

    site.etag = '"one"'
    with pytest.raises(KeyboardInterrupt):
        fetch(the_file(site.url()), tmp_path, interrupt)
    size = (tmp_path / f"{NAME}.part").stat().st_size
    assert 1_000_000 < size < SIZE
    assert names(tmp_path) == [f"{NAME}.part"]
    site.sent = 0
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert site.sent == SIZE - size


def test_dropped_connections_are_taken_up_again(site, tmp_path):
    site.drop_after = [1_000_000, 500_000, 0]
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.requests] == [
        None,
        "bytes=1000000-",
        "bytes=1500000-",
        "bytes=1500000-",
    ]
    assert site.sent == SIZE


def test_a_connection_that_drops_again_and_again_is_given_up_and_the_part_kept(site, tmp_path):
    site.drop_after = [1000] + [0] * 9
    answer = f"{site.url()}: the connection ended after 1,000 of 3,000,000 bytes"
    assert error_of(the_file(site.url()), tmp_path) == failed(
        tmp_path, answer, kept(tmp_path, "1,000")
    )
    assert len(site.requests) == 4
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1000]


def test_a_connection_that_brings_something_each_time_is_not_given_up(site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "GAIN", 200_000)
    site.drop_after = [200_000] * 14
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert len(site.requests) == 15


def test_a_server_that_does_not_know_ranges_begins_again(site, tmp_path):
    site.ranges = False
    part_of(tmp_path, b"?" * 1000)
    site.drop_after = [2_000_000]
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.requests] == ["bytes=1000-", "bytes=2000000-"]


def test_a_server_without_ranges_that_drops_again_and_again_is_given_up(
    site, tmp_path, monkeypatch
):
    monkeypatch.setattr(fetch_module, "GAIN", 1000)
    site.ranges = False
    site.drop_after = [2_000_000, 100_000] * 9
    assert "after 100,000 of" in error_of(the_file(site.url()), tmp_path)
    assert len(site.requests) == 4


def test_a_server_that_sends_another_range_than_asked_for(site, tmp_path, monkeypatch):
    part_of(tmp_path, CONTENT[:1000])
    answer = Handler.answer

    def shifted(self, code, body, kind, more=(), is_file=False):
        if code == 206:
            more = [("Content-Range", "bytes 0-2999999/3000000")]
        answer(self, code, body, kind, more, is_file)

    monkeypatch.setattr(Handler, "answer", shifted)
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.requests] == ["bytes=1000-", None]


def test_a_part_that_is_complete_is_only_checked(site, tmp_path):
    part_of(tmp_path, CONTENT)
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert site.requests == []


def test_a_part_that_is_complete_where_only_the_server_knows_the_size(site, tmp_path):
    part_of(tmp_path, CONTENT)
    assert fetch(the_file(site.url(), size=None), tmp_path).read_bytes() == CONTENT
    assert site.requests == [("/file", "bytes=3000000-")]


def test_a_part_that_is_complete_where_only_the_checksum_tells(site, tmp_path):
    part_of(tmp_path, CONTENT)
    site.codes = [416]
    assert fetch(the_file(site.url(), size=None), tmp_path).read_bytes() == CONTENT
    assert len(site.requests) == 1


@pytest.mark.parametrize("size", (None, SIZE))
def test_a_part_that_is_too_long_is_fetched_anew(site, tmp_path, size):
    part_of(tmp_path, CONTENT + b"more")
    assert fetch(the_file(site.url(), size=size), tmp_path).read_bytes() == CONTENT
    assert site.requests[-1] == ("/file", None)


def test_the_next_source_goes_on_where_the_first_one_failed(site, tmp_path):
    urls = [site.url(path) for path in ("missing", "first", "second")]
    site.drop_after = [1_000_000, 0, 0, 0]
    assert fetch(the_file(*urls), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in site.requests] == ["/missing", *["/first"] * 4, "/second"]
    assert site.requests[-1][1] == "bytes=1000000-"


def test_if_all_sources_fail_the_error_says_what_each_answered(site, tmp_path):
    site.body, site.body_type = PAGE, "text/html; charset=utf-8"
    urls = [site.url("missing"), site.url("page"), "ftp://cs.stanford.edu/file"]
    page = (
        "a web page titled 'Google Drive - Virus scan warning' instead of the file, "
        "perhaps a virus warning or a login"
    )
    assert error_of(the_file(*urls), tmp_path) == failed(
        tmp_path,
        f"{urls[0]}: HTTP 404 Not Found; {urls[1]}: {page}; {urls[2]}: neither http nor https",
    )
    assert len(site.requests) == 2
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "body, kind",
    [(PAGE, "application/octet-stream"), (b"\xef\xbb\xbf\n<html>", ""), (b"Log in", "text/html")],
)
def test_a_web_page_is_never_taken_for_the_file_and_spoils_no_part(site, tmp_path, body, kind):
    site.body, site.body_type = body, kind
    file = the_file(site.url("page"), size=None, sha256=None)
    assert "a web page" in error_of(file, tmp_path)
    assert names(tmp_path) == []
    part_of(tmp_path, CONTENT[:1000])
    assert "a web page" in error_of(file, tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1000]


def test_a_web_page_saved_by_hand_under_the_name_of_the_file(tmp_path):
    (tmp_path / NAME).write_bytes(PAGE)
    message = error_of(File(NAME), tmp_path)
    assert message.startswith(f"`folder` must not hold another {NAME}: delete or move it")
    assert "a web page titled 'Google Drive - Virus scan warning' instead of the file" in message


def test_a_wrong_checksum_deletes_the_part(site, tmp_path):
    site.content = b"x" + CONTENT[1:]
    for checks, kind, expected in (
        ({}, "sha256", SHA256),
        ({"sha256": None, "md5": MD5}, "md5", MD5),
    ):
        received = hashlib.new(kind, site.content).hexdigest()
        message = error_of(the_file(site.url(), **checks), tmp_path)
        wrong = f"{kind} {received}, expected {expected}"
        assert message.endswith(f"Received: {site.url()}: {wrong}")
        assert names(tmp_path) == []


def test_a_wrong_checksum_leads_to_the_next_source_from_the_start(site, tmp_path):
    part_of(tmp_path, b"?" * 1000)
    urls = [site.url("first"), site.url("second")]
    assert fetch(the_file(*urls), tmp_path).read_bytes() == CONTENT
    assert site.requests == [("/first", "bytes=1000-"), ("/second", None)]


def test_a_file_of_another_size_is_refused_before_it_is_fetched(site, tmp_path):
    part_of(tmp_path, CONTENT[:1000])
    site.content = CONTENT[:-1]
    answer = f"{site.url()}: a file of 2,999,999 bytes, expected 3,000,000"
    message = error_of(the_file(site.url()), tmp_path)
    assert message == failed(tmp_path, answer, kept(tmp_path, "1,000"))
    assert len(site.requests) == 1


@pytest.mark.parametrize("size", (None, SIZE))
def test_a_server_that_does_not_say_the_size(site, tmp_path, size):
    site.length = False
    calls = []
    file = the_file(site.url(), size=size)
    path = fetch(file, tmp_path, lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls[-1] == (SIZE, SIZE)
    assert (len(calls) == 1) == (size is None)


def test_a_server_that_does_not_say_the_size_and_never_ends(site, tmp_path):
    site.length = False
    site.content = CONTENT * 3
    assert re.search(
        r"file: 3,\d{3},\d{3} bytes, expected 3,000,000$",
        error_of(the_file(site.url(), sha256=None), tmp_path),
    )


def test_an_empty_answer_is_no_file(site, tmp_path):
    site.content = b""
    message = error_of(the_file(site.url(), size=None, sha256=None), tmp_path)
    assert message.endswith(f"Received: {site.url()}: an empty file")
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(site, tmp_path):
    site.codes = [503, 429, 502]
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    (tmp_path / NAME).unlink()
    for codes, asked in (([503] * 9, 4), ([403], 1)):
        site.codes, site.requests = codes, []
        answer = {503: "HTTP 503 Service Unavailable", 403: "HTTP 403 Forbidden"}[codes[0]]
        message = error_of(the_file(site.url()), tmp_path)
        assert message == failed(tmp_path, f"{site.url()}: {answer}")
        assert len(site.requests) == asked


def test_nobody_listens(site, tmp_path):
    url = "http://127.0.0.1:1/file"
    message = error_of(the_file(url), tmp_path)
    assert message == failed(tmp_path, f"{url}: [Errno {errno.ECONNREFUSED}] Connection refused")


def test_a_server_that_falls_silent(site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.1)
    monkeypatch.setattr(fetch_module, "PAUSES", ())
    silent = threading.Event()
    write = Handler.answer

    def answer(self, code, body, kind, more=(), is_file=False):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:100_000])
        silent.wait(5)

    monkeypatch.setattr(Handler, "answer", answer)
    message = error_of(the_file(site.url()), tmp_path)
    silent.set()
    answer = f"{site.url()}: no answer within 0.1 s"
    assert message == failed(tmp_path, answer, kept(tmp_path, "100,000"))
    monkeypatch.setattr(Handler, "answer", write)
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert site.sent == SIZE - 100_000


UNCHECKED = {"size": None, "sha256": None}


@pytest.mark.parametrize(
    "version", ({"etag": '"one"'}, {"modified": "Mon, 01 Jan 2018 00:00:00 GMT"})
)
def test_without_a_checksum_the_server_says_whether_both_parts_are_of_one_file(
    site, tmp_path, version
):
    for key, value in version.items():
        setattr(site, key, value)
    (value,) = version.values()
    file = the_file(site.url(), **UNCHECKED)
    site.drop_after = [1_000_000, 0, 0, 0]
    error_of(file, tmp_path)
    assert names(tmp_path) == [f"{NAME}.part", f"{NAME}.part.json"]
    site.sent = 0
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.headers[-1]["If-Range"] == value
    assert site.sent == 2_000_000
    assert names(tmp_path) == [NAME]


def test_without_a_checksum_a_part_that_is_complete_for_the_server(site, tmp_path):
    site.etag = '"one"'
    part_of(tmp_path, CONTENT)
    origin = json.dumps({"url": site.url(), "validator": site.etag})
    (tmp_path / f"{NAME}.part.json").write_text(origin, encoding="utf-8")
    assert fetch(the_file(site.url(), **UNCHECKED), tmp_path).read_bytes() == CONTENT
    assert site.sent == 0
    assert names(tmp_path) == [NAME]


def test_without_a_checksum_a_file_that_has_changed_is_fetched_anew(site, tmp_path):
    site.etag = '"one"'
    file = the_file(site.url(), **UNCHECKED)
    site.drop_after = [1_000_000, 0, 0, 0]
    error_of(file, tmp_path)
    site.etag, site.content = '"two"', bytes(2_000_000)
    assert fetch(file, tmp_path).read_bytes() == bytes(2_000_000)


@pytest.mark.parametrize("etag", (None, 'W/"weak"'))
def test_without_a_checksum_a_part_that_nobody_vouches_for_is_fetched_anew(site, tmp_path, etag):
    site.etag = etag
    site.drop_after = [1_000_000]
    file = the_file(site.url(), **UNCHECKED)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.requests] == [None, None]


def test_without_a_checksum_parts_of_two_sources_are_not_mixed(site, tmp_path):
    site.etag = '"one"'
    site.drop_after = [1_000_000, 0, 0, 0]
    file = the_file(site.url("first"), site.url("second"), **UNCHECKED)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.requests[-1] == ("/second", None)
    part_of(tmp_path, b"?")
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}.part.json").write_text('{"url": "cut', encoding="utf-8")
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_full_disk_keeps_the_part(site, tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def fileno(self):
            return self.file.fileno()

        def write(self, chunk):
            if self.file.tell() > 1_000_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(chunk)

    def full(path, mode):
        return Full(open(path, mode)) if "a" in mode else open(path, mode)

    monkeypatch.setattr(fetch_module, "open", full, raising=False)
    assert error_of(the_file(site.url()), tmp_path) == (
        f"`folder` must be on a disk with free space; what has come of {NAME} is kept. "
        f"Received: folder={tmp_path}, [Errno {errno.ENOSPC}] No space left on device"
    )
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    size = (tmp_path / f"{NAME}.part").stat().st_size
    assert 1_000_000 < size < SIZE
    site.requests = []
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT
    assert site.requests == [("/file", f"bytes={size}-")]


def test_a_folder_that_is_a_file(site, tmp_path):
    (tmp_path / "out").write_bytes(b"")
    message = error_of(the_file(site.url()), tmp_path / "out")
    assert message.startswith(
        "`folder` must be a folder that can be written to. "
        f"Received: folder={tmp_path / 'out'}, [Errno "
    )


LOCKED = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_SH)
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(part):
    command = [sys.executable, "-c", LOCKED, str(part)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()


@pytest.mark.skipif(files.fcntl is None, reason="no locks on Windows")
def test_two_processes_never_write_to_one_part(site, tmp_path):
    part_of(tmp_path, CONTENT[:1000])
    with another_process(tmp_path / f"{NAME}.part"):
        assert error_of(the_file(site.url()), tmp_path) == (
            f"`folder` must not be in use: another process fetches {NAME}; wait for it. "
            f"Received: folder={tmp_path}"
        )
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1000]
    assert site.requests == []
    assert fetch(the_file(site.url()), tmp_path).read_bytes() == CONTENT


def test_difference_and_checksum_matches(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"list")
    md5 = hashlib.md5(b"list").hexdigest()
    assert difference(File("list.txt", md5=md5), path) is None
    assert checksum_matches(File("list.txt", md5=md5), path)
    path.write_bytes(b"tsil")
    assert not checksum_matches(File("list.txt", md5=md5), path)
    assert difference(File("list.txt", size=5), path) == "4 bytes, expected 5"
    assert json.dumps(File("list.txt")) == '["list.txt", [], null, null, null]'
