"""Columns of images from a CSV file, for filters."""

import csv
import math
from pathlib import Path

_NAMES = ("path", "name")


def read_columns(path):
    """The columns of a CSV file whose column `path` (or `name`) tells the image.

    A column becomes numbers if all its cells that are not empty are; empty cells are none.

    Args:
        path: of the file, UTF-8, its first row the names of columns.

    Returns:
        A dict from column to a dict from path to value, as `Index.add` takes it for a folder.

    Raises:
        ValueError: if it cannot be read, has no such column, or an image twice.
    """
    path = Path(path).expanduser()
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            rows, names = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"`columns` must be a CSV file. Received: {error}") from error
    key = next((name for name in _NAMES if name in names), None)
    if key is None:
        raise ValueError(
            "`columns` must be a CSV file with a column path, the place of an image below its "
            f"folder. Received: {path}, with {', '.join(map(repr, names)) or 'nothing'}"
        )
    images = [row[key] for row in rows]
    twice = {image for image in images if images.count(image) > 1} if _has_twice(images) else ()
    if twice:
        raise ValueError(
            f"`columns` must have each path once. Received: {path}, {sorted(twice)[0]!r} twice"
        )
    return {
        name: dict(zip(images, _typed([row[name] for row in rows]), strict=True))
        for name in names
        if name and name != key
    }


def _has_twice(images):
    return len(set(images)) < len(images)


def _typed(cells):
    cells = [cell.strip() or None for cell in cells]
    for kind in (int, float):
        try:
            numbers = [None if cell is None else kind(cell) for cell in cells]
        except ValueError:
            continue
        # "nan" and "1_000" are no numbers for a person.
        if all(math.isfinite(n) for n in numbers if n is not None) and not any(
            "_" in cell for cell in cells if cell
        ):
            return numbers
    return cells
