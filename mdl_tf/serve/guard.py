"""Who may ask: the headers `Host` and `Origin`, and what every response tells the browser.

A page of another site can make a browser send requests here. Under a name of its own that it lets
point to this address (DNS rebinding) it could read the answers, too: so a request must be for a
name of this server. From another page nothing may be posted.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from mdl_tf.serve.refusal import Refusal, wants_page
from mdl_tf.words import clean

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "img-src 'self' data:",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
SECURITY = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def is_local(host):
    """Whether an address can be reached from this machine alone.

    Args:
        host: a name or an address.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


class Guard:
    """ASGI middleware that lets through what is for this server, and adds headers of security.

    Args:
        app: the application.
        refuse: a function of a `Refusal` and whether a page is wanted, to an ASGI response.
        host: the address that is listened at; at one that other machines reach, every address
            without a name is taken for this server's, as no other site can have it.
        allowed: further names, texts. Defaults to none.
    """

    def __init__(self, app, refuse, host, allowed=()):
        self._app, self._refuse = app, refuse
        self._local = is_local(host)
        self._names = {_plain(name) for name in (host, *allowed)}
        if not self._local:
            self._names |= {_plain(socket.gethostname()), _plain(socket.getfqdn())}

    async def __call__(self, scope, receive, send):
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message):
            if message["type"] == "http.response.start":
                headers = [(k, v) for k, v in message["headers"] if k.decode() not in SECURITY]
                headers += [(k.encode(), v.encode()) for k, v in SECURITY.items()]
                message = {**message, "headers": headers}
            await send(message)

        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        try:
            self._check_host(headers.get("host", ""))
            if scope["method"] not in ("GET", "HEAD"):
                _check_origin(headers)
        except Refusal as refusal:
            response = self._refuse(refusal, wants_page(headers.get("accept", "")))
            await response(scope, receive, send_safely)
            return
        await self._app(scope, receive, send_safely)

    def _check_host(self, host):
        name = _name_of(host)
        if name is None:
            raise Refusal(400, f"The header Host must be a name. Received: {clean(host, 80)!r}")
        if name in self._names or is_local(name):
            return
        if not self._local and _is_address(name):
            return
        raise Refusal(
            421,
            f"This server does not answer to the name {clean(name, 80)!r}. If it is its own, "
            "start it with --allow-host and that name.",
        )


def _check_origin(headers):
    origin = headers.get("origin")
    # Not its scheme, which a proxy may have changed.
    same = origin is None or origin.lower().partition("://")[2] == headers["host"].lower()
    if not same or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Refusal(403, "A page of another site must not search here.")


def _name_of(host):
    """The name in a header `Host`, which may have a port; `None` if there is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for one that is none
    except ValueError:
        return None
    if not parts.hostname or parts.netloc != host or parts.username is not None:
        return None
    return _plain(parts.hostname)


def _plain(name):
    return name.strip("[]").rstrip(".").lower()


def _is_address(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
