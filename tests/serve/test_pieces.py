"""What a server is made of, without one: limits, who may ask, forms, pictures, threads."""

import asyncio
import io
import json
import os
import struct
import sys
import threading
import zlib

import numpy as np
import pytest
from helpers import images
from helpers.serving import as_form
from PIL import Image

from mdl_tf.index import Index
from mdl_tf.serve import running
from mdl_tf.serve.guard import SECURITY, Guard, is_local
from mdl_tf.serve.limits import Limits
from mdl_tf.serve.refusal import Refusal
from mdl_tf.serve.service import Service
from mdl_tf.serve.upload import open_picture, read_body, read_form
from mdl_tf.serve.work import Work

LIMITS = Limits(upload_bytes=2**20, pixels=10_000)


def encoded(kind, size=(40, 30), mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, 90 if mode == "L" else None).save(file, kind, **options)
    return file.getvalue()


def claiming(width, height):
    """A PNG whose header says how large it is, with nothing behind."""

    def chunk(kind, content):
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def with_scans(count):
    """A JPEG that asks for its pixels to be gone through again and again."""
    data = encoded("JPEG", progressive=True)
    begin = data.rindex(b"\xff\xda")
    return data[:begin] + data[begin:-2] * count + data[-2:]


# Name: content, status, part of the message.
BAD = {
    "empty": (b"", 400, "empty"),
    "text called .jpg": (b"This is no photograph.\n" * 50, 415, "no picture"),
    "cut-off JPEG": (images.encoded("JPEG")[:-400], 415, "damaged: image file is truncated"),
    "cut-off PNG": (images.encoded("PNG")[:-400], 415, "damaged"),
    "bomb": (images.bomb(), 413, "too large"),
    "header of a giant": (claiming(60_000, 60_000), 413, "too large"),
    "a bit too many pixels": (encoded("PNG", (101, 100)), 413, "101 x 100 pixels is too large"),
    "too many bytes": (encoded("PNG") + bytes(2**20), 413, "too large: 1 MB are taken"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "of the kind SVG"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), 415, "of the kind HEIC"),
    "PDF": (b"%PDF-1.7\n" + bytes(99), 415, "of the kind PDF"),
    "EPS, which Pillow gives to Ghostscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
                                               b"%%EndComments\n", 415, "no picture"),
    "PPM, which is not on the list": (encoded("PPM"), 415, "no picture"),
    "HTML": (b"<!DOCTYPE html><script>alert(1)</script>", 415, "no picture"),
    "zip": (b"PK\x03\x04" + bytes(99), 415, "no picture"),
    "JPEG of 1,000 scans": (with_scans(1000), 415, "too many scans"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused_in_words(name):
    data, status, words = BAD[name]
    with pytest.raises(Refusal, match=words) as refused:
        open_picture(data, LIMITS)
    assert refused.value.status == status


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_are_known_by_their_content(kind):
    assert open_picture(encoded(kind), LIMITS).shape == (30, 40, 3)


def test_pictures_are_seen_as_people_see_them():
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    assert open_picture(encoded("JPEG", exif=exif), LIMITS).shape == (40, 30, 3)
    assert open_picture(encoded("PNG", mode="RGBA"), LIMITS).min() == 255
    assert open_picture(encoded("PNG", mode="L"), LIMITS).max() == 90
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(file.getvalue(), LIMITS)[0, 0].tolist() == [255, 0, 0]


def test_a_form_comes_back_byte_for_byte():
    rng = np.random.default_rng(0)
    for tail in (b"", b"\r\n", b"\r", b"\n", b"--edge", b"\r\n--edg"):
        picture = rng.bytes(5000) + tail
        form = read_form(*as_form(picture, {"label": "Käse <b>", "k": "3"}, "ä.jpg"))
        assert form.files == {"picture": picture}
        assert form.fields == {"label": "Käse <b>", "k": "3"}
    # A browser's form where no file was chosen.
    assert read_form(*as_form(b"", {"k": "3"}, "")) == ({"k": "3"}, {})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=edge", b""),
        ("multipart/form-data; boundary=edge", b"--edge\r\n\r\nx\r\n"),
        ("multipart/form-data; boundary=edge", b"--edge\r\nno header\r\n--edge--"),
        ("multipart/form-data; boundary=edge", b"--edge\r\nA: b\r\n\r\nx\r\n--edge--"),
        ("multipart/form-data; boundary=edge", b'--edge\r\nContent-Disposition: form-data; name="x"'
                                               b"\r\n\r\n\xff\xff\r\n--edge--"),
    ],
)  # fmt: skip
def test_forms_that_are_none(kind, body):
    with pytest.raises(Refusal, match="form cannot be read"):
        read_form(kind, body)


class Request:
    """As much of a request as `read_body` looks at."""

    def __init__(self, pieces, seconds=0, **headers):
        self.headers, self.read = headers, 0
        self._pieces, self._seconds = pieces, seconds

    async def stream(self):
        for piece in self._pieces:
            await asyncio.sleep(self._seconds)
            self.read += len(piece)
            yield piece


def body_of(request, **limits):
    return asyncio.run(read_body(request, Limits(**limits)))


def test_a_body_is_counted_while_it_arrives():
    assert body_of(Request([b"ab", b"c"])) == b"abc"
    endless = Request(bytes(2**16) for _ in range(10**9))
    with pytest.raises(Refusal, match="too large") as refused:
        body_of(endless, upload_bytes=1000)
    assert refused.value.status == 413
    # Some more is read and forgotten, or a browser would not show the answer; not for ever.
    assert endless.read < 2**29
    told = Request([bytes(10)], **{"content-length": str(10**30), "expect": "100-continue"})
    with pytest.raises(Refusal, match="too large"):
        body_of(told)
    assert told.read == 0


def test_a_body_that_does_not_arrive():
    with pytest.raises(Refusal, match="did not arrive within 0.05 s") as refused:
        body_of(Request([b"a"] * 100, seconds=0.01), upload_seconds=0.05)
    assert refused.value.status == 408


def ask_guard(guard, method="GET", **headers):
    """Status and headers of what a guard lets through, or refuses."""
    sent = []

    async def send(message):
        sent.append(message)

    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "method": method, "headers": pairs}
    asyncio.run(guard(scope, None, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


def make_guard(host="127.0.0.1", allowed=()):
    def answer(status):
        async def app(scope, receive, send):
            headers = [(b"x-frame-options", b"SAMEORIGIN")]
            await send({"type": "http.response.start", "status": status, "headers": headers})

        return app

    return Guard(answer(200), lambda refusal, page: answer(refusal.status), host, allowed)


HOSTS = [
    ("127.0.0.1", "127.0.0.1:8000", 200),
    ("127.0.0.1", "localhost", 200),
    ("127.0.0.1", "LOCALHOST.:9", 200),  # through a tunnel, another port
    ("127.0.0.1", "[::1]:8000", 200),
    ("127.0.0.1", "127.8.9.1", 200),
    ("127.0.0.1", "photos.example:8000", 200),
    ("127.0.0.1", "evil.example", 421),
    ("127.0.0.1", "127.0.0.1.evil.example", 421),
    ("127.0.0.1", "localhost.evil.example", 421),
    ("127.0.0.1", "evil.example#localhost", 400),
    ("127.0.0.1", "localhost@evil.example", 400),
    ("127.0.0.1", "localhost/evil", 400),
    ("127.0.0.1", "", 400),
    ("127.0.0.1", ":8000", 400),
    ("127.0.0.1", "localhost:x", 400),
    ("127.0.0.1", "[::1", 400),
    ("127.0.0.1", "192.168.1.5", 421),
    ("0.0.0.0", "192.168.1.5:8000", 200),
    ("0.0.0.0", "[fe80::1]", 200),
    ("0.0.0.0", "localhost", 200),
    ("0.0.0.0", "evil.example", 421),
    ("10.0.0.1", "10.0.0.1", 200),
]


@pytest.mark.parametrize(("listening", "host", "status"), HOSTS)
def test_only_names_of_this_server_are_answered(listening, host, status):
    guard = make_guard(listening, ["Photos.Example"])
    answered, headers = ask_guard(guard, host=host)
    assert answered == status
    assert headers.items() >= SECURITY.items()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),
        ("POST", {"origin": "http://localhost:8000"}, 200),
        ("POST", {"origin": "https://localhost:8000"}, 200),  # behind a proxy with TLS
        ("POST", {"origin": "http://localhost:8000", "sec_fetch_site": "same-origin"}, 200),
        ("POST", {"origin": "http://localhost:8001"}, 403),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": "http://localhost:8000.evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"sec_fetch_site": "cross-site"}, 403),
        ("OPTIONS", {"origin": "http://evil.example"}, 403),
        ("GET", {"origin": "http://evil.example"}, 200),
    ],
)
def test_other_pages_cannot_post(method, headers, status):
    assert ask_guard(make_guard(), method, host="localhost:8000", **headers)[0] == status


def test_addresses_that_only_this_machine_reaches():
    assert all(map(is_local, ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost."]))
    assert not any(map(is_local, ["0.0.0.0", "::", "10.0.0.1", "example.com", "", "localhost.x"]))


@pytest.mark.parametrize("name", ["upload_bytes", "pixels", "requests", "workers", "neighbors",
                                  "connections", "seconds", "upload_seconds"])  # fmt: skip
@pytest.mark.parametrize("value", [0, -1, float("nan"), "3", None])
def test_limits_that_are_none(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        Limits(**{name: value})


def test_work_is_limited_in_number_and_time():
    async def work_hard():
        work = Work(Limits(requests=2, workers=1, seconds=0.1))
        release, begun = threading.Event(), []
        with work.admitted(), work.admitted():
            with pytest.raises(Refusal, match="most at a time") as refused, work.admitted():
                pass
            assert refused.value.status == 503 and refused.value.headers["Retry-After"]
            tasks = [work.search(release.wait), work.search(begun.append, 1)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [result.status for result in results] == [503, 503]
        # The first cannot be stopped and keeps its place; the second is not begun any more.
        assert work.is_busy and not begun
        with work.admitted(), pytest.raises(Refusal), work.admitted():
            pass
        release.set()
        assert await work.search(lambda: 5) == 5
        assert not begun
        with pytest.raises(ZeroDivisionError):
            await work.search(lambda: 1 / 0)
        work.close()

    asyncio.run(work_hard())


@pytest.fixture
def vectors(tmp_path):
    rng = np.random.default_rng(0)
    index = Index.build(None, rng.normal(size=(40, 5)), labels=["a", "b"] * 20)
    index.save(tmp_path / "i")
    return tmp_path / "i"


def test_a_service_sees_what_other_processes_do(vectors):
    service = Service(vectors, threshold=1.0)
    first = service.examples(5)
    assert len(first) == 5 and len({entry.id for entry in first}) == 5
    assert {entry.hit.label for entry in service.examples(5, "b")} == {"b"}
    answer = service.search_entry(first[0].id, 39)
    assert len(answer.entries) == 39 and first[0].id not in [e.id for e in answer.entries]
    [expected] = Index.open(vectors).search(Index.open(vectors).vectors([first[0].hit.name]), 40)
    assert [entry.hit for entry in answer.entries] == expected[1:]
    assert [answer.same(e) for e in answer.entries] == [hit.distance <= 1 for hit in expected[1:]]

    with Index.open(vectors) as other:
        other.add(np.zeros((1, 5)), names=["new"])
        other.remove(first[0].hit.name)
    assert service.search_vector([0.0] * 5, 1).entries[0].hit.name == "new"
    with pytest.raises(Refusal, match="no longer in the index"):
        service.search_entry(first[0].id, 3)

    # Another index takes its place.
    vectors.rename(vectors.with_name("old"))
    with pytest.raises(Refusal, match="cannot be read just now") as refused:
        service.search_vector([0.0] * 5, 1)
    assert refused.value.status == 503 and str(vectors.parent) not in refused.value.message
    Index.build(None, np.ones((3, 7)), names=["x", "y", "z"]).save(vectors)
    assert service.search_vector([1.0] * 7, 5).images == 3


def test_what_was_shown_is_forgotten_at_some_time(vectors, monkeypatch):
    monkeypatch.setattr("mdl_tf.serve.service._IDS", 10)
    service = Service(vectors)
    old = service.examples(5)
    service.search_vector([1.0] * 5, 10)
    service.search_vector([-1.0] * 5, 10)
    with pytest.raises(Refusal, match="Search again"):
        [service.entry(entry.id) for entry in old]


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "%2e%2e", "0" * 32, "/etc/passwd", "\0"])
def test_ids_that_are_none(vectors, key):
    with pytest.raises(Refusal, match="earlier search"):
        Service(vectors).picture(key)


def test_an_announced_server_is_found_only_if_it_is_one(tmp_path):
    path = tmp_path / ".serving.json"
    with running.announced(tmp_path, "127.0.0.1", 1, "t"):
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert running.ask(tmp_path, ["q"], 1) is None  # nobody listens at port 1
        told = json.loads(path.read_text())
    assert not path.exists()
    for wrong in ({"port": "x"}, {"port": 0}, {"host": 5}, {"version": "0"}, {"token": None}):
        path.write_text(json.dumps({**told, **wrong}))
        assert running.ask(tmp_path, ["q"], 1) is None
    for text in ("", "[]", "{}", "\0"):
        path.write_text(text)
        assert running.ask(tmp_path, ["q"], 1) is None
    assert running._is_here("127.0.0.1") and running._is_here("0.0.0.0")
    assert not running._is_here("192.0.2.1")
    # One that was started later is not taken back by the first.
    with running.announced(tmp_path, "127.0.0.1", 1, "t"):
        path.write_text(json.dumps({**told, "token": "later"}))
    assert path.exists()


def test_a_server_needs_no_writable_index(tmp_path):
    with running.announced(tmp_path / "vectors.npz", "127.0.0.1", 1, "t"):
        assert not list(tmp_path.iterdir())


def test_the_extra_is_named(monkeypatch, vectors):
    from mdl_tf import cli
    from mdl_tf.serve import server

    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    assert cli.main(["serve", str(vectors)]) == 2
    assert "pip install 'mdl_tf[serve]'" in error.getvalue()
    assert error.getvalue().count("\n") == 1
