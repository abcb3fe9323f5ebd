"""Which files of a data set cannot be used, found before training and not in the middle of it."""

import dataclasses
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mdl_tf.checks import ON_CORRUPT
from mdl_tf.datasets.cache import data_folder, store_arrays, stored_arrays
from mdl_tf.datasets.image_set import Collection, ImageSet, Problem
from mdl_tf.images import file as image_file
from mdl_tf.words import clean

_CORES = os.cpu_count() or 1
# Reading waits for the disk, unpacking for the processor.
_THREADS = 2 * _CORES
# From so many files on processes pay: threads take turns, since Pillow holds Python's lock for most
# of the time that a small file takes, and a process needs a second to begin.
_MANY = 10_000
# A larger file needs memory, so not every process may have one.
_SMALL = 1 << 24
# Files of one task at most, of threads and of processes: of small files the task itself would take
# a third of the time.
_FILES, _FILES_SENT = 16, 256
# Raise when `image_file.examine` changes its mind about files.
_VERSION = 2
_FIELDS = image_file.Examined._fields
# What tells that a file has been replaced. Size and time of change may be equal, as after `cp -p`;
# what the file system itself notes, its number and when it last changed, nobody can set.
_STAMP = {"size": "st_size", "time": "st_mtime_ns", "changed": "st_ctime_ns", "number": "st_ino"}
SHOWN = 1000  # lines of a message


class CorruptImagesError(ValueError):
    """There are files that cannot be used; the message lists them.

    Args:
        problems: `Problem`s.
        total: images that there are.
    """

    def __init__(self, problems, total):
        self.problems = tuple(problems)
        shown = [f"  {clean(path)}: {clean(reason)}" for path, reason in self.problems[:SHOWN]]
        more = len(self.problems) - SHOWN
        lines = "\n".join([*shown, f"  and {more:,} more"] if more > 0 else shown)
        super().__init__(
            f"{len(self.problems):,} of {total:,} images or folders cannot be used. Mend them, or "
            f"leave them out with `on_corrupt` 'skip' (--on-corrupt skip, but not in the middle of "
            f"a run):\n{lines}"
        )


def check(collection, on_corrupt="error", progress=None, *, singles=False):
    """Look into every file of a data set.

    The files are read whole, in parallel; the result is kept for files that stay as they are (path,
    size, times and number in the file system), in `checks` in `$MDL_TF_HOME` or
    `~/.cache/mdl_tf`. A class with one image counts as a problem too: nothing can be learned or
    found there.

    Args:
        collection: a `Collection`.
        on_corrupt: `"error"`, or `"skip"` to leave out what cannot be used. Defaults to `"error"`.
        progress: a function of (files done, files). Defaults to `None`.
        singles: whether classes of one image are all right, as where nothing is to be learned.
            Defaults to `False`.

    Returns:
        A `Collection` of images that can be used, with `digests` and `slow` for files; its
        `problems` are what was left out.

    Raises:
        CorruptImagesError: with `"error"`, if there is anything that cannot be used.
        ValueError: if `on_corrupt` is not one of the above, or nothing is left.
    """
    if on_corrupt not in ON_CORRUPT:
        raise ValueError(
            f"`on_corrupt` must be one of {ON_CORRUPT}. Received: on_corrupt={on_corrupt!r}"
        )
    images, problems = collection.images, list(collection.problems)
    usable = np.ones(len(images), bool)
    if images.paths is not None:
        examined = examine_all(images.paths, progress)
        images = dataclasses.replace(
            images,
            slow=np.array([one.slow for one in examined]),
            digests=np.array([one.digest for one in examined], "S32"),
        )
        reasons = [one.problem or _box_outside(images, i, one) for i, one in enumerate(examined)]
        usable = np.array([not reason for reason in reasons])
        problems += [
            Problem(path, reason)
            for path, reason in zip(images.paths, reasons, strict=True)
            if reason
        ]
    left = np.bincount(images.labels[usable], minlength=images.num_classes)
    lone = usable & (left[images.labels] == 1) & (not singles)
    for i in np.flatnonzero(lone).tolist():
        usable[i] = False
        name = images.class_names[images.labels[i]]
        path = f"image {i}" if images.paths is None else images.paths[i]
        problems.append(Problem(path, f"is the only image that can be used of class {name!r}"))
    if not problems:
        return dataclasses.replace(collection, images=images)
    if on_corrupt == "error":
        raise CorruptImagesError(problems, len(images) + len(collection.problems))
    if not usable.any():
        raise ValueError(
            f"`data_dir` must hold images that can be used. Received: {images.name}, "
            f"{len(images):,} images, the first of which {problems[0].reason}"
        )
    kept = np.unique(images.labels[usable])
    sides = tuple(collection.sides[c] for c in kept)
    return Collection(images.take(usable), sides, tuple(problems), collection.by_names)


def check_files(paths, name="paths"):
    """Look into single image files.

    Args:
        paths: of files, or one path.
        name: of the argument, for messages. Defaults to `"paths"`.

    Returns:
        An `ImageSet` of one class, `name`, in the order of `paths`.

    Raises:
        ValueError: if there are none, or one cannot be used.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else paths
    paths = tuple(str(Path(path).expanduser()) for path in paths)
    if not paths:
        raise ValueError(f"`{name}` must be at least one image file. Received: none")
    images = ImageSet(name, np.zeros(len(paths), np.int64), (name,), paths=paths)
    try:
        return check(Collection(images, ("test",)), singles=True).images
    except CorruptImagesError as error:
        listed = "; ".join(f"{clean(path)} {reason}" for path, reason in error.problems)
        raise ValueError(
            f"`{name}` must be image files that can be used. Received: {listed}"
        ) from error


def _box_outside(images, i, examined):
    """What is wrong with the box of image `i`; empty if nothing is."""
    if images.boxes is None or np.isnan(images.boxes[i]).any():
        return ""
    left, top, right, bottom = images.boxes[i].tolist()
    if left < examined.width and top < examined.height and right > 0 and bottom > 0:
        return ""
    return (
        f"has a box outside of its {examined.width} x {examined.height} pixels: "
        f"{left:g}, {top:g}, {right:g}, {bottom:g}"
    )


def examine_all(paths, progress=None):
    """`image_file.examine` of many files, in parallel, remembered while they do not change.

    Args:
        paths: of files.
        progress: a function of (files done, files). Defaults to `None`.

    Returns:
        A list of `image_file.Examined`, in the order of `paths`.
    """
    # One photograph may be there several times, with several boxes.
    full = [os.path.abspath(path) for path in paths]
    stamps = {path: _stamp(path) for path in full}
    store = data_folder() / "checks" / f"{_name(full)}.npz"
    known = _remembered(store)
    examined_files = {
        path: known[path][1] for path in stamps if known.get(path, (None,))[0] == stamps[path]
    }
    new = [path for path in stamps if path not in examined_files]
    sent = [path for path in new if stamps[path][0] < _SMALL]
    sent = sent if len(sent) >= _MANY and _CORES > 1 else []
    here = [path for path in new if stamps[path][0] >= _SMALL] if sent else new
    done = 0
    try:
        for some, examined in itertools.chain(_in_processes(sent), _in_threads(here)):
            examined_files.update(zip(some, examined, strict=True))
            done += len(some)
            if progress:
                progress(done, len(new))
    finally:
        # After an interruption, too: what is done is kept.
        if new:
            _remember(
                store,
                {**known, **{path: (stamps[path], one) for path, one in examined_files.items()}},
            )
    return [examined_files[path] for path in full]


def _in_threads(paths):
    """Paths and what is found out about them, a few at a time."""
    tasks = _tasks(paths, _FILES, _THREADS)
    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield from zip(tasks, pool.map(_examine_some, tasks), strict=True)
    finally:
        # What is not begun is left.
        pool.shutdown(cancel_futures=True)


def _in_processes(paths):
    """As `_in_threads`."""
    if not paths:
        return
    # Unlike the standard library's, these processes do not run the user's program once more.
    from joblib import Parallel, delayed, parallel_config

    tasks = _tasks(paths, _FILES_SENT, _CORES)
    # They go when they are not needed: the training wants the memory.
    with parallel_config("loky", n_jobs=_CORES, idle_worker_timeout=1):
        parallel = Parallel(batch_size=1)
    with parallel:
        # Not all at once, so that little is in vain after an interruption.
        for i in range(0, len(tasks), 4 * _CORES):
            some = tasks[i : i + 4 * _CORES]
            yield from zip(some, parallel(map(delayed(_examine_some), some)), strict=True)


def _tasks(paths, most, workers):
    size = max(1, min(most, len(paths) // (8 * workers)))
    return [paths[i : i + size] for i in range(0, len(paths), size)]


def _examine_some(paths):
    return [image_file.examine(path) for path in paths]


def _stamp(path):
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return (-1,) * len(_STAMP)
    # The number of a file may be as large as a uint64.
    return tuple(getattr(status, name) % 2**63 for name in _STAMP.values())


def _name(paths):
    # Not of the paths themselves: a new file must not make all others unknown.
    folders = sorted({os.path.dirname(path) for path in paths})
    try:
        folder = os.path.commonpath(folders)
    except ValueError:  # over two drives of Windows, which have nothing in common
        folder = "\n".join(folders)
    return image_file.digest(f"{_VERSION} {folder}".encode(errors="surrogateescape"))


def _remembered(store):
    """A dict from path to (its stamp, `image_file.Examined`)."""
    arrays = stored_arrays(store)
    if arrays is None:
        return {}
    columns = [arrays[key].tolist() for key in ("path", *_STAMP, *_FIELDS)]
    return {
        path: (tuple(row[: len(_STAMP)]), image_file.Examined(*row[len(_STAMP) :]))
        for path, *row in zip(*columns, strict=True)
    }


def _remember(store, known):
    # A file that was not there, or could not be read, may be there the next time.
    kept = {path: row for path, row in known.items() if row[1].digest}
    if not kept:
        return
    stamps, examined = zip(*kept.values(), strict=True)
    columns = dict(zip(_FIELDS, map(np.array, zip(*examined, strict=True)), strict=True))
    columns |= dict(zip(_STAMP, np.array(stamps, np.int64).T, strict=True))
    store_arrays(store, {"path": np.array(list(kept)), **columns})
