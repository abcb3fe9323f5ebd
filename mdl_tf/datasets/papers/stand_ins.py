"""Generated stand-ins of data sets of the papers, to try every step without the real images.

A stand-in has the files, names and numbers of the original, a few classes on each side of the
border between training and test, and `stand_in.json`, by which `official.read` knows it.
"""

import contextlib
import hashlib
import json
import os

from mdl_tf.datasets.cache import data_folder
from mdl_tf.datasets.papers import stand_in_files
from mdl_tf.files import STAND_IN, temporary_folder
from mdl_tf.reading import read_json

_ABOUT = (
    "Generated pictures in place of a data set, to try every step of a run. Figures measured on "
    "them mean nothing."
)


def write(name, data_dir=None):
    """A stand-in of a data set of the papers, in the folder `stand_ins` of the data folder.

    Written whole or not at all, in a second; found again as long as the pictures are the same.

    Args:
        name: `"cub200"`, `"cars196"` or `"sop"`.
        data_dir: the data folder. Defaults to `$MDL_TF_HOME` or `~/.cache/mdl_tf`.

    Returns:
        The root of the stand-in, a `Path`, which is a `data_dir` for `official.read`.

    Raises:
        ValueError: if there is no stand-in of that name, or the folder cannot be written.
    """
    if name not in stand_in_files.TREES:
        raise ValueError(
            f"`name` must be one of {sorted(stand_in_files.TREES)}, of which there are stand-ins. "
            f"Received: name={name!r}"
        )
    contents = _contents(name)
    root = data_folder(data_dir).absolute() / "stand_ins" / f"{name}-{_digest(contents)}"
    if not (root / STAND_IN).is_file():
        try:
            _write_whole(root, contents)
        except OSError as error:
            raise ValueError(
                f"{'`data_dir`' if data_dir else '`MDL_TF_HOME`'} must be a folder that can be "
                f"written. Received: {error}"
            ) from error
    return root


def counts(name, root, keys):
    """The counts that a stand-in says it has; `None` for anything that is no stand-in.

    Args:
        name: of the data set that is read.
        root: of the data set, where alone `stand_in.json` counts.
        keys: what must be counted.

    Returns:
        A dict from `keys` to integers, or `None`.

    Raises:
        ValueError: if there is a `stand_in.json` that is not one of this data set.
    """
    path = root / STAND_IN
    if not os.path.lexists(path):
        return None
    counts_kept = None
    with contextlib.suppress(OSError, ValueError):
        marker = read_json(path)
        if isinstance(marker, dict) and marker.get("stand_in_for") == name:
            counts_kept = marker.get("counts")
    if not (
        isinstance(counts_kept, dict)
        and set(counts_kept) == set(keys)
        and all(type(count) is int for count in counts_kept.values())
    ):
        raise ValueError(
            f"`data_dir` must hold {name}, or a stand-in of it as `mdl-tf train --smoke` writes "
            f"it. Received: {path}, which is not that of a stand-in of {name}"
        )
    return counts_kept


def _contents(name):
    """The files of a stand-in: a dict from relative path to bytes, the marker last."""
    files, counts_of_tree = stand_in_files.TREES[name]()
    marker = {"stand_in_for": name, "about": _ABOUT, "counts": counts_of_tree}
    return {**files, STAND_IN: (json.dumps(marker, indent=2) + "\n").encode()}


def _digest(contents):
    digest = hashlib.sha256()
    for path, data in contents.items():
        digest.update(path.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()[:12]


def _write_whole(root, contents):
    """Write files into a new folder and give it its name when it is complete."""
    with temporary_folder(root.parent, root.name) as temporary:
        for name, data in contents.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            temporary.rename(root)
        except OSError:
            # Another process was first, with the same files.
            if not (root / STAND_IN).is_file():
                raise
