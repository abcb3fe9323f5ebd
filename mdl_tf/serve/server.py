"""A server of an index, from its address to Ctrl-C."""

import contextlib
import importlib.util
import secrets
import signal
import socket
import threading
import warnings

from mdl_tf.checks import check_integer
from mdl_tf.config import ConfigError
from mdl_tf.progress import quiet
from mdl_tf.serve.guard import is_local
from mdl_tf.serve.limits import Limits
from mdl_tf.serve.running import announced
from mdl_tf.words import count

_GOING = 3  # seconds that requests may take when the server ends


def serve(
    index,
    *,
    host="127.0.0.1",
    port=8000,
    allow_hosts=(),
    far=1e-3,
    threshold=None,
    name=None,
    model=None,
    limits=None,
    started=None,
):
    """Serve an index as a page and as JSON until it is interrupted.

    Args:
        index: path of an index, or of a file that `mdl-tf embed` wrote; or the address of a server,
            as for `Index.connect`.
        host: address to listen at. Defaults to `"127.0.0.1"`, which only this machine reaches.
        port: to listen at; 0 for any that is free. Defaults to `8000`.
        allow_hosts: names in the header `Host` that are answered beside those of `host`, such as
            that of a proxy before it. Defaults to none.
        far: false accept rate of "the same", where the index is calibrated. Defaults to `1e-3`.
        threshold: the largest distance that is called the same, in place of `far`. Defaults to
            `None`.
        name: of an index on a server, as for `Index.connect`. Defaults to `None`: its default.
        model: of an index on a server, as for `Index.connect`. Defaults to `None`.
        limits: a `Limits`. Defaults to `None`: those of `Limits()`.
        started: a function of the address, called when the first request can come. Defaults to
            `None`: the address is printed.

    Returns:
        Whether a search is still going on, which nobody waits for.

    Raises:
        ValueError: if an argument is not as above, the port is taken, there is no such index, or a
            package is missing.
    """
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"`mdl-tf serve` must have {' and '.join(missing)}: pip install 'mdl_tf[serve]'. "
            "Received: an environment without"
        )
    port = check_integer("port", port, least=0, below=2**16)
    limits = limits or Limits()
    with contextlib.closing(_bind(host, port)) as listener:
        port = listener.getsockname()[1]
        if not is_local(host):
            warnings.warn(
                f"Everybody who reaches {host}, port {port}, can search in this index and see its "
                "images: there are no passwords, and nothing is encrypted.",
                stacklevel=2,
            )
        with quiet():
            from mdl_tf.serve.app import make_app
            from mdl_tf.serve.service import Service

            service = Service(index, far, threshold, name=name, model=model)
            service.warm(print)
        _describe(service)
        token = secrets.token_urlsafe(24)
        app = make_app(service, limits, host, allow_hosts, token)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        with announced(service.path, host, port, token):
            server = make_server(app, limits, lambda: (started or _tell)(address))
            with _ended_by_sigterm(), contextlib.suppress(KeyboardInterrupt):
                server.run(sockets=[listener])
        app.work.close()
        return app.work.is_busy


def _describe(service):
    labels, images = service.contents()
    kind = "image" if service.takes_pictures else "vector"
    print(f"{service.path}: {count(images, kind)}, {count(len(labels), 'label')}")
    if not service.takes_pictures:
        print(
            "It has no model for pictures: the page searches by its entries, and POST /search "
            "takes vectors."
        )
    verdict = service.verdict()
    if verdict.threshold is None:
        print("Same or not: not said, as it is not calibrated; --threshold gives a distance")
    else:
        print(f"The same: a distance of {verdict.reason}")


def _tell(address):
    print(f"Page: {address}  (Ctrl-C ends it)", flush=True)


def _bind(host, port):
    """A socket at an address, which does not listen yet."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"`host` must be an address of this machine. Received: host={host!r}, {error}"
        ) from error
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        # Else a second server at this port would be noticed after its model is loaded.
        listener.listen(1024)
    except PermissionError as error:
        listener.close()
        raise ConfigError(
            f"`port` must be one that you may use, from 1024 on. Received: port={port}"
        ) from error
    except OSError as error:
        listener.close()
        if error.errno == 98 or "in use" in str(error):
            raise ConfigError(
                f"`port` must be free: try --port {port + 1 if port < 65535 else 0}. "
                f"Received: port={port}, which another program uses"
            ) from error
        raise ConfigError(
            f"`host` must be an address of this machine. Received: host={host!r}, {error}"
        ) from error
    return listener


def make_server(app, limits, started):
    """What answers requests, by `run(sockets=[...])`, until its `should_exit` is set.

    Args:
        app: an ASGI application.
        limits: a `Limits`.
        started: a function that is called when the first request can come.

    Returns:
        A `uvicorn.Server`.
    """
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Closes connections whose first request does not come."""

        def connection_made(self, transport):
            super().connection_made(transport)
            self.loop.call_later(limits.upload_seconds, self._end_if_silent)

        def _end_if_silent(self):
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            started()

    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        lifespan="off",
        # Its own would close what others log to.
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=_GOING,
    )
    return Server(config)


@contextlib.contextmanager
def _ended_by_sigterm():
    """SIGTERM ends the block as Ctrl-C does, so that what was announced is taken back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
