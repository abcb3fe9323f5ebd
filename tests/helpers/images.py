"""Image files that cannot be used."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def bomb():
    """A PNG of 20,000 x 20,000 pixels in some hundred kilobytes."""
    packer = zlib.compressobj(9)
    row = b"\0" * 2501
    data = b"".join(packer.compress(row * 100) for _ in range(200)) + packer.flush()

    def chunk(kind, content):
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def encoded(kind):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


BROKEN = {
    "truncated.jpg": (lambda: encoded("JPEG")[:-400], "is damaged: image file is truncated"),
    "truncated.png": (lambda: encoded("PNG")[:-400], "is damaged: "),
    "without its end.png": (lambda: encoded("PNG")[:-12], "is damaged: its end is missing"),
    "short of a byte.png": (lambda: encoded("PNG")[:-1], "is damaged: "),
    "spoilt.png": (lambda: encoded("PNG")[:500] + bytes(4) + encoded("PNG")[504:], "is damaged: "),
    "empty.jpg": (lambda: b"", "is empty"),
    "text.jpg": (lambda: b"This is no photograph.\n" * 50, "is no image file"),
    "bomb.png": (bomb, "is too large: Image size (400000000 pixels)"),
}
