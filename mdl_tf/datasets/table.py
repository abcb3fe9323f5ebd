"""The data sets by name: a data set is a file and one row here. Loads nothing heavy."""

import pkgutil
from typing import NamedTuple

TFDS_PREFIX = "tfds:"  # any other name that begins so is a builder of tensorflow-datasets


class DataSet(NamedTuple):
    """What is known of a data set without reading it.

    `reader` names a function `(data_dir, progress) -> Collection`; for a user's own data, which
    have no default place, `(data_dir) -> Collection`.
    """

    what: str
    reader: str  # "module:function"
    data_dir: str = ""  # what `data_dir` must be, for a user's own data
    classes: str = ""  # "training / test", as text; of the papers' sets the archives say it
    images: str = ""
    where: str = ""  # how to come by it

    @property
    def is_own(self):
        """Whether it is a form of a user's own data."""
        return bool(self.data_dir)

    def read(self, data_dir, progress=None):
        """The whole data set, a `Collection`; not yet looked into."""
        reader = pkgutil.resolve_name(self.reader)
        return reader(data_dir) if self.is_own else reader(data_dir, progress)


_PAPERS = "mdl_tf.datasets.papers.official"
_OWN = "mdl_tf.datasets.own"
DATASETS = {
    "cars196": DataSet("CARS196 (Stanford Cars)", f"{_PAPERS}:read_cars196"),
    "csv": DataSet(
        "columns path, label, and if you like split, box",
        f"{_OWN}.csv_file:read",
        data_dir="the CSV file",
        where="--data-dir FILE.csv",
    ),
    "cub200": DataSet("CUB-200-2011", f"{_PAPERS}:read_cub200"),
    "digits": DataSet(
        "scikit-learn's handwritten digits, 8 x 8",
        "mdl_tf.datasets.digits:read",
        classes="5 / 5",
        images="1,797",
        where="installed",
    ),
    "folder": DataSet(
        "one subfolder of images per class",
        f"{_OWN}.folder:read",
        data_dir="the folder of images",
        where="--data-dir FOLDER",
    ),
    "glyphs": DataSet(
        "characters in 12 to 16 typefaces, 32 x 32",
        "mdl_tf.datasets.glyphs:read",
        classes="1,000 / 1,059",
        images="27,754",
        where="drawn at first use",
    ),
    "inshop": DataSet("In-shop Clothes Retrieval (DeepFashion)", f"{_PAPERS}:read_inshop"),
    "npz": DataSet(
        "images or features, and labels",
        f"{_OWN}.npz_file:read",
        data_dir="the .npz file",
        where="--data-dir FILE.npz",
    ),
    "sop": DataSet("Stanford Online Products", f"{_PAPERS}:read_sop"),
}
TFDS = DataSet(
    "a builder of tensorflow-datasets", f"{_OWN}.tfds:read", where="such as tfds:oxford_flowers102"
)
