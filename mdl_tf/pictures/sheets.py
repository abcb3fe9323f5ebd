"""Look at a data set before training on it."""

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.pictures import plots, thumbnails
from mdl_tf.words import clean

SIDE = 160  # pixels of a thumbnail


def contact_sheet(collection, classes=8, images=8):
    """Some classes of a data set, evenly from the first to the last, with their first images.

    Args:
        collection: a `Collection` of images, as `datasets.read` gives it; cut to the boxes that it
            has.
        classes: how many. Defaults to `8`.
        images: of each class, at most. Defaults to `8`.

    Returns:
        A matplotlib `Figure`, a row for each class with its name and what it is for.

    Raises:
        ValueError: if the data set holds features, which nobody can look at, or a number is below
            1.
    """
    image_set = collection.images
    if image_set.features is not None:
        raise ValueError(
            f"The data set must hold images. Received: {image_set.name}, which holds features"
        )
    classes = check_integer("classes", classes, least=1)
    images = check_integer("images", images, least=1)
    count = image_set.num_classes
    shown = np.unique(np.linspace(0, count - 1, min(classes, count)).round().astype(int))
    rows, titles = [], []
    for c in shown.tolist():
        members = np.flatnonzero(image_set.labels == c)
        rows.append([thumbnails.small(image_set, i, SIDE) for i in members[:images].tolist()])
        name = clean(image_set.class_names[c], 28)
        titles.append(f"{name}\n{collection.sides[c]}, {len(members):,} images")
    title = f"{image_set.name}: {len(image_set):,} images of {count:,} classes"
    if len(shown) < count:
        title += f"; {len(shown)} classes are shown"
    return plots.contact_sheet(rows, titles, title)
