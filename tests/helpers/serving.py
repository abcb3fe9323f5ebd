"""A server in a thread of this process, and a client that can misbehave."""

import contextlib
import http.client
import json
import socket
import threading
from typing import NamedTuple
from urllib.parse import quote, urlencode

from mdl_tf.serve.limits import Limits

TOKEN = "secret of the test"


class Response(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()


class Client:
    """Requests to a server, one connection each."""

    def __init__(self, port, service):
        self.port, self.service = port, service

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, quote(path, "/?&=%"), body, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, found, response.read())

    def get(self, path, **headers):
        return self.ask("GET", path, headers=_named(headers))

    def search(self, body, path="/search", /, **values):
        return self.ask("POST", f"{path}?{urlencode(values)}", body)

    def search_json(self, **fields):
        headers = {"Content-Type": "application/json"}
        return self.ask("POST", "/search", json.dumps(fields), headers)

    def send_form(self, path, picture, fields=(), filename="a.jpg", accept="text/html"):
        kind, body = as_form(picture, fields, filename)
        return self.ask("POST", path, body, {"Content-Type": kind, "Accept": accept})

    @contextlib.contextmanager
    def connected(self, text=""):
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(text.replace("\n", "\r\n").encode())
            yield connection


def _named(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


def as_form(picture, fields=(), filename="a.jpg"):
    """Content type and body of a form."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in dict(fields).items()
    ]
    head = f'--edge\r\nContent-Disposition: form-data; name="picture"; filename="{filename}"\r\n'
    parts += [head.encode(), b"Content-Type: image/jpeg\r\n\r\n", picture, b"\r\n--edge--\r\n"]
    return "multipart/form-data; boundary=edge", b"".join(parts)


@contextlib.contextmanager
def serving(path, limits=None, host="127.0.0.1", allowed=(), **options):
    """A `Client` of a server of an index, while the block runs."""
    from mdl_tf.serve.app import make_app
    from mdl_tf.serve.server import make_server
    from mdl_tf.serve.service import Service

    limits = limits or Limits()
    service = Service(path, **options)
    app = make_app(service, limits, host, allowed, TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = threading.Event()
        server = make_server(app, limits, started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert started.wait(20)
            yield Client(listener.getsockname()[1], service)
        finally:
            server.should_exit = True
            thread.join()
            app.work.close()
