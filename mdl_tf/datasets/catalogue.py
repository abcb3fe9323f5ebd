"""What data sets there are, and how far each is: the table of `mdl-tf datasets`."""

from typing import NamedTuple

from mdl_tf.datasets.cache import data_folder
from mdl_tf.datasets.papers import official
from mdl_tf.datasets.papers.sources import OFFICIAL


class Row(NamedTuple):
    """A data set in the table; counts are texts, training / test."""

    name: str
    what: str
    classes: str
    images: str
    state: str  # "ready", "archive" (extracted at first use), "missing" or "yours"
    where: str  # or what is missing


_DRAWN = (
    Row(
        "glyphs",
        "characters in 12 to 16 typefaces, 32 x 32",
        "1,000 / 1,059",
        "27,754",
        "ready",
        "drawn at first use",
    ),
    Row(
        "digits", "scikit-learn's handwritten digits, 8 x 8", "5 / 5", "1,797", "ready", "installed"
    ),
)
_YOURS = (
    Row("folder", "one subfolder of images per class", "", "", "yours", "--data-dir FOLDER"),
    Row(
        "csv",
        "columns path, label, and if you like split, box",
        "",
        "",
        "yours",
        "--data-dir FILE.csv",
    ),
    Row("npz", "images or features, and labels", "", "", "yours", "--data-dir FILE.npz"),
    Row(
        "tfds:NAME",
        "a builder of tensorflow-datasets",
        "",
        "",
        "yours",
        "such as tfds:oxford_flowers102",
    ),
)


def rows(data_dir=None):
    """The data sets of the table; quick, nothing is opened or counted.

    Args:
        data_dir: where to look for the data sets of the papers. Defaults to `$MDL_TF_HOME` or
            `~/.cache/mdl_tf`.

    Returns:
        A list of `Row`s.
    """
    found = []
    for name, source in OFFICIAL.items():
        state = official.state(name, data_dir)
        where = state.text
        if state.kind == "missing":
            where = f"{where} (looked in {data_folder(data_dir)} and {name} there)"
        found.append(Row(name, source.title, *_counts(source.counts), state.kind, where))
    return [*_DRAWN, *found, *_YOURS]


def _counts(counts):
    classes = f"{counts['training classes']:,} / {counts['test classes']:,}"
    test = [f"{count:,}" for what, count in counts.items() if what.endswith(" images")]
    return classes, " / ".join([test[0], " + ".join(test[1:])])
