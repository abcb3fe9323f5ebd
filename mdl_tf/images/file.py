"""An image file as a person sees it, read by Pillow: what is wrong with it, and its pixels.

TensorFlow reads most JPEG and PNG files right and much faster; the others are marked here as slow.
"""

import hashlib
import io
import os
import re
import stat
import threading
import zlib
from typing import NamedTuple

from mdl_tf.words import clean, is_text

# What a person calls a photograph; `examine` says which of them TensorFlow can read by itself.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_LYING = (5, 6, 7, 8)  # to be turned by a quarter
# Bytes of a file. The largest that Pillow reads, 179 megapixels of 16 bits and three colours, has
# one gigabyte.
_MOST = 1 << 30
# From here on one file at a time is read: each thread may need that much, and more for pixels.
_LARGE = 1 << 26
_one_large = threading.Lock()
# What follows 0xFF where something else than pixels begins in a JPEG, and which of it may come
# after the pixels have begun: tables, remarks, further scans, the end.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SCAN, _END = 0xDA, 0xD9
_BETWEEN_SCANS = {_SCAN, 0xC4, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
# How the message of `read_again` begins, by which it is found in an error of TensorFlow's.
_CHANGED = "Image files must be readable as long as they are used. Received: "


class Examined(NamedTuple):
    """What `examine` finds out."""

    problem: str  # why the file cannot be used; empty if it can
    slow: bool = False  # TensorFlow would show it wrong, or not at all: `read` it
    digest: str = ""  # of its bytes, 32 hexadecimal digits; empty if it cannot be read
    width: int = 0  # in pixels, as people see it; 0 if it cannot be used
    height: int = 0


def digest(data):
    """32 hexadecimal digits that stand for some bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def examine(path):
    """Read a whole file and tell whether it can be used.

    The whole stream of pixels is unpacked, since the header of a truncated file looks good; of a
    JPEG only an eighth of the resolution, which is several times faster.

    Args:
        path: of the file.

    Returns:
        An `Examined`.
    """
    if not is_text(str(path)):
        return Examined("has a name that TensorFlow cannot open: not in UTF-8, or with a NUL")
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size < _LARGE:
                return _examine(file, size)
            with _one_large:
                return _examine(file, size)
    except FileNotFoundError:
        return Examined("is not there")
    except OSError as error:
        return Examined(f"cannot be read: {error.strerror or error}")


def _opened(path):
    """A binary file; nothing else is opened, since reading a pipe waits for somebody who writes.

    Raises:
        OSError: if it is none, or cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise OSError("it is a pipe, a socket or a device, and no file")
    # It may have become a pipe just now.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags), "rb")


def _examine(file, size):
    from PIL import Image, UnidentifiedImageError

    if size > _MOST:
        return Examined(
            f"is too large: {size / 1e9:.1f} GB, and at most {_MOST / 1e9:.1f} are read"
        )
    if size >= _LARGE:
        # Hardly a photograph: its head is looked at before all of it is read.
        try:
            Image.open(file).close()
        except Exception as error:
            return Examined(f"is no image file: {error}")
        file = _opened(file.name)
    with file:
        data = file.read()
    content_digest = digest(data)
    if not data:
        return Examined("is empty", digest=content_digest)
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if image.format == "PNG":
                _check_chunks(data)
            is_jpeg = image.format in ("JPEG", "MPO")
            is_cut = is_jpeg and not _has_end(data)
            # Most have none, and looking for it takes as long as for the rest of the header.
            may_turn = not is_jpeg or "exif" in image.info or "xmp" in image.info
            orientation = image.getexif().get(_ORIENTATION, 1) if may_turn else 1
            slow = _header_is_odd(image, orientation)
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
            slow = slow or is_cut or _is_transparent(image)
            if slow:  # some kinds open, but have no way to RGB
                as_seen(image)
            size = (height, width) if orientation in _LYING else (width, height)
            return Examined("", slow, content_digest, *size)
    except UnidentifiedImageError:
        return Examined("is no image file", digest=content_digest)
    except Image.DecompressionBombError as error:
        # Pillow reads up to 179 megapixels; the largest cameras have 150.
        return Examined(f"is too large: {error}", digest=content_digest)
    except Exception as error:
        # Each format has errors of its own for what is damaged: OSError, SyntaxError, struct.error.
        return Examined(f"is damaged: {error}", digest=content_digest)


def _check_chunks(data):
    """Refuse a PNG with a wrong checksum or without an end, which Pillow reads and TensorFlow not.

    Raises:
        ValueError: if there is one.
    """
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError("a checksum is wrong")
        if data[place + 4 : place + 8] == b"IEND":
            return
        place = end + 4
    raise ValueError("its end is missing")


def _has_end(data):
    """Whether a JPEG has an end, without which TensorFlow does not read it.

    Raises:
        ValueError: if something that is not pixels is in the middle of them: Pillow fills the rest
            with grey, and TensorFlow refuses it.
    """
    # Of the usual one, which has a single scan, this is all there is to see.
    marker = _MARKER.search(data, data.rfind(bytes([0xFF, _SCAN])) + 2)
    if marker and marker[1][0] == _END:
        return True
    place, begun, code = 2, False, None
    while marker := _MARKER.search(data, place):
        # Before the pixels a marker stands where the last segment ends.
        if not begun and data[place : marker.start()].strip(b"\xff"):
            return False
        code, place = marker[1][0], marker.end()
        if code == _END:
            return True
        if begun and code not in _BETWEEN_SCANS:
            break
        begun = begun or code == _SCAN
        place += int.from_bytes(data[place : place + 2], "big")
    if begun and code != _SCAN:
        raise ValueError(f"marker 0x{code:02X} in the middle of its pixels")
    return False


def _header_is_odd(image, orientation):
    # MPO is a JPEG with further pictures behind it, as some telephones write it.
    if image.format not in ("JPEG", "MPO", "PNG"):
        return True
    # Grey of 16 bits: modes I;16 or I. CMYK has several ways to be stored.
    return orientation not in (0, 1) or image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


def _has_transparency(image):
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _is_transparent(image):
    if not _has_transparency(image):
        return False
    return image.convert("RGBA").getchannel("A").getextrema()[0] < 255


def read(path):
    """The pixels of any file that Pillow reads, as a person sees them.

    Turned as EXIF says, 16 bits scaled to 8, what is transparent on white, the first picture of
    several.

    Args:
        path: of the file, or its content, bytes.

    Returns:
        uint8 RGB, shape `(h, w, 3)`.

    Raises:
        OSError: if it is not there or no image, or no file but a pipe or a device.
    """
    from PIL import Image

    file = io.BytesIO(path) if isinstance(path, bytes) else _opened(path)
    with file, Image.open(file) as image:
        return as_seen(image)


def read_again(path):
    """`read` of a file that has been examined, or that TensorFlow refuses.

    Args:
        path: of the file.

    Returns:
        As `read`.

    Raises:
        ValueError: if it cannot be read, with its path and the reason.
    """
    try:
        return read(path)
    except Exception as error:
        reason = examine(path).problem or f"cannot be read: {error}"
        raise ValueError(f"{_CHANGED}{clean(str(path))}, which {reason}") from error


def find_message(text):
    """The message of `read_again` in that of an error of TensorFlow's; `None` if it is not there.

    Args:
        text: of several lines.
    """
    begin = text.find(_CHANGED)
    return None if begin < 0 else text[begin:].splitlines()[0]


def as_seen(image):
    """The pixels of an image that Pillow has opened, as `read` gives them.

    Args:
        image: a `PIL.Image.Image`.

    Returns:
        uint8 RGB, shape `(h, w, 3)`.
    """
    import numpy as np
    from PIL import Image, ImageOps

    # Of an upright photograph this would be a copy, and so would be making it RGB again.
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # Pillow would cut off at 255 instead of scaling.
        grey = np.asarray(image).astype(np.int64)
        grey = grey // 257 if grey.max() > 255 else grey
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        numbers = np.nan_to_num(np.asarray(image))
        numbers = numbers * 255 if numbers.max() <= 1 else numbers
        image = Image.fromarray(numbers.clip(0, 255).astype(np.uint8))
    if _has_transparency(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def thumbnail(path, side=160, box=None):
    """A small copy of an image, to be looked at.

    Args:
        path: of the file.
        side: pixels of the longer side, at most. Defaults to `160`.
        box: left, top, right, bottom in pixels of the part to show; NaN for the whole. Defaults to
            `None`, the whole.

    Returns:
        uint8 RGB, shape `(h, w, 3)`.
    """
    from PIL import Image

    with _opened(path) as file, Image.open(file) as image:
        if box is None:
            # Of a large JPEG no more than an eighth of the resolution need be unpacked.
            image.draft(None, (2 * side, 2 * side))
        return shrink(as_seen(image), side, box)


def shrink(pixels, side=160, box=None):
    """A small copy of an image in memory, to be looked at.

    Args:
        pixels: uint8, shape `(h, w)` or `(h, w, 3)`.
        side: pixels of the longer side, at most. Defaults to `160`.
        box: as in `thumbnail`. Defaults to `None`, the whole.

    Returns:
        uint8, shape `(h, w)` or `(h, w, 3)` as it came.
    """
    import numpy as np
    from PIL import Image

    image = Image.fromarray(pixels)
    if box is not None and not np.isnan(box).any():
        left, top, right, bottom = (round(float(edge)) for edge in box)
        left, top = max(0, min(left, image.width - 1)), max(0, min(top, image.height - 1))
        right = max(left + 1, min(right, image.width))
        bottom = max(top + 1, min(bottom, image.height))
        image = image.crop((left, top, right, bottom))
    image.thumbnail((side, side))
    return np.asarray(image)
