"""What data sets there are, and how far each is: the table of `mdl-tf datasets`."""

from typing import NamedTuple

from mdl_tf.datasets.cache import data_folder
from mdl_tf.datasets.papers import official
from mdl_tf.datasets.papers.sources import OFFICIAL
from mdl_tf.datasets.table import DATASETS, TFDS, TFDS_PREFIX


class Row(NamedTuple):
    """A data set in the table; counts are texts, training / test."""

    name: str
    what: str
    classes: str
    images: str
    state: str  # "ready", "archive" (extracted at first use), "missing" or "yours"
    where: str  # or what is missing


def rows(data_dir=None):
    """The data sets of the table; quick, nothing is opened or counted.

    Args:
        data_dir: where to look for the data sets of the papers. Defaults to `$MDL_TF_HOME` or
            `~/.cache/mdl_tf`.

    Returns:
        A list of `Row`s.
    """
    drawn, papers, own = [], [], []
    for name, data_set in DATASETS.items():
        if name in OFFICIAL:
            papers.append(_paper_row(name, data_dir))
        elif data_set.is_own:
            own.append(Row(name, data_set.what, "", "", "yours", data_set.where))
        else:
            counts = data_set.classes, data_set.images
            drawn.append(Row(name, data_set.what, *counts, "ready", data_set.where))
    own.append(Row(f"{TFDS_PREFIX}NAME", TFDS.what, "", "", "yours", TFDS.where))
    return [*drawn, *papers, *own]


def _paper_row(name, data_dir):
    state = official.state(name, data_dir)
    where = state.text
    if state.kind == "missing":
        where = f"{where} (looked in {data_folder(data_dir)} and {name} there)"
    counts = _counts(OFFICIAL[name].counts)
    return Row(name, DATASETS[name].what, *counts, state.kind, where)


def _counts(counts):
    classes = f"{counts['training classes']:,} / {counts['test classes']:,}"
    test = [f"{count:,}" for what, count in counts.items() if what.endswith(" images")]
    return classes, " / ".join([test[0], " + ".join(test[1:])])
