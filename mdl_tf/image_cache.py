"""Images decoded and resized once: kept in memory, or on disk, in chunks named by their content.

A chunk on disk is written whole or not at all, so that a kill costs one chunk. Its name stands for
what the files hold, their boxes and the size: a changed file or setting finds another name, and
nothing stale is ever read; a moved or renamed file finds the same.
"""

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path

import numpy as np

from mdl_tf import image_file
from mdl_tf.files import data_folder, replacing

CACHES = ("none", "ram", "disk")
CHUNK = 256  # images; at 256 x 256 some 50 MB
# Raise when decoding or resizing changes, so that no stale chunk is read.
_VERSION = 1


class CachedImages:
    """Decoded images by their number; made by `cached`."""

    def __init__(self, chunks):
        self._chunks = chunks

    def read(self, i):
        """Image `i`, uint8 `(h, w, 3)`."""
        chunk, place = divmod(int(i), CHUNK)
        starts, shapes, pixels = self._chunks[chunk]
        height, width = shapes[place]
        return pixels[starts[place] : starts[place + 1]].reshape(height, width, 3)


def cached(image_set, view, decoded, cache, folder, progress=None):
    """Decode all images of a set, or find them decoded.

    Args:
        image_set: an `ImageSet`.
        view: an `images.View`, of which canvas and aspect count.
        decoded: a function of indices `(n,)` to an iterator over n arrays `(h, w, 3)` uint8.
        cache: `"ram"` or `"disk"`.
        folder: of the chunks on disk, or `None`: `images` in the folder of data sets.
        progress: a function of (images done, images). Defaults to `None`.

    Returns:
        A `CachedImages`.

    Raises:
        ValueError: if memory or disk is too small for them.
    """
    count = len(image_set)
    blocks = [np.arange(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    # Photographs are wider than high; what is kept covers the canvas.
    expected = count * 3 * view.canvas[0] * view.canvas[1] * (1.4 if view.keep_aspect else 1.0)
    paths = None
    if cache == "disk":
        names = _names(image_set, view, blocks)
        folder = Path(folder) if folder else data_folder() / "images"
        paths = [folder / name[:2] / f"{name}.images" for name in names]
        missing = sum(not path.is_file() for path in paths)
        _remove_leftovers(folder)
        _check_room(folder, expected * missing / max(1, len(paths)))
    elif expected > _memory():
        raise ValueError(
            f"`cache` 'ram' must fit into memory: {count:,} images take about "
            f"{expected / 1e9:.1f} GB. Received: a machine with {_memory() / 1e9:.1f} GB; "
            "'disk' has no such limit"
        )
    chunks, done = [], 0
    for number, block in enumerate(blocks):
        chunk = _opened(paths[number], len(block)) if paths else None
        if chunk is None:
            chunk = _packed(decoded(block))
            if paths:
                _write(paths[number], chunk)
                chunk = _opened(paths[number], len(block))
        chunks.append(chunk)
        done += len(block)
        if progress:
            progress(done, count)
    return CachedImages(chunks)


def _names(image_set, view, blocks):
    digests = image_set.digests
    if digests is None and image_set.paths is None:
        digests = [image_file.digest(np.ascontiguousarray(image)) for image in image_set.images]
    elif digests is None:
        digests = [image_file.digest(Path(path).read_bytes()) for path in image_set.paths]
    for block in blocks:
        name = hashlib.blake2b(f"{_VERSION} {view.canvas} {view.keep_aspect}".encode())
        for i in block:
            name.update(str(digests[i]).encode())
            if image_set.boxes is not None:
                name.update(np.asarray(image_set.boxes[i], "<f4").tobytes())
            if image_set.slow is not None and image_set.slow[i]:
                name.update(b"slow")
        yield name.hexdigest()[:40]


def _packed(images):
    """Images of any sizes as (starts `(n + 1,)`, shapes `(n, 2)`, pixels, one after the other)."""
    images = list(images)
    shapes = np.array([image.shape[:2] for image in images], np.int64)
    return _starts(shapes), shapes, np.concatenate([image.reshape(-1) for image in images])


def _starts(shapes):
    return np.concatenate([[0], np.cumsum(3 * shapes.prod(axis=1))])


def _write(path, chunk):
    """First the shapes, 16 bytes each, then the pixels."""
    _, shapes, pixels = chunk
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(shapes.astype("<i8").tobytes())
        pixels.tofile(file)


def _opened(path, count):
    """The chunk in a file, not read but mapped; `None` if it is not there or not whole."""
    head = 16 * count
    try:
        if path.stat().st_size < head:
            return None
        shapes = np.fromfile(path, "<i8", 2 * count).reshape(count, 2)
        starts = _starts(shapes)
        if path.stat().st_size != head + starts[-1]:
            return None
        return starts, shapes, np.memmap(path, np.uint8, "r", offset=head)
    except FileNotFoundError:
        return None


def _remove_leftovers(folder):
    """What a kill left half-written; whatever is younger may be another process's work."""
    for path in folder.glob("??/.unfinished-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


def _check_room(folder, needed):
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ValueError(
            f"`cache` 'disk' must fit on the disk: {needed / 1e9:.1f} GB are still to be written. "
            f"Received: {free / 1e9:.1f} GB free in {folder}"
        )


def _memory():
    """Bytes of memory that the machine has; without limit where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")
