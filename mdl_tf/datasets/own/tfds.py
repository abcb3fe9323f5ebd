"""Any builder of tensorflow-datasets with images and labels, exported once to plain files."""

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

from mdl_tf.datasets.cache import data_folder
from mdl_tf.datasets.image_set import first_for_training
from mdl_tf.datasets.own import csv_file, index, tfds_builder
from mdl_tf.datasets.papers.sources import OFFICIAL, check_counts

# Which of our data sets these are: split as in the papers, and better read from the original files.
PAPERS = {
    "caltech_birds2011": "cub200",
    "cars196": "cars196",
    "stanford_online_products": "sop",
}
_NAME = re.compile(
    r"(?P<builder>\w+)(/(?P<config>[^:@]+))?(:(?P<version>\d+\.\d+\.\d+))?(@(?P<label>.+))?"
)


class _Request(NamedTuple):
    builder: str
    config: str | None
    version: str | None
    label: str | None

    @property
    def prefix(self):
        """The name of the folder of the export, without its version."""
        name = "-".join(filter(None, (self.builder, self.config)))
        return (f"{name}@{self.label}" if self.label else name).replace("/", "-")

    @property
    def for_tfds(self):
        """As `tensorflow_datasets.builder` has it: `NAME/CONFIG:VERSION`."""
        name = "/".join(filter(None, (self.builder, self.config)))
        return f"{name}:{self.version}" if self.version else name


def read(name, data_dir=None, progress=None):
    """Read a data set of tensorflow-datasets, all its splits merged.

    The first call exports the image files, as they are stored, with their labels and boxes to
    `tfds-export/NAME-VERSION` in the folder of data sets; later calls read them there, without
    TensorFlow. Without a version that is the newest that has been exported.

    The class splits of the papers are kept for `caltech_birds2011`, `cars196` and
    `stanford_online_products`, and their images counted; of every other builder the first half of
    the classes is for training and the rest for the test.

    Args:
        name: `NAME[/CONFIG][:VERSION][@LABEL]`, such as `"oxford_flowers102"` or
            `"caltech_birds2011:0.2.0"`; LABEL is the feature to take for the class, where there
            are several.
        data_dir: the folder of data sets; the data of tensorflow-datasets are looked for there and
            then in its own folder (`$TFDS_DATA_DIR` or `~/tensorflow_datasets`). Defaults to
            `None`: `$MDL_TF_HOME` or `~/.cache/mdl_tf` for the export, and tensorflow-datasets'
            own folder.
        progress: a function of (done, total) in images, called during the export. Defaults to
            `None`.

    Returns:
        A `Collection` of paths.

    Raises:
        ValueError: if the builder is unknown, cannot be prepared, has not one image and one class
            label, or does not hold as many images as in the papers.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(
            f"`name` must be NAME[/CONFIG][:VERSION][@LABEL], VERSION as 1.2.3. Received: {name!r}"
        )
    request = _Request(**match.groupdict())
    exports = data_folder(data_dir) / "tfds-export"
    folder = _exported(exports, request) or _export(exports, request, data_dir, progress)
    collection = csv_file.read(folder / index.INDEX)
    images = dataclasses.replace(collection.images, name=f"tfds:{name}")
    if request.builder in PAPERS and not request.label:
        name = PAPERS[request.builder]
        count = OFFICIAL[name].counts["training classes"]
        collection = first_for_training(images, min(count, images.num_classes))
        check_counts(name, collection, folder, "name")
        return collection
    return dataclasses.replace(collection, images=images)


def _exported(exports, request):
    if request.version:
        folder = exports / f"{request.prefix}-{request.version}"
        return folder if (folder / index.INDEX).is_file() else None
    versions = {}
    for file in Path(exports).glob(f"*/{index.INDEX}"):
        prefix, _, version = file.parent.name.rpartition("-")
        if prefix == request.prefix and re.fullmatch(r"\d+\.\d+\.\d+", version):
            versions[tuple(int(part) for part in version.split("."))] = file.parent
    return versions[max(versions)] if versions else None


def _export(exports, request, data_dir, progress):
    builder = tfds_builder.prepared(request.for_tfds, data_dir, PAPERS.get(request.builder))
    features = tfds_builder.features(builder, request.label)
    folder = exports / f"{request.prefix}-{builder.version}"
    # Another version may be stored than the newest one that the package knows.
    if not (folder / index.INDEX).is_file():
        index.write(folder, tfds_builder.examples(builder, features, progress))
    return folder
