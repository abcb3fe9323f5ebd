"""Anybody's own images, listed in a CSV file: path, label, perhaps split and box."""

import csv
import os
import warnings
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from mdl_tf.datasets.own.labelling import SPLITS, collection, find_file
from mdl_tf.words import clean, first_few, from_cell

EDGES = ("left", "top", "right", "bottom")
COLUMNS = ("path", "label", "class_name", "split", "box", *EDGES)
DELIMITERS = (",", ";", "\t")
SHOWN = 20  # line numbers for each kind of mistake


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    class_name: str
    split: str
    box: tuple | None


def read(path):
    """Read which images and labels there are from a CSV file.

    UTF-8, separated by comma, semicolon or tab, with a header; columns in any order:

    - `path`: of an image file, relative to the folder of the CSV file, or absolute.
    - `label`: of its class, any text or number.
    - `class_name` (optional): what to call the class, if not by its label.
    - `split` (optional): train, validation, test, or instead of test: query and gallery. All
      images of a class are on one side. Without it the first half of the classes (in the order of
      their labels, by number if all are integers) is for training, the rest for the test.
    - `left`, `top`, `right`, `bottom` (optional), or all four with blanks between them in `box`:
      the part of the image to look at, in pixels from its upper left corner; empty for the whole.

    An apostrophe before a text that begins like a formula, as our own tables have it, is taken off.
    The image files are not opened here.

    Args:
        path: the CSV file, or a folder with exactly one.

    Returns:
        A `Collection` of paths.

    Raises:
        ValueError: if the file is not as described; rows in which something is wrong are listed by
            their line numbers.
    """
    path = find_file(path, ".csv")
    header, lines = _table(path)
    rows, mistakes = _rows(_columns(path, header), len(header), lines)
    mistakes += _contradictions(rows, path.parent)
    if mistakes or not rows:
        raise ValueError(
            "`data_dir` must be a CSV file with at least one row and no mistakes. "
            f"Received: data_dir={path}, {_listed(mistakes) if mistakes else 'no rows'}"
        )
    boxes = np.asarray([row.box or (np.nan,) * 4 for row in rows], np.float32)
    return collection(
        path.stem,
        [row.label for row in rows],
        class_names={row.label: row.class_name for row in rows},
        splits=[row.split for row in rows] if "split" in header else None,
        paths=tuple(os.path.join(path.parent, row.path) for row in rows),
        boxes=None if np.isnan(boxes).all() else boxes,
    )


def _table(path):
    """The header, and (line number, fields) of each row that is not empty."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(path, file.readline())
            file.seek(0)
            # strict: a quotation mark that is never closed would swallow the rest of the file.
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            header = _names(next(reader))
            rows = ((reader.line_num, fields) for fields in reader if any(fields))
            return header, [(line, [from_cell(field) for field in fields]) for line, fields in rows]
    except UnicodeDecodeError as error:
        raise ValueError(
            "`data_dir` must be a CSV file in UTF-8 (spreadsheets save it as 'CSV UTF-8'). "
            f"Received: data_dir={path}, {error.reason}"
        ) from error
    except csv.Error as error:
        raise ValueError(
            "`data_dir` must be a CSV file, its quotation marks in pairs. "
            f"Received: data_dir={path}, line {reader.line_num}: {error}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"`data_dir` must be readable. Received: data_dir={path}, {error.strerror}"
        ) from error


def _names(fields):
    return [field.strip().lower() for field in fields]


def _delimiter(path, first_line):
    for delimiter in DELIMITERS:
        # The head of the line is enough to tell, and within the limit of a field of `csv`.
        reader = csv.reader([first_line[:10_000]], delimiter=delimiter, skipinitialspace=True)
        if {"path", "label"} <= set(_names(next(reader, []))):
            return delimiter
    raise ValueError(
        "`data_dir` must be a CSV file whose first line names the columns, among them path and "
        "label, separated by comma, semicolon or tab. "
        f"Received: data_dir={path}, first line {clean(first_line, 100)!r}"
    )


def _columns(path, header):
    """Where each known column is."""
    boxes = set(header) & {"box", *EDGES}
    if boxes not in (set(), {"box"}, set(EDGES)):
        raise ValueError(
            "`data_dir` must be a CSV file with all of left, top, right, bottom, or box, or none "
            f"of them. Received: data_dir={path}, columns {', '.join(sorted(boxes))}"
        )
    twice = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if twice:
        raise ValueError(
            "`data_dir` must be a CSV file that names a column once. "
            f"Received: data_dir={path}, twice: {', '.join(twice)}"
        )
    others = [name for name in header if name not in COLUMNS]
    if others:
        warnings.warn(f"Not used of {path}: columns {', '.join(map(repr, others))}", stacklevel=3)
    return {name: header.index(name) for name in COLUMNS if name in header}


def _rows(columns, width, lines):
    """The rows that are right in themselves, and (what is wrong, line number) of the others."""
    rows, mistakes = [], []
    for line, fields in lines:
        if len(fields) != width:
            mistakes.append((f"{len(fields)} fields instead of {width}", line))
            continue
        values = defaultdict(str, {name: fields[i].strip() for name, i in columns.items()})
        wrong = [f"{name} is empty" for name in ("path", "label") if not values[name]]
        split = values["split"].lower()
        if "split" in columns and split not in SPLITS:
            wrong.append(f"split is {split!r}, not one of {', '.join(SPLITS)}")
        try:
            box = _box(values["box"].split() or [values[edge] for edge in EDGES])
        except ValueError:
            wrong.append("not a box of four numbers, left < right and top < bottom")
        mistakes += [(reason, line) for reason in wrong]
        if not wrong:
            name = values["class_name"] or values["label"]
            # A file name may begin or end with a blank, a label never does.
            path = fields[columns["path"]]
            rows.append(_Row(line, path, values["label"], name, split, box))
    return rows, mistakes


def _box(edges):
    if not any(edges):
        return None
    left, top, right, bottom = (float(edge) for edge in edges)
    if not (left < right and top < bottom and np.isfinite([left, top, right, bottom]).all()):
        raise ValueError
    return left, top, right, bottom


def _contradictions(rows, folder):
    """(What is wrong, line number) for rows that do not go with an earlier one."""
    mistakes, first, names, parts = [], {}, {}, {}
    for row in rows:
        place = os.path.normpath(os.path.join(folder, row.path))
        again = parts.get((place, row.box))
        # Several things in one photograph have a box each; the whole of it is one thing.
        whole = parts.get((place, None)) or (first.get(place) if row.box is None else None)
        earlier = again or whole
        if earlier and earlier.label != row.label:
            mistakes.append((f"another label for the path of line {earlier.line}", row.line))
        elif again:
            # Its own copy would be the nearest neighbour, and correct.
            mistakes.append((f"the image of line {again.line} again", row.line))
        first.setdefault(place, row)
        parts.setdefault((place, row.box), row)
        named = names.setdefault(row.label, row)
        if named.class_name != row.class_name:
            mistakes.append((f"another class_name for the label of line {named.line}", row.line))
    return mistakes


def _listed(mistakes):
    lines = defaultdict(list)
    for reason, line in mistakes:
        lines[reason].append(line)
    parts = []
    for reason, numbers in lines.items():
        noun = "line" if len(numbers) == 1 else "lines"
        parts.append(f"{noun} {first_few([str(n) for n in numbers], SHOWN)}: {reason}")
    return "; ".join(parts)
