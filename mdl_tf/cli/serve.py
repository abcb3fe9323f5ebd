"""`mdl-tf serve`: an index as a page and as JSON."""

import os
import sys

from mdl_tf.cli.index import add_server, is_on_server
from mdl_tf.config import ConfigError
from mdl_tf.words import shorten

# Flag, field of `Limits`, factor, type, help.
_LIMITS = (
    ("max-upload", "upload_bytes", 2**20, float, "MB of a picture [16]"),
    ("max-megapixels", "pixels", 10**6, float, "million pixels of a picture [50]"),
    ("max-requests", "requests", 1, int, "searches at the same time, waiting ones too [64]"),
    ("max-seconds", "seconds", 1, float, "that a search may take [30]"),
    ("max-upload-seconds", "upload_seconds", 1, float, "that an upload may take [30]"),
    ("max-neighbors", "neighbors", 1, int, "that one search may ask for [1000]"),
)


def add_to(commands):
    """Add the command to a parser's commands."""
    serve = commands.add_parser(
        "serve",
        help="search in an index by a page in the browser",
        description="Serves an index as a page and as JSON, for this machine unless --host says "
        "otherwise. Uploads are never stored.",
    )
    serve.add_argument("index", metavar="INDEX", help="folder of an index, or vectors.npz")
    add_server(serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at [127.0.0.1]")
    serve.add_argument("--port", default="8000", help="0: any that is free [8000]")
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name of this server, such as that of a proxy; may be repeated",
    )
    serve.add_argument(
        "--far",
        metavar="SHARE",
        help="of a calibrated index: the share of pairs of two classes that may be called the "
        "same [0.001]",
    )
    serve.add_argument(
        "--threshold", metavar="DISTANCE", help="the largest distance that is called the same"
    )
    for flag, name, _, _, told in _LIMITS:
        serve.add_argument(f"--{flag}", dest=name, metavar="N", help=told)


def run(args):
    """Run the command."""
    if args.far is not None and args.threshold is not None:
        raise ConfigError("`far` and `threshold` must not be given together. Received: both")
    is_on_server(args.index, args)
    options = {
        name: _as_number(name, getattr(args, name))
        for name in ("far", "threshold")
        if getattr(args, name) is not None
    }
    port = _as_number("port", args.port, int)
    given = {}
    for flag, name, factor, kind, _ in _LIMITS:
        text = getattr(args, name)
        if text is not None:
            number = factor * _as_number(flag, text, kind)
            given[name] = int(number) if factor > 1 else number
    from mdl_tf.serve.limits import Limits

    limits = Limits(**given)
    from mdl_tf.serve import server

    is_busy = server.serve(
        args.index,
        host=args.host,
        port=port,
        allow_hosts=args.allow_host,
        name=args.name,
        model=args.model,
        limits=limits,
        **options,
    )
    if is_busy:
        # A thread cannot be stopped, and Python would wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _as_number(name, text, kind=float):
    try:
        number = kind(text)
        if not abs(number) < float("inf"):
            raise ValueError
    except ValueError:
        noun = "an integer" if kind is int else "a number"
        raise ConfigError(
            f"`{name}` must be {noun}. Received: {name}={shorten(text, 40)!r}"
        ) from None
    return number
