"""Images decoded and resized once: kept in memory, or on disk, a file each, named by its content.

A file is written whole or not at all, so that a kill costs one image. Its name stands for what the
image file holds, its box and the size: a changed image or setting finds another name, and nothing
stale is ever read; a moved or renamed image finds the same.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from mdl_tf import checks
from mdl_tf.files import data_folder, free_room, remove_leftovers, replacing
from mdl_tf.images import file as image_file

# Raise when decoding or resizing changes, so that nothing stale is read.
_VERSION, _VERSION_OF_JPEG = 1, 2
# Bytes before the pixels: height and width, and nothing, so that the pixels begin where TensorFlow
# can take them without a copy.
_HEAD = 64
_SHOWN = 64  # images from one call of `progress` to the next


def cached(image_set, view, decode, cache, folder=None, progress=None):
    """Decode all images of a set, or find them decoded.

    Args:
        image_set: an `ImageSet`.
        view: an `images.View`, of which canvas and aspect count.
        decode: a function of indices `(n,)` to an iterator over n arrays `(h, w, 3)` uint8.
        cache: `"ram"` or `"disk"`.
        folder: of the files. Defaults to `None`: `decoded` in the folder of data sets.
        progress: a function of (images done, images). Defaults to `None`.

    Returns:
        A function from an index, an int64 tensor, to an image, uint8 `(h, w, 3)`, for `tf.data`.

    Raises:
        ValueError: if memory or disk is too small for them, the folder cannot be written, or a file
            has been replaced since it was examined.
    """
    # Photographs are wider than high; what is kept covers the canvas.
    each = 3 * view.canvas[0] * view.canvas[1] * (1.4 if view.keep_aspect else 1.0)
    if cache == "ram":
        _check_memory(len(image_set), len(image_set) * each)
        read = _in_memory(len(image_set), decode, progress)
    else:
        folder = Path(folder).expanduser() if folder else data_folder() / "decoded"
        paths = list(_paths(image_set, view, folder))

        def check(i):
            if image_set.paths is not None:
                check_unchanged(image_set, view, [i], [paths[i].name])

        read = _on_disk(paths, decode, check, folder, each, progress)
    shape = (None, None, 3) if view.keep_aspect else (*view.canvas, 3)
    return lambda i: tf.ensure_shape(_unpacked(read(i)), shape)


def _packed(image):
    return np.array(image.shape[:2], "<i4").tobytes().ljust(_HEAD, b"\0") + image.tobytes()


def _unpacked(content):
    content = tf.io.decode_raw(content, tf.uint8)
    shape = tf.bitcast(tf.reshape(content[:8], (2, 4)), tf.int32)
    return tf.reshape(content[_HEAD:], (shape[0], shape[1], 3))


def _in_memory(count, decode, progress):
    # A variable, since tf.data would make a copy of a constant; and not NumPy's, which is read
    # under Python's lock at half the speed.
    with tf.device("CPU"):
        kept = tf.Variable(tf.fill([count], b""), trainable=False)
        part = []
        for done, image in enumerate(decode(np.arange(count)), 1):
            part.append(_packed(image))
            if len(part) == _SHOWN or done == count:
                indices = tf.range(done - len(part), done)
                kept.scatter_update(tf.IndexedSlices(tf.constant(part), indices))
                part = []
                if progress:
                    progress(done, count)
    return lambda i: tf.gather(kept, i)


def _on_disk(paths, decode, check, folder, each, progress):
    missing = np.array([i for i, path in enumerate(paths) if not _is_whole(path)], np.int64)
    _remove_leftovers(folder)
    _check_room(folder, len(missing) * each)
    before = len(paths) - len(missing)
    try:
        images = decode(missing) if len(missing) else ()
        for done, (i, image) in enumerate(zip(missing, images, strict=True), 1):
            # Kept under a wrong name it would be taken for the old one for ever.
            check(i)
            with replacing(paths[i], tidy=False) as temporary:
                temporary.write_bytes(_packed(image))
            if progress and (done % _SHOWN == 0 or done == len(missing)):
                progress(before + done, len(paths))
    except OSError as error:
        raise ValueError(
            "`cache_dir` must be a folder that can be written, with room: "
            f"{len(missing) * each / 1e9:.3g} GB for {len(missing):,} images. What is decoded is "
            f"kept, and the next time goes on from there. Received: {error}"
        ) from error
    if progress and not len(missing):
        progress(len(paths), len(paths))
    names = tf.constant([str(path) for path in paths])
    return lambda i: tf.io.read_file(names[i])


def _paths(image_set, view, folder):
    for name in digests(image_set, view):
        yield folder / name[:2] / name


def check_unchanged(image_set, view, indices, known):
    """Refuse files that no longer hold what they held when they were examined.

    Args:
        image_set: an `ImageSet` of paths.
        view: as in `digests`.
        indices: of the images.
        known: what `digests` told of each.

    Raises:
        ValueError: if there is one.
    """
    images = dataclasses.replace(image_set, digests=None).take(indices)
    for path, now, before in zip(images.paths, digests(images, view), known, strict=True):
        if now != before:
            raise ValueError(
                "Image files must stay as they are while they are used; begin again, and what is "
                f"there now is taken. Received: {path}, which has been replaced"
            )


def digests(image_set, view):
    """What tells the decoded and resized images of a set apart: content, box and size.

    Args:
        image_set: an `ImageSet` of images.
        view: an `images.View`, of which canvas and aspect count.

    Yields:
        A text for each image.
    """
    for i, content in enumerate(_digests(image_set)):
        is_jpeg = image_set.paths is not None and not image_set.paths[i].lower().endswith(".png")
        version = _VERSION_OF_JPEG if is_jpeg else _VERSION
        settings = f"{version} {view.canvas} {view.keep_aspect}"
        slow = image_set.slow is not None and image_set.slow[i]
        box = b"" if image_set.boxes is None else np.asarray(image_set.boxes[i], "<f4").tobytes()
        yield image_file.digest(f"{settings} {content} {slow}".encode() + box)


def _digests(image_set):
    if image_set.paths is None:
        return (image_file.digest(np.ascontiguousarray(image)) for image in image_set.images)
    if image_set.digests is None:
        return (image_file.digest(Path(path).read_bytes()) for path in image_set.paths)
    return (str(digest, "ascii") for digest in image_set.digests.tolist())


def _is_whole(path):
    try:
        with open(path, "rb") as file:
            height, width = np.frombuffer(file.read(8), "<i4")
            return os.fstat(file.fileno()).st_size == _HEAD + 3 * int(height) * int(width)
    except (OSError, ValueError):
        return False


def _remove_leftovers(folder):
    for part in folder.glob("??"):
        remove_leftovers(part)


def _check_room(folder, needed):
    free = free_room(folder)
    if needed > free:
        raise ValueError(
            f"`cache` 'disk' must fit on the disk: {needed / 1e9:.1f} GB are still to be written. "
            f"Received: {free / 1e9:.1f} GB free in {folder}"
        )


def _check_memory(count, needed):
    if needed > checks.memory_limit():
        there = f"{checks.memory_limit() / 1e9:.1f} GB"
        raise ValueError(
            f"`cache` 'ram' must fit into memory: {count:,} images take about "
            f"{needed / 1e9:.1f} GB. Received: a machine with {there}; "
            "'disk' has no such limit"
        )
