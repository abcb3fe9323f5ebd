"""Which server has an index loaded: a small file in the index, which only its owner can read."""

import contextlib
import http.client
import json
import os
import secrets
import socket
from pathlib import Path

from mdl_tf import __version__
from mdl_tf.images import file as image_file

_FILE = ".serving.json"
_CONNECT = 1  # seconds
_ANSWER = 120


@contextlib.contextmanager
def announced(index, host, port, token):
    """Let `mdl-tf search` find a server while the block runs.

    Args:
        index: path of the index; what is no folder, or cannot be written, is not announced.
        host: the address that is listened at.
        port: its port.
        token: a text that the server asks for.
    """
    path = Path(index) / _FILE
    told = {"pid": os.getpid(), "host": host, "port": port, "token": token}
    try:
        _write(path, json.dumps({**told, "version": __version__}))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        # It may be that of a server that was started later.
        if (_read(path) or {}).get("token") == token:
            with contextlib.suppress(OSError):
                path.unlink()


def _write(path, text):
    temporary = path.with_name(f"{_FILE}-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _read(path):
    """What is announced, or `None`."""
    try:
        told = json.loads(path.read_text())
        checked = [told[name] for name in ("host", "token", "version")]
        if all(isinstance(text, str) for text in checked) and 0 < told["port"] < 2**16:
            return told
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


def ask(index, queries, k, *, where=None, threshold=None, far=None):
    """The answer of the server of an index, if there is one.

    Args:
        index: path of the index.
        queries: paths of image files.
        k: how many.
        where: as for `Index.search`. Defaults to `None`.
        threshold: as for `Index.search`. Defaults to `None`.
        far: as for `Index.threshold_at`. Defaults to `None`.

    Returns:
        For each query a list of dicts, the fields of a `Hit`; `None` if there is no server, or it
        cannot answer now.

    Raises:
        ValueError: as `Index.search`.
    """
    told = _read(Path(index).expanduser() / _FILE)
    if told is None or told["version"] != __version__ or not _is_here(told["host"]):
        return None
    paths = {os.path.abspath(os.path.expanduser(path)): str(path) for path in queries}
    asked = {
        "queries": [os.path.abspath(os.path.expanduser(path)) for path in queries],
        **{"k": k, "where": where, "threshold": threshold, "far": far},
    }
    try:
        health = _request(told, "GET", "/healthz", _CONNECT)[1]
        # Else the port is another program's by now, which must not see the token.
        if health.get("instance") != image_file.digest(told["token"].encode()):
            return None
        status, answer = _request(told, "POST", "/command/search", _ANSWER, asked)
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return None
    if status == 422:
        message = answer["error"]
        for path, given in paths.items():
            message = message.replace(path, given)
        raise ValueError(message)
    return answer["hits"] if status == 200 else None


def _request(told, method, path, seconds, content=None):
    """Status and JSON of an answer."""
    connection = http.client.HTTPConnection(_reachable(told["host"]), told["port"], timeout=seconds)
    headers = {}
    if content is not None:
        headers = {
            "Authorization": f"Bearer {told['token']}",
            "Content-Type": "application/json",
        }
    with contextlib.closing(connection):
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def _reachable(host):
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _is_here(host):
    """Whether an address is one of this machine: an index may come from anywhere."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as asked:
            asked.bind(place)
    except (OSError, UnicodeError):
        return False
    return True
