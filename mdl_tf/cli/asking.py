"""What the commands that ask an index share: how they open it, filters, thresholds, tables."""

import csv
import os

from mdl_tf.checks import check_number
from mdl_tf.cli.common import absolute
from mdl_tf.config import ConfigError
from mdl_tf.files import replacing
from mdl_tf.words import as_cell, clean, shorten


def add_filter(parser):
    """Add the flag for a filter."""
    parser.add_argument(
        "--where",
        metavar="JSON",
        help='a filter, such as \'{"label": ["bird", "bat"], "price": {"<": 10}}\'',
    )


def read_filter(args):
    """The filter that was given, or `None`.

    Raises:
        ConfigError: if it is no JSON.
    """
    from mdl_tf.reading import parse_json

    if args.where is None:
        return None
    try:
        return parse_json(args.where)
    except ValueError as error:
        raise ConfigError(f"`where` must be JSON. Received: {args.where!r}, {error}") from error


def read_number(args, name, **bounds):
    """A number that was given as text, or `None`.

    Args:
        args: what the parser found.
        name: of the argument.
        **bounds: as for `check_number`.

    Raises:
        ConfigError: if it is none, or out of bounds.
    """
    text = getattr(args, name)
    if text is None:
        return None
    try:
        return float(check_number(name, float(text), **bounds))
    except ValueError:
        rule = ", ".join(f"{what} {value}" for what, value in bounds.items())
        rule = rule.replace("least", "at least")
        raise ConfigError(
            f"`{name}` must be a number, {rule}. Received: {name}={shorten(text, 40)!r}"
        ) from None


def read_count(args, name, least=1):
    """A count that was given as text, or `None`.

    Args:
        args: what the parser found.
        name: of the argument.
        least: the smallest value. Defaults to `1`.

    Raises:
        ConfigError: if it is none.
    """
    text = getattr(args, name)
    if text is None:
        return None
    if not (text.isdecimal() and len(text) < 19 and int(text) >= least):
        raise ConfigError(
            f"`{name}` must be an integer, at least {least}. Received: {name}={shorten(text, 40)!r}"
        )
    return int(text)


def check_output(name, path, *suffixes):
    """Refuse a file that cannot be written, before long work.

    Args:
        name: of the argument.
        path: of the file, or `None`.
        *suffixes: of which it must have one.

    Raises:
        ConfigError: for another suffix, a folder, or a folder that cannot be written.
    """
    if path is None:
        return
    if os.path.splitext(path)[1].lower() not in suffixes:
        raise ConfigError(f"`{name}` must end in {' or '.join(suffixes)}. Received: {name}={path}")
    check_place(name, path)


def check_place(name, path):
    """Refuse a file that cannot be written, whatever its suffix.

    Args:
        name: of the argument.
        path: of the file.

    Raises:
        ConfigError: for a folder, or a folder that cannot be written.
    """
    place = absolute(path)
    if os.path.isdir(place):
        raise ConfigError(f"`{name}` must be a file. Received: {name}={path}, a folder")
    place = os.path.dirname(place)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place) or not os.access(place, os.W_OK):
        raise ConfigError(f"`{name}` must be in a folder that can be written. Received: {place}")


def write_text(path, text):
    """Write a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path, head, rows):
    """Write a table whose cells no spreadsheet reads as formulas.

    Args:
        path: of the file.
        head: names of the columns.
        rows: lists of cells.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(
            [as_cell(clean(c)) if isinstance(c, str) else c for c in row] for row in rows
        )


def print_table(head, rows, left=()):
    """Print rows of texts in columns.

    Args:
        head: names of the columns.
        rows: lists of texts.
        left: indices of the columns that are set to the left. Defaults to none.
    """
    rows = [list(head), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if i in left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
