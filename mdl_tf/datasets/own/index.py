"""A folder of image files with an `index.csv` that `csv_file` reads: complete, or not there."""

import csv
from pathlib import Path
from typing import NamedTuple

from mdl_tf.files import temporary_folder
from mdl_tf.words import as_cell

INDEX = "index.csv"


class Example(NamedTuple):
    """An image file to write, and its row.

    Args:
        path: relative to the folder, with `/`.
        content: bytes of the file.
        label: of its class, a string.
        class_name: what to call the class; empty for its label.
        box: left, top, right, bottom in pixels; `None` for the whole image.
    """

    path: str
    content: bytes
    label: str
    class_name: str = ""
    box: tuple | None = None


def write(folder, examples):
    """Write image files and `index.csv` into a folder, all of them or nothing.

    Everything goes to a hidden folder beside it, which is renamed when it is complete, so a kill
    leaves nothing that looks complete. What a kill has left is removed the next time.

    Args:
        folder: new or empty.
        examples: an iterable of `Example`s, used one at a time.

    Returns:
        The `Path` of `index.csv`.

    Raises:
        ValueError: if the folder cannot be written, or holds something.
    """
    folder = Path(folder)
    try:
        with temporary_folder(folder.parent, folder.name) as temporary:
            _write_files(temporary, examples)
            if folder.is_dir():
                folder.rmdir()
            temporary.rename(folder)
    except OSError as error:
        raise ValueError(
            "`folder` must be new or empty, writable, and have room for the images; what was "
            "written is removed again. "
            f"Received: folder={folder}, {error.strerror or error}"
        ) from error
    return folder / INDEX


def _write_files(folder, examples):
    with open(folder / INDEX, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "class_name", "left", "top", "right", "bottom"))
        for example in examples:
            path = folder / example.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(example.content)
            box = example.box or ("",) * 4
            texts = (example.path, example.label, example.class_name)
            rows.writerow((*map(as_cell, texts), *box))
