"""Writes the report of a comparison, finished or not: a page, the same as Markdown, a table."""

from pathlib import Path, PurePath

from mdl_tf.compare.report.csv_table import csv_table
from mdl_tf.compare.report.figures import svg
from mdl_tf.compare.report.markdown import markdown
from mdl_tf.compare.report.page import page
from mdl_tf.compare.report.sections import document
from mdl_tf.files import replacing

PICTURES = "pictures"


def write(results, folder):
    """Write what is known so far; an earlier report is replaced, each file whole.

    Args:
        results: a `Results`.
        folder: of the comparison; pictures of neighbours are in its folder `pictures`.

    Returns:
        A list of paths: `report.html`, which needs no other file, `report.md`, `results.csv`, and
        the figures that both show.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder = Path(folder)
    found = document(results)
    paths = []
    for picture in found.pictures:
        if picture.figure is not None:
            paths.append(_write(folder / PICTURES / picture.name, svg(picture.figure)))

    def read(name):
        # A name, wherever it comes from, is one in this folder.
        path = folder / PICTURES / PurePath(name).name
        return path.read_bytes() if path.is_file() else None

    texts = {
        "report.html": page(found, read),
        "report.md": markdown(found),
        "results.csv": csv_table(results),
    }
    written = [_write(folder / name, text.encode("utf-8")) for name, text in texts.items()]
    return [*written, *paths]


def _write(path, content):
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
