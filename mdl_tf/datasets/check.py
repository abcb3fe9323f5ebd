"""Which files of a data set cannot be used, found before training and not in the middle of it."""

import dataclasses
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mdl_tf import image_file
from mdl_tf.datasets.cache import data_folder, store_arrays, stored_arrays
from mdl_tf.datasets.image_set import Collection, Problem

ON_CORRUPT = ("error", "skip")
# Reading waits for the disk, unpacking for the processor.
_THREADS = 2 * (os.cpu_count() or 1)
# Raise when `image_file.examine` changes its mind about files.
_VERSION = 1


class CorruptImagesError(ValueError):
    """There are files that cannot be used; the message lists them.

    Args:
        problems: `Problem`s.
        total: images that there are.
    """

    def __init__(self, problems, total):
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem.path}: {problem.reason}" for problem in self.problems)
        super().__init__(
            f"{len(self.problems):,} of {total:,} images or folders cannot be used. Mend them, or "
            f"leave them out with `on_corrupt` 'skip' (--on-corrupt skip):\n{lines}"
        )


def check(collection, on_corrupt="error", progress=None, *, singles=False):
    """Look into every file of a data set.

    The files are read whole, in parallel; the result is kept for files that stay as they are (path,
    size and time of change), in `checks` in `$MDL_TF_HOME` or `~/.cache/mdl_tf`. A class with one
    image counts as a problem too: nothing can be learned or found there.

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
        found = examine_all(images.paths, progress)
        images = dataclasses.replace(
            images,
            slow=np.array([one.slow for one in found]),
            digests=np.array([one.digest for one in found], "S32"),
        )
        usable = np.array([not one.problem for one in found])
        problems += [
            Problem(images.paths[i], found[i].problem) for i in np.flatnonzero(~usable).tolist()
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
    return Collection(images.take(usable), sides, tuple(problems))


def examine_all(paths, progress=None):
    """`image_file.examine` of many files, in parallel, remembered while they do not change.

    Args:
        paths: of files.
        progress: a function of (files done, files). Defaults to `None`.

    Returns:
        A list of `image_file.Examined`, in the order of `paths`.
    """
    store = data_folder() / "checks" / f"{_name(paths)}.npz"
    known = _remembered(store)
    stamps = [_stamp(path) for path in paths]
    found = [known.get((path, *stamp)) for path, stamp in zip(paths, stamps, strict=True)]
    new = [i for i, one in enumerate(found) if one is None]
    pool = ThreadPoolExecutor(_THREADS)
    try:
        examined = pool.map(image_file.examine, [paths[i] for i in new])
        for done, (i, one) in enumerate(zip(new, examined, strict=True), 1):
            found[i] = one
            if progress:
                progress(done, len(new))
    finally:
        # After an interruption, too: what is not begun is left, what is done is kept.
        pool.shutdown(cancel_futures=True)
        if new:
            _remember(store, paths, stamps, found)
    return found


def _stamp(path):
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _name(paths):
    folders = "\n".join(sorted({os.path.dirname(os.path.abspath(path)) for path in paths}))
    return hashlib.blake2b(f"{_VERSION} {folders}".encode(), digest_size=16).hexdigest()


def _remembered(store):
    arrays = stored_arrays(store)
    if arrays is None:
        return {}
    rows = zip(
        *(arrays[key].tolist() for key in ("path", "size", "time", "problem", "slow", "digest")),
        strict=True,
    )
    return {
        (path, size, time): image_file.Examined(problem, slow, digest)
        for path, size, time, problem, slow, digest in rows
    }


def _remember(store, paths, stamps, found):
    # A file that was not there, or could not be read, may be there the next time.
    kept = [i for i, one in enumerate(found) if one and one.digest]
    if kept:
        store_arrays(
            store,
            {
                "path": np.array([paths[i] for i in kept]),
                "size": np.array([stamps[i][0] for i in kept], np.int64),
                "time": np.array([stamps[i][1] for i in kept], np.int64),
                "problem": np.array([found[i].problem for i in kept]),
                "slow": np.array([found[i].slow for i in kept]),
                "digest": np.array([found[i].digest for i in kept]),
            },
        )
