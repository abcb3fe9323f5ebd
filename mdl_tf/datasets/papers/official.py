"""The data sets of the papers, found, extracted, counted and fetched.

Each has a module of its own name that knows its files: `FOLDERS`, the usual names of its root, and
`LAYOUTS`, the forms in which it circulates.
"""

import dataclasses
import functools
import os
from pathlib import Path
from typing import NamedTuple

from mdl_tf.datasets.cache import data_folder
from mdl_tf.datasets.papers import cars196, cub200, inshop, sop, stand_ins
from mdl_tf.datasets.papers.archive import extract
from mdl_tf.datasets.papers.fetch import difference, fetch
from mdl_tf.datasets.papers.layouts import Layout
from mdl_tf.datasets.papers.sources import OFFICIAL, check_counts
from mdl_tf.datasets.table import DATASETS

_READERS = {"cars196": cars196, "cub200": cub200, "inshop": inshop, "sop": sop}


class State(NamedTuple):
    """How far a data set is, `"ready"`, `"archive"` or `"missing"`, and a text that says more."""

    kind: str
    text: str


class _Candidate(NamedTuple):
    root: Path
    layout: Layout
    missing: tuple
    archives: tuple  # for each missing part, None where there is none


def read(name, data_dir=None, progress=None):
    """A data set of the papers, from its folders or its original archives.

    Archives are extracted where they are.

    Args:
        name: a key of `OFFICIAL`.
        data_dir: the root of the data set, or the folder that holds the root or the archives, or
            the folder that holds a folder `name` with them. Defaults to `$MDL_TF_HOME` or
            `~/.cache/mdl_tf`.
        progress: a function of (bytes done, bytes), called while an archive is extracted. Defaults
            to `None`.

    Returns:
        A `Collection` with paths; nobody has looked whether the images are there. That of a
        generated stand-in (`mdl_tf.datasets.stand_ins`) says so in its name.

    Raises:
        ValueError: if the name is unknown, the data set is not there, its files do not match each
            other, or there are not as many classes and images as there should be.
    """
    candidate = _extracted(name, data_dir, progress)
    counts = stand_ins.counts(name, candidate.root, OFFICIAL[name].counts)
    collection = candidate.layout.read(candidate.root)
    check_counts(name, collection, candidate.root, stand_in=counts)
    if counts is None:
        return collection
    images = dataclasses.replace(collection.images, name=f"{name} stand-in")
    return dataclasses.replace(collection, images=images)


def download(name, data_dir=None, progress=None):
    """Fetch the files of a data set into the folder `name` in `data_dir`, and extract them.

    What is there already is not fetched again.

    Args:
        name: a key of `OFFICIAL`.
        data_dir: as in `read`.
        progress: a function of (bytes done, bytes), for each file and archive anew. Defaults to
            `None`.

    Returns:
        The root of the data set, a `Path`.

    Raises:
        ValueError: if the name is unknown, no source of a file is known or works (the message says
            what to fetch and where to put it), or a checksum is wrong.
    """
    candidate = _search(name, data_dir)
    if None in candidate.archives:
        files = OFFICIAL[name].files
        if not all(file.urls for file in files):
            raise ValueError(_how_to_get(name, data_dir, candidate))
        for file in files:
            fetch(file, data_folder(data_dir) / name, progress)
    return _extracted(name, data_dir, progress).root


def state(name, data_dir=None):
    """Whether a data set is there. Quick: looks for names, opens nothing, counts nothing.

    Args:
        name: a key of `OFFICIAL`.
        data_dir: as in `read`.

    Returns:
        A `State`: `"ready"` and the root, `"archive"` and the archives to be extracted at first
        use, or `"missing"` and what is.

    Raises:
        ValueError: if the name is unknown.
    """
    candidate = _search(name, data_dir)
    if not candidate.missing:
        return State("ready", str(candidate.root))
    if None not in candidate.archives:
        archives = ", ".join(str(path) for path in dict.fromkeys(candidate.archives))
        return State("archive", f"{archives}, extracted at first use")
    if _is_begun(candidate):
        return State("missing", f"{_missing_parts(candidate)} in {candidate.root}")
    return State("missing", ", ".join(file.name for file in OFFICIAL[name].files))


def _reader(name):
    if name not in OFFICIAL:
        raise ValueError(f"`name` must be one of {sorted(OFFICIAL)}. Received: name={name!r}")
    return _READERS[name]


def _places(name, data_dir):
    folder = data_folder(data_dir)
    return folder, folder / name


def _search(name, data_dir):
    """What is most complete of all layouts in all folders where a root may be."""
    reader = _reader(name)
    candidates = []
    for subfolder in ("", *reader.FOLDERS):
        for place in _places(name, data_dir):
            root = place / subfolder
            for layout in reader.LAYOUTS:
                missing = tuple(part for part in layout.parts if not part.find(root))
                archives = tuple(part.find_archive(root) for part in missing)
                candidates.append(_Candidate(root, layout, missing, archives))

    def lacks(one):
        absent = one.archives.count(None)
        return absent > 0, bool(one.missing), absent and absent - len(one.layout.parts)

    return min(candidates, key=lacks)


def _extracted(name, data_dir, progress):
    candidate = _search(name, data_dir)
    if None in candidate.archives:
        raise ValueError(_how_to_get(name, data_dir, candidate))
    if not candidate.missing:
        return candidate
    archives = list(dict.fromkeys(candidate.archives))
    for archive in archives:
        extract(archive, archive.parent, progress)
    candidate = _search(name, data_dir)
    if candidate.missing:
        raise ValueError(
            f"`data_dir` must hold the original archives of {name}. Received: "
            f"{', '.join(map(str, archives))}, without "
            f"{', '.join(part.paths[0] for part in candidate.missing)}"
        )
    for file in OFFICIAL[name].contents:
        path = candidate.root / file.name
        wrong = path.exists() and difference(file, path)
        if wrong:
            raise ValueError(
                f"`data_dir` must hold the original archives of {name}. Received: {path}, {wrong}; "
                f"delete what came from {', '.join(map(str, archives))}, and fetch it again"
            )
    return candidate


def _is_begun(candidate):
    return candidate.archives.count(None) < len(candidate.layout.parts)


def _missing_parts(candidate):
    """Parts that are neither there nor in an archive, in words."""
    words = []
    for part, archive in zip(candidate.missing, candidate.archives, strict=True):
        if archive is None:
            sources = f" (in {' or '.join(part.archives)})" if part.archives else ""
            words.append(part.paths[0] + sources + (f" ({part.remark})" if part.remark else ""))
    return ", ".join(words)


def _how_to_get(name, data_dir, candidate):
    """The text that says where a data set was looked for, what to fetch and where to put it."""
    row = OFFICIAL[name]
    folder, target = _places(name, data_dir)
    readable = os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)
    lines = [
        f"`data_dir` must hold {name} ({DATASETS[name].what}), extracted or as its original "
        "archives. "
        f"Received: data_dir={data_dir}",
        f"Looked in {folder}{'' if readable else ' (not a readable folder)'}, in {target}, "
        f"and there in {' and '.join(_reader(name).FOLDERS)}.",
    ]
    if _is_begun(candidate):
        lines.append(f"A part is in {candidate.root}. Missing there: {_missing_parts(candidate)}.")
        target = candidate.root
    lines += ["Fetch:", *map(_described, row.files)]
    if row.others:
        lines += ["or instead:", *map(_described, row.others)]
    lines += [row.by_hand] if row.by_hand else []
    lines.append(f"More about it: {row.page} ({row.terms}). Put the files into {target}")
    if all(file.urls for file in row.files):
        lines[-1] += f", or run `mdl-tf datasets download {name}`"
    return "\n".join(lines)


def _described(file):
    size = f", {file.size:,} bytes" if file.size else ""
    md5 = f", md5 {file.md5}" if file.md5 else ""
    return f"  {file.name}{size}{md5}" + (f", from {' or '.join(file.urls)}" if file.urls else "")


def _for_table(name):
    """A function (data_dir, progress) for the table of data sets."""
    return functools.partial(read, name)


read_cars196 = _for_table("cars196")
read_cub200 = _for_table("cub200")
read_inshop = _for_table("inshop")
read_sop = _for_table("sop")
