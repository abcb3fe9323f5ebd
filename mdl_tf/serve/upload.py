"""What a client sends: read into memory piece by piece, never to disk, and never too much of it."""

import asyncio
import contextlib
import email.parser
import email.policy
import io
from typing import NamedTuple

from mdl_tf.images import file as image_file
from mdl_tf.serve.refusal import Refusal
from mdl_tf.words import clean

# By content. Pillow knows more, some of which start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
# What a form has beside its picture.
_FORM = 2**16
# Of an upload that is too large: bytes and seconds that are read nevertheless.
_FORGOTTEN, _FORGET = 2**28, 3
# A JPEG of some bytes may ask for thousands of passes over all of its pixels. Cameras and programs
# make 1 to 20.
_SCANS = 200
_NAMED = {
    b"ftypheic": "HEIC",
    b"ftypheix": "HEIC",
    b"ftypmif1": "HEIC",
    b"ftypavif": "AVIF",
    b"%PDF": "PDF",
    b"<svg": "SVG",
}


class Form(NamedTuple):
    """What a form holds."""

    fields: dict  # texts, by name
    files: dict  # bytes, by name


async def read_body(request, limits):
    """The body of a request.

    Args:
        request: of Starlette.
        limits: a `Limits`.

    Returns:
        Bytes.

    Raises:
        Refusal: if it is too large, whatever `Content-Length` says, or takes too long to arrive.
    """
    most = limits.upload_bytes + _FORM
    told = request.headers.get("content-length", "")
    size = int(told[:18]) if told.isdecimal() else 0
    body, pieces = bytearray(), request.stream()
    try:
        async with asyncio.timeout(limits.upload_seconds):
            if size <= most:
                async for piece in pieces:
                    body += piece
                    if len(body) > most:
                        break
                else:
                    return bytes(body)
    except TimeoutError:
        raise Refusal(
            408,
            f"The picture did not arrive within {limits.upload_seconds:g} s. Try a smaller one.",
            # What comes later is not waited for.
            {"Connection": "close"},
        ) from None
    body.clear()
    if "expect" not in request.headers:
        await _let_finish(pieces)
    raise _too_large(size, limits)


async def _let_finish(pieces):
    """Read and forget some more: a browser shows no answer before it has sent everything."""
    left = _FORGOTTEN
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FORGET):
            async for piece in pieces:
                left -= len(piece)
                if left < 0:
                    return


def _too_large(size, limits):
    told = f" of {size / 2**20:.1f} MB" if size > limits.upload_bytes else ""
    return Refusal(
        413,
        f"The picture{told} is too large: {limits.upload_bytes / 2**20:.3g} MB are taken.",
        {"Connection": "close"},
    )


def read_form(content_type, body):
    """The fields and files of a form, `multipart/form-data`.

    Args:
        content_type: the header.
        body: bytes.

    Returns:
        A `Form`.

    Raises:
        Refusal: if it is none.
    """
    head = email.parser.HeaderParser(policy=email.policy.HTTP)
    boundary = head.parsestr(f"Content-Type: {content_type}\r\n\r\n").get_boundary()
    fields, files = {}, {}
    try:
        delimiter = b"\r\n--" + boundary.encode()
        # What is before the first one, and after the last, is nothing.
        _, *parts, end = (b"\r\n" + body).split(delimiter)
        if not end.startswith(b"--"):
            raise ValueError("its end is missing")
        for part in parts:
            header, content = part.split(b"\r\n\r\n", 1)
            disposition = head.parsestr(header.decode().strip())["content-disposition"].params
            if disposition.get("filename"):
                files[disposition["name"]] = content
            elif "filename" in disposition:
                continue  # no file was chosen
            else:
                fields[disposition["name"]] = content.decode()
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Refusal(400, "The form cannot be read.") from error
    return Form(fields, files)


def open_picture(data, limits):
    """The pixels of a picture that somebody sent.

    Args:
        data: bytes.
        limits: a `Limits`.

    Returns:
        uint8 RGB, shape `(h, w, 3)`, as a person sees it; of several pictures the first.

    Raises:
        Refusal: if it is empty, too large, of no kind that is read, or damaged.
    """
    from PIL import Image

    if not data:
        raise Refusal(400, "The picture is empty.")
    if len(data) > limits.upload_bytes:
        raise _too_large(len(data), limits)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refusal(413, f"The picture is too large: {_most_pixels(limits)}.") from None
    except Exception as error:
        raise Refusal(415, _describe(data)) from error
    with image:
        width, height = image.size
        if width * height > limits.pixels:
            raise Refusal(
                413,
                f"The picture of {width:,} x {height:,} pixels is too large: "
                f"{_most_pixels(limits)}.",
            )
        if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _SCANS:
            raise Refusal(415, "The picture is damaged: it is a JPEG of too many scans.")
        try:
            return image_file.as_seen(image)
        except Exception as error:
            # Each format has errors of its own for what is damaged.
            raise Refusal(415, f"The picture is damaged: {clean(str(error), 200)}") from error


def _most_pixels(limits):
    return f"{limits.pixels / 1e6:.3g} million pixels are taken"


def _describe(data):
    kinds = "JPEG, PNG, WebP, GIF, BMP and TIFF are read"
    for begin, kind in _NAMED.items():
        if begin in data[:512]:
            return f"A picture of the kind {kind} cannot be read: {kinds}."
    return f"This is no picture that can be read: {kinds}."
