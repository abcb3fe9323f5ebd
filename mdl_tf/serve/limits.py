"""What a server takes of its clients at most."""

import dataclasses

from mdl_tf.checks import check_integer, check_number

MOST_PIXELS = 178_956_970  # that Pillow reads


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes of its clients at most; each is answered politely.

    Args:
        upload_bytes: of a picture, 413 above it. Defaults to 16 MiB.
        pixels: of a picture, width times height, 413 above it. Defaults to 50 million, what
            telephones make; each takes 3 bytes, and more while it is decoded.
        requests: searches at the same time, waiting ones among them, 503 above it. Each may hold
            an upload in memory. Defaults to 64.
        workers: pictures that are decoded and searched at the same time. Defaults to 2.
        seconds: that a search may take, waiting included, 503 after it. Defaults to 30.
        upload_seconds: that a request may take to arrive, 408 after it. Defaults to 30.
        neighbors: that one search may ask for, 400 above it. Defaults to 1,000.
        connections: open ones, 503 above it. Defaults to 500.

    Raises:
        ValueError: if one is no such number.
    """

    upload_bytes: int = 16 * 2**20
    pixels: int = 50_000_000
    requests: int = 64
    workers: int = 2
    seconds: float = 30
    upload_seconds: float = 30
    neighbors: int = 1000
    connections: int = 500

    def __post_init__(self):
        for name in ("upload_bytes", "requests", "workers", "neighbors", "connections"):
            check_integer(name, getattr(self, name), least=1)
        check_integer("pixels", self.pixels, least=1, most=MOST_PIXELS)
        for name in ("seconds", "upload_seconds"):
            check_number(name, getattr(self, name), above=0)
