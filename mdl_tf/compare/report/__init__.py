"""Writes the report of a comparison, finished or not: a page, the same as Markdown, a table."""

from pathlib import Path, PurePath

from mdl_tf.compare.report.csv_table import to_csv
from mdl_tf.compare.report.figures import to_svg
from mdl_tf.compare.report.markdown import to_markdown
from mdl_tf.compare.report.page import to_html
from mdl_tf.compare.report.sections import make_document
from mdl_tf.files import replacing

PICTURES = "pictures"


def write(results, folder):
    """Write a report of all results so far; it replaces an earlier one, each file whole.

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
    document = make_document(results)
    figures = [
        _write(folder / PICTURES / picture.name, to_svg(picture.figure))
        for picture in document.pictures
        if picture.figure is not None
    ]

    def read(name):
        # A name, wherever it comes from, is one in this folder.
        path = folder / PICTURES / PurePath(name).name
        return path.read_bytes() if path.is_file() else None

    texts = {
        "report.html": to_html(document, read),
        "report.md": to_markdown(document),
        "results.csv": to_csv(results),
    }
    written = [_write(folder / name, text.encode("utf-8")) for name, text in texts.items()]
    return [*written, *figures]


def _write(path, content):
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
