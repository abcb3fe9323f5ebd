"""Fetch a file of a data set: going on where it stopped, checked before it is called complete."""

import contextlib
import errno
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from mdl_tf import __version__
from mdl_tf.files import locked, replacing
from mdl_tf.reading import read_json
from mdl_tf.words import clean

TIMEOUT = 30  # seconds without a byte
PAUSES = (1, 3, 9)  # seconds before another try; one source is given up after as many without gain
GAIN = 1 << 20  # bytes; a try that brings so many more does not count as without gain

_CHUNK = 1 << 18  # bytes
_HEAD = 4096  # bytes, enough to tell a web page, and for its title
_BUSY = (408, 429, 500, 502, 503, 504)  # HTTP codes that another try may change
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class File(NamedTuple):
    """A file that can be fetched, and how to recognise it.

    name: what it is called in its folder. urls: its sources, `http` or `https`, tried in this
    order; none if a program cannot fetch it. size: in bytes. sha256, md5: hexadecimal; the first
    one given is checked. `None` where it is not known.
    """

    name: str
    urls: tuple = ()
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


class _Dropped(Exception):
    """Another try at the same source may help."""


class _NoFile(Exception):
    """The source does not have the file."""


def fetch(file, folder, progress=None):
    """Fetch a file into a folder, unless it is there already.

    What has come is kept in `NAME.part`, also after a dropped connection or Ctrl-C, and the next
    try goes on from there if the server can. It goes on only where a checksum, or else the server
    (by ETag or date), can tell that both parts are of one file. Complete and checked, the file gets
    its name.

    Args:
        file: a `File`.
        folder: where to put it; created if it is missing.
        progress: a function of (done, total) in bytes, called on the way; if nobody knows the
            total, once in the end. Defaults to `None`.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the file has no source, or none gives it: what each answered, and where to
            put the file by hand; if a file of this name is there and is another; if the folder
            cannot be written to or the disk is full.
    """
    folder = Path(folder)
    path, part = folder / file.name, folder / f"{file.name}.part"
    try:
        if path.is_file():
            return _recognised(file, path)
        if not file.urls:
            raise ValueError(
                f"`file` has no source that a program can fetch: fetch {_described(file)} by hand "
                f"and put it into {folder}. Received: file={file.name}, urls=()"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(file, part):
            # It may have come by another process in the meantime.
            return _recognised(file, path) if path.is_file() else _from_any(file, path, progress)
    except OSError as error:
        rule = "be a folder that can be written to"
        if error.errno in _DISK_FULL:
            rule = f"be on a disk with free space; what has come of {file.name} is kept"
        raise ValueError(f"`folder` must {rule}. Received: folder={folder}, {error}") from error


def difference(file, path):
    """How a file differs from what it should be, by size, then by checksum.

    Args:
        file: a `File`.
        path: of the file to look at.

    Returns:
        A phrase with what was expected and received; `None` if nothing differs. Where neither size
        nor checksum is known only a web page is told from the file.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as content:
        head = content.read(_HEAD)
    if _is_web_page(head):
        return _web_page(head)
    if file.size is None and not size:
        return "an empty file"
    if file.size is not None and size != file.size:
        return f"{size:,} bytes, expected {file.size:,}"
    for kind, expected in (("sha256", file.sha256), ("md5", file.md5)):
        if expected:
            received = _digest(kind, path)
            same = received == expected.lower()
            return None if same else f"{kind} {received}, expected {expected}"
    return None


def checksum_matches(file, path):
    """True if the file at `path` is `file`, as far as its size and checksum are known."""
    return difference(file, path) is None


def _digest(kind, path):
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _described(file):
    known = [f"{file.size:,} bytes"] if file.size is not None else []
    known += [f"{kind} {getattr(file, kind)}" for kind in ("sha256", "md5") if getattr(file, kind)]
    return f"{file.name} ({', '.join(known)})" if known else file.name


def _recognised(file, path):
    wrong = difference(file, path)
    if wrong:
        raise ValueError(
            f"`folder` must not hold another {file.name}: delete or move it, then try again. "
            f"Received: {path}, {wrong}"
        )
    return path


@contextlib.contextmanager
def _alone(file, part):
    """Two processes that write to one part file would spoil it."""
    in_use = ValueError(
        f"`folder` must not be in use: another process fetches {file.name}; wait for "
        f"it. Received: folder={part.parent}"
    )
    with locked(part, in_use):
        try:
            yield
        finally:
            if not _size(part):
                part.unlink(missing_ok=True)
                _origin(part).unlink(missing_ok=True)


def _from_any(file, path, progress):
    """Try the sources one after the other."""
    part = path.with_name(f"{path.name}.part")
    answers = []
    for url in file.urls:
        try:
            _from_one(file, url, part, progress)
        except _NoFile as error:
            answers.append(f"{url}: {error}")
            continue
        wrong = difference(file, part)
        if wrong is None:
            os.replace(part, path)
            return path
        answers.append(f"{url}: {wrong}")
        _empty(part)
    kept = f" What has come, {_size(part):,} bytes, is kept in {part}." if _size(part) else ""
    raise ValueError(
        f"`file` came from none of its sources. Try again later, or fetch {_described(file)} by "
        f"hand and put it into {path.parent}.{kept} Received: {'; '.join(answers)}"
    )


def _from_one(file, url, part, progress):
    """Complete the part file from one source, with another try after each dropped connection."""
    if not url.startswith(("http://", "https://")):
        raise _NoFile("neither http nor https")
    most, failures = _size(part), 0
    while True:
        try:
            return _attempt(file, url, part, progress)
        except _Dropped as error:
            reached = _size(part)
            failures = 1 if reached >= most + GAIN else failures + 1
            most = max(most, reached)
            if failures > len(PAUSES):
                raise _NoFile(str(error)) from error
            time.sleep(PAUSES[failures - 1])


def _attempt(file, url, part, progress):
    done, validator = _resumable(file, url, part)
    if done and done == file.size:
        return
    headers = {"User-Agent": f"mdl_tf/{__version__}"}
    if done:
        headers["Range"] = f"bytes={done}-"
    if validator:
        headers["If-Range"] = validator
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and done:
                return _beyond_the_end(file, part, error.headers)
            kind = _Dropped if error.code in _BUSY else _NoFile
            raise kind(f"HTTP {error.code} {clean(str(error.reason), 100)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(_reason(error)) from error
    with response:
        _save(file, url, response, part, done, progress)


def _beyond_the_end(file, part, headers):
    """The server has nothing after our part: it is complete, or else none of its file."""
    total = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    complete = total and int(total[1]) == _size(part)
    if not complete and not ((file.sha256 or file.md5) and checksum_matches(file, part)):
        _empty(part)
        raise _Dropped("HTTP 416, its file is shorter than what had come")


def _save(file, url, response, part, done, progress):
    done, total = _extent(response, part, done)
    head = b""
    while len(head) < _HEAD and (chunk := _read(response)):
        head += chunk
    # Before the first byte is written: what had come is worth more than a web page.
    if response.headers.get_content_type() == "text/html" or (not done and _is_web_page(head)):
        raise _NoFile(_web_page(head))
    if file.size is not None and total is not None and total != file.size:
        raise _NoFile(f"a file of {total:,} bytes, expected {file.size:,}")
    total = file.size if total is None else total
    if not done:
        _empty(part)  # first: a kill must not leave old bytes under the name of a new origin
        _remember(file, url, response.headers, part)
    with open(part, "ab") as out:
        chunk = head
        while chunk and (file.size is None or done <= file.size):
            out.write(chunk)
            done += len(chunk)
            if progress and total:
                progress(done, total)
            chunk = _read(response)
    if total is not None and done < total:
        raise _Dropped(f"the connection ended after {done:,} of {total:,} bytes")
    if progress and done and not total:
        progress(done, done)


def _extent(response, part, done):
    """From which byte on the answer is, and how many bytes the file has (`None`: not said)."""
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != done:
        _empty(part)
        raise _Dropped("another range than the one asked for")
    return done, None if match[2] == "*" else int(match[2])


def _read(response):
    try:
        return response.read1(_CHUNK)  # not read(), which loses what came before the drop
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(_reason(error)) from error


def _reason(error):
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT} s"
    return clean(str(reason), 200) or type(reason).__name__


def _is_web_page(head):
    return re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head)\b", head, re.IGNORECASE)


def _web_page(head):
    title = re.search(rb"<title[^>]*>\s*(.*?)\s*</title", head, re.IGNORECASE | re.DOTALL)
    title = f" titled {clean(title[1].decode('utf-8', 'replace'), 100)!r}" if title else ""
    return f"a web page{title} instead of the file, perhaps a virus warning or a login"


def _resumable(file, url, part):
    """How many bytes of the part file can stay, and what the server has to confirm for that."""
    size = _size(part)
    if not size or file.sha256 or file.md5:
        return size, None
    try:
        origin = read_json(_origin(part))
    except (OSError, ValueError):
        return 0, None
    return (size, origin["validator"]) if origin["url"] == url else (0, None)


def _remember(file, url, headers, part):
    """Note from which version of which file the part is, if no checksum will tell."""
    etag = headers.get("ETag")
    # A weak ETag (W/"...") does not promise equal bytes.
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    if file.sha256 or file.md5 or not validator:
        _origin(part).unlink(missing_ok=True)
        return
    with replacing(_origin(part)) as temporary:
        temporary.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _origin(part):
    return part.with_name(f"{part.name}.json")


def _size(part):
    return part.stat().st_size if part.exists() else 0


def _empty(part):
    part.write_bytes(b"")
