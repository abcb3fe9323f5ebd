"""A server as its clients see it. Needs the extra `serve`."""

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import commands
from helpers.models import average_colour
from helpers.serving import TOKEN, serving
from PIL import Image

from mdl_tf import search as search_module
from mdl_tf.index import Index
from mdl_tf.serve import running
from mdl_tf.serve.guard import SECURITY
from mdl_tf.serve.limits import Limits

pytestmark = pytest.mark.slow
NASTY = "<script>alert('x')</script>\"&"


def picture(colour, size=(24, 20), kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def large(mb=1):
    """A picture of so many MB."""
    side = int((mb * 2**20 / 3) ** 0.5) + 1
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def index_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for i in range(30):
        path = folder / "photos" / ("reds" if i < 20 else NASTY) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture((8 * i, 0, 0) if i < 20 else (0, 0, 8 * i)))
    average_colour().save(folder / "m.keras")
    with Index.create(folder / "photos.index", folder / "m.keras") as index:
        index.add(folder / "photos")
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(10), 10)
        index.calibrate(labels[:, None] * 0.05 + 0.02 * rng.random((100, 3)), labels)
    return folder / "photos.index"


@pytest.fixture(scope="module")
def client(index_path):
    limits = Limits(upload_bytes=2**20, pixels=300_000, upload_seconds=1, neighbors=100)
    with serving(index_path, limits) as client:
        yield client


def test_answers_are_those_of_the_index(client, index_path):
    with Index.open(index_path) as index:
        pixels = np.full((1, 20, 24, 3), (100, 0, 0), np.uint8)
        [expected] = index.search(pixels, 7)
        threshold = index.threshold_at(1e-3)
    raw = client.search(picture((100, 0, 0)), k=7)
    assert raw.status == 200 and raw.headers["content-type"] == "application/json"
    hits = raw.json["hits"]
    assert [(h["name"], h["label"], h["distance"]) for h in hits] == [
        (hit.name, hit.label, hit.distance) for hit in expected
    ]
    assert {hit["same"] for hit in hits} == {True, False}
    assert [hit["same"] for hit in hits] == [hit.distance <= threshold for hit in expected]
    assert raw.json["same"]["threshold"] == threshold and raw.json["images"] == 30
    assert not any("path" in hit for hit in hits)

    form = client.send_form("/search", picture((100, 0, 0)), {"k": "7"}, accept="*/*")
    assert form.json["hits"] == hits
    [near] = client.search(picture((100, 0, 0)), k=1).json["hits"]
    vector = client.search_json(vector=[100 / 255, 0, 0], k=7).json["hits"]
    distances = [[hit["distance"] for hit in found] for found in (vector, hits)]
    np.testing.assert_allclose(*distances, atol=1e-6)
    around = client.search_json(id=near["id"], k=100).json
    assert around["query"]["name"] == near["name"] and len(around["hits"]) == 29
    assert near["id"] not in [hit["id"] for hit in around["hits"]]

    blue = client.search_json(id=near["id"], k=100, where={"label": NASTY}).json["hits"]
    assert {hit["label"] for hit in blue} == {NASTY} and len(blue) == 10
    assert client.search_json(id=near["id"], k=100, label=NASTY).json["hits"] == blue
    assert client.search(picture("red"), label=NASTY, k=3).json["where"] == {"label": NASTY}
    close = client.search(picture((100, 0, 0)), k=99, threshold=0.05).json["hits"]
    assert close == [h for h in client.search(picture((100, 0, 0)), k=99).json["hits"]
                     if h["distance"] <= 0.05]  # fmt: skip


def test_small_pictures(client):
    [hit] = client.search(picture((80, 0, 0)), k=1).json["hits"]
    response = client.get(hit["image"])
    assert response.headers["content-type"] == "image/jpeg"
    red = np.asarray(Image.open(io.BytesIO(response.body)))[0, 0]
    assert abs(int(red[0]) - 80) < 9
    assert client.get(hit["image"]).body == response.body
    with client.connected(f"HEAD / HTTP/1.1\nHost: localhost\n\n") as connection:  # noqa: F541
        assert connection.recv(99).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "path",
    [
        *("/image/x", "/image/..%2f..%2fetc%2fpasswd", "/image/../../etc/passwd", "/image/"),
        *("/image//etc/passwd", "/image/%00", "/static/page.py", "/static/..%2fapp.py", "/docs"),
        *("/static/%2e%2e/app.py", "/openapi.json", "/.serving.json", "/nothing"),
        *("/?id=x", "/?id=../../etc/passwd"),
    ],
)
def test_what_is_not_there(client, path):
    assert client.get(path).status == 404
    page = client.get(path, Accept="text/html,*/*")
    assert page.status == 404 and "<form" in page.text
    assert "passwd" not in page.text and "Traceback" not in page.text


# Name: (method, path, body, headers), status, words.
REFUSED = {
    "no picture": (("POST", "/search", b"", {}), 400, "A picture must be sent"),
    "text": (("POST", "/search", b"hello", {}), 415, "no picture"),
    "too large": (("POST", "/search", bytes(3 * 2**20), {}), 413, "3.0 MB is too large"),
    "k": (("POST", "/search?k=0", b"x", {}), 400, "`k` must be from 1 to 100"),
    "large k": (("POST", "/search?k=" + "9" * 5000, b"x", {}), 400, "`k` must be"),
    "text as k": (("POST", "/search?k=a", b"x", {}), 400, "`k` must be an integer"),
    "bad where": (("POST", "/search?where={", picture("red"), {}), 400, "`where` must be JSON"),
    "unknown column": (("POST", '/search?where={"x":1}', picture("red"), {}), 400, "must name col"),
    "text as threshold": (("POST", "/search?threshold=nan", b"x", {}), 400, "`threshold` must be"),
    "wrong method": (("GET", "/search", None, {}), 405, "cannot be done"),
    "deleting": (("DELETE", "/", None, {}), 405, "cannot be done"),
    "a form that is none": (
        ("POST", "/search", b"x", {"Content-Type": "multipart/form-data"}), 400, "form cannot"),
    "JSON that is none": (
        ("POST", "/search", b"{", {"Content-Type": "application/json"}), 400, "JSON cannot be"),
    "JSON that is a list": (
        ("POST", "/search", b"[]", {"Content-Type": "application/json"}), 400, "an object"),
    "deep JSON": (("POST", "/search", b'{"id":' + b"[" * 99999,
                   {"Content-Type": "application/json"}), 400, "JSON cannot be"),
    "a short vector": (("POST", "/search", b'{"vector": [1]}',
                        {"Content-Type": "application/json"}), 400, "3 numbers"),
    "a vector of texts": (("POST", "/search", b'{"vector": ["a"]}',
                           {"Content-Type": "application/json"}), 400, "list of numbers"),
    "a vector of lists": (("POST", "/search", b'{"vector": [[1], [2, 3], {}]}',
                           {"Content-Type": "application/json"}), 400, "list of numbers"),
    "an unknown id": (("POST", "/search", b'{"id": "x"}',
                       {"Content-Type": "application/json"}), 404, "Search again"),
    "an id that is none": (("POST", "/search", b'{"id": {"a": 1}}',
                            {"Content-Type": "application/json"}), 404, "Search again"),
    "a fraction as k": (("POST", "/search", b'{"id": "x", "k": 1.5}',
                         {"Content-Type": "application/json"}), 400, "`k` must be an integer"),
    "another site": (("POST", "/search", b"x", {"Origin": "http://evil.example"}), 403, "another"),
    "another name": (("GET", "/", None, {"Host": "evil.example"}), 421, "--allow-host"),
    "without token": (("POST", "/command/search", b"{}", {}), 404, "nothing here"),
    "wrong token": (("POST", "/command/search", b"{}", {"Authorization": "Bearer x"}), 404, "noth"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_polite(client, name):
    (method, path, body, headers), status, words = REFUSED[name]
    for accept in ("*/*", "text/html,application/xhtml+xml,*/*;q=0.8"):
        response = client.ask(method, path, body, {**headers, "Accept": accept})
        assert response.status == status
        assert response.headers.items() >= SECURITY.items()
        if accept == "*/*":
            assert words in response.json["error"] and response.json["status"] == status
        else:
            assert "<form" in response.text and words in response.text.replace("&#x27;", "'")
        assert "Traceback" not in response.text


def test_limits_hold_however_the_upload_comes(client):
    # Told too large, and still sent.
    assert client.search(large(2)).status == 413
    # Not told.
    pieces = (bytes(2**16) for _ in range(40))
    response = client.ask("POST", "/search", pieces)
    assert response.status == 413
    # Told smaller than it is: what is too much would be a request of its own.
    head = "POST /search HTTP/1.1\nHost: localhost\nContent-Length: 5\n\n"
    with client.connected(head + "hello" + "x" * 99 + "\n\n") as connection:
        text = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(2**16):
                text += part
        assert text.startswith(b"HTTP/1.1 415") and text.count(b"HTTP/1.1 200") == 0
    # Told larger than it is, or slow.
    with client.connected(head.replace("5", "500") + "hello") as connection:
        assert connection.recv(99).startswith(b"HTTP/1.1 408")
    # A head that has no end, in time and in length.
    with client.connected("POST /search HTTP/1.1\nHost: localhost\n") as connection:
        begin = time.monotonic()
        assert connection.recv(99) == b"" and time.monotonic() - begin < 5
    with client.connected("GET / HTTP/1.1\nHost: localhost\nX: " + "x" * 2**17) as connection:
        with contextlib.suppress(OSError):
            assert connection.recv(99).startswith(b"HTTP/1.1 4")
    # Two names, or none.
    for names in ("", "Host: localhost\nHost: localhost\n"):
        with client.connected(f"GET / HTTP/1.1\n{names}\n") as connection:
            assert connection.recv(99).startswith(b"HTTP/1.1 400")
    assert client.get("/healthz").json["status"] == "ok"


def test_uploads_are_not_stored(client):
    opened, watching = [], True

    def watch(event, arguments):
        # Nobody can take the hook away again.
        if watching and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                opened.append(arguments[0])

    sys.addaudithook(watch)
    with open(os.devnull, "w"):
        assert opened == [os.devnull]  # it sees what is opened
    opened.clear()
    noise = large(0.6)
    assert client.search(noise).status == 200
    assert client.send_form("/", noise).status == 200
    watching = False
    assert not opened


def test_too_many_and_too_slow(index_path):
    limits = Limits(requests=2, workers=1, seconds=1)
    with serving(index_path, limits) as client:
        release, search = threading.Event(), client.service.search_pixels
        client.service.search_pixels = lambda *options: release.wait(20) and search(*options)
        responses = []

        def ask():
            responses.append(client.search(picture("red")))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        [thread.start() for thread in threads]
        time.sleep(0.4)
        busy = client.search(picture("red"))
        assert busy.status == 503 and int(busy.headers["retry-after"]) > 0
        assert "most at a time" in busy.json["error"]
        page = client.send_form("/", picture("red"))
        assert page.status == 503 and "Try again in a moment" in page.text
        # Others are still served.
        assert client.get("/healthz").status == 200
        [thread.join() for thread in threads]
        assert {response.status for response in responses} == {503}
        assert "longer than 1 s" in responses[0].json["error"]
        release.set()
        time.sleep(0.3)
        client.service.search_pixels = search
        assert client.search(picture("red")).status == 200


def test_a_defect_is_told_without_details(index_path, capsys):
    with serving(index_path) as client:
        client.service.search_pixels = lambda *options: 1 / 0
        response = client.search(picture("red"))
        assert response.status == 500 and "has failed" in response.json["error"]
        assert "ZeroDivisionError" not in response.text
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_page_without_its_script(client):
    start = client.get("/")
    assert start.headers["content-type"].startswith("text/html")
    assert start.headers.items() >= SECURITY.items()
    assert "<script>" not in start.text and "style=" not in start.text
    assert not re.findall(r"(?:src|href)=\"(?!/|data:image/jpeg;base64,)[^\"#]", start.text)
    for name in ("page.css", "page.js", "icon.svg"):
        response = client.get(f"/static/{name}")
        assert response.status == 200 and "http://" not in response.text.replace(
            "http://www.w3.org/2000/svg", ""
        )
        assert client.get(f"/static/{name}", If_None_Match=response.headers["etag"]).status == 304
    found = client.send_form("/", picture((80, 0, 0)), {"label": "", "k": "12"})
    assert "The nearest 12 images" in found.text and "data:image/jpeg;base64," in found.text
    assert "not the same" in found.text and "as near" in found.text
    link = re.search(r'href="(/\?id=[^"]+)"', found.text)[1].replace("&amp;", "&")
    around = client.get(link)
    assert around.status == 200 and "The nearest 12 images" in around.text
    nasty = client.send_form("/", picture((0, 0, 240)), {"label": NASTY, "k": "12"})
    assert "The nearest 10 images" in nasty.text and "<script>alert" not in nasty.text
    chosen = re.search(r'<option value="([^"]*)" selected>', nasty.text)[1]
    assert "script" in chosen and "&lt;script&gt;" in chosen
    none = client.send_form("/", picture("red"), {"label": "nobody", "k": "12"})
    assert "Nothing found" in none.text
    # Nothing chosen: the start again.
    assert "begin with one" in client.send_form("/", b"", {"k": "12"}, filename="").text
    bad = client.send_form("/", b"nonsense")
    assert bad.status == 415 and 'role="alert"><p>This is no picture' in bad.text


@pytest.mark.parametrize("classes", [9, 10])
def test_thresholds_of_few_classes_say_so(classes, tmp_path):
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(40, 4)), np.arange(40) % classes
    with Index.build(None, vectors) as index:
        index.calibrate(vectors, labels)
        index.save(tmp_path / "i")
    with serving(tmp_path / "i") as client:
        meaning = client.search_json(vector=[0, 0, 0, 1]).json["same"]["meaning"]
    few = meaning.endswith(". It was settled on 9 classes alone, which says little")
    assert few == (classes == 9), meaning


def test_an_index_without_calibration_or_images(tmp_path):
    rng = np.random.default_rng(0)
    Index.build(None, rng.normal(size=(20, 4))).save(tmp_path / "i")
    with serving(tmp_path / "i") as client:
        start = client.get("/").text
        assert "no model for pictures" in start and "<img" not in start and "Label" not in start
        link = re.search(r'href="(/\?id=[^"]+)"', start)[1].replace("&amp;", "&")
        assert "The index is not calibrated" in client.get(link).text
        answer = client.search_json(vector=[0, 0, 0, 1]).json
        assert answer["same"]["threshold"] is None and answer["hits"][0]["same"] is None
        assert answer["hits"][0]["image"] is None
        assert client.search(picture("red")).status == 415
        assert client.get(f"/image/{answer['hits'][0]['id']}").status == 404
        assert client.get("/healthz").json["takes_pictures"] is False


def test_files_that_are_gone(index_path, tmp_path):
    with Index.open(index_path) as index:
        index.save(tmp_path / "copy")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture("green"))
    with serving(tmp_path / "copy") as client:
        with Index.open(tmp_path / "copy") as index:
            index.add(tmp_path / "photos")
        [hit] = client.search(picture("green"), k=1).json["hits"]
        assert hit["name"] == "a.png" and hit["label"] is None
        (tmp_path / "photos" / "a.png").unlink()
        gone = client.get(hit["image"])
        assert gone.status == 404 and gone.headers["content-type"].startswith("image/svg")
        assert client.search_json(id=hit["id"], k=3).status == 200


def test_mdl_tf_search_asks_the_server(client, index_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Drawing takes longer than all the rest.
    monkeypatch.setattr(search_module, "picture", lambda *options: Image)
    monkeypatch.setattr(Image, "savefig", lambda path, **options: None, raising=False)
    (tmp_path / "q.png").write_bytes(picture((50, 0, 0)))
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    options = ["search", str(index_path), "-k", "3", "--json"]

    def search(*more):
        from mdl_tf import cli

        code = cli.main([*options, *more])
        return code, *capsys.readouterr()

    asked, search_files = [], client.service.search_files

    def watch(**fields):
        asked.append(fields["queries"])
        return search_files(**fields)

    monkeypatch.setattr(client.service, "search_files", watch)
    rows = (["q.png"], ["q.png", "--far", "0.01"], ["q.png", "--where", '{"label": "reds"}'],
            ["q.png", "q.png", "--threshold", "0.02"], ["bad.png"], ["q.png", "--far", "1e-9"],
            ["q.png", "--where", '{"x": 1}'])  # fmt: skip
    alone = [search(*row) for row in rows]
    assert not asked
    with running.announced(index_path, "127.0.0.1", client.port, TOKEN):
        assert [search(*row) for row in rows] == alone
        assert asked[0] == [str(tmp_path / "q.png")] and len(asked) == len(rows)
    assert {code for code, _, _ in alone} == {0, 2}
    # A file of a server that is gone, or of another one.
    for port, token in ((1, TOKEN), (client.port, "other")):
        with running.announced(index_path, "127.0.0.1", port, token):
            assert search("q.png") == alone[0]
    assert len(asked) == len(rows)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An index that needs no TensorFlow."""
    path = tmp_path_factory.mktemp("plain") / "i"
    Index.build(None, np.random.default_rng(0).normal(size=(20, 4))).save(path)
    return path


@contextlib.contextmanager
def started(*arguments):
    process = subprocess.Popen(
        [*commands.COMMAND, "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        while not lines or "Page: " not in lines[-1]:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            lines.append(line)
        yield process, "".join(lines)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly(plain, number):
    with started(plain, "--port", "0") as (process, text):
        port = int(re.search(r":(\d+)/", text)[1])
        assert "20 vectors" in text and "not calibrated" in text and "no model" in text
        assert (plain / ".serving.json").exists()
        # Somebody is connected still.
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
            )
            time.sleep(0.3)
            process.send_signal(number)
            assert process.wait(10) == 0
        assert process.stderr.read() == "" and process.stdout.read() == ""
        assert not (plain / ".serving.json").exists()


def test_what_cannot_be_served(plain, tmp_path, capsys):
    from mdl_tf import cli

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = [
            ([plain, "--port", port], f"try --port {port + 1}"),
            ([tmp_path / "nothing"], "`path` must be the folder of an index"),
            ([plain, "--port", "x"], "`port` must be an integer"),
            ([plain, "--port", "65536"], "`port` must be"),
            ([plain, "--host", "no such host"], "`host` must be an address"),
            ([plain, "--host", "192.0.2.1"], "`host` must be an address of this machine"),
            ([plain, "--far", "2"], "`far` must be"),
            ([plain, "--far", "0.1", "--threshold", "1"], "must not be given together"),
            ([plain, "--threshold", "-1"], "`threshold` must be"),
            ([plain, "--max-upload", "0"], "`upload_bytes` must be"),
            ([plain, "--max-requests", "1.5"], "`max-requests` must be an integer"),
            ([plain, "--max-megapixels", "1e9"], "`pixels` must be"),
        ]
        for arguments, words in cases:
            more = [] if "--port" in arguments else ["--port", "0"]
            assert cli.main(["serve", *map(str, arguments), *more]) == 2
            error = capsys.readouterr().err
            assert words in error and error.count("\n") == 1, error


def test_another_address_warns(plain):
    with started(plain, "--port", "0", "--host", "0.0.0.0", "--threshold", "0.5") as (
        process,
        text,
    ):
        assert "at most 0.5" in text
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert "Everybody who reaches 0.0.0.0" in process.stderr.read()
