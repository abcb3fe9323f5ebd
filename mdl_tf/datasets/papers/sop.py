"""Stanford Online Products: 120,053 photographs of 22,634 products from an auction site.

Its text files say which classes are for training and which for the test; listing its folders would
give another split.
"""

import os

import numpy as np

from mdl_tf.datasets.papers.layouts import Layout, Part, collected, numbers, rows

FOLDERS = ("Stanford_Online_Products",)
_TABLES = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}


def _read(root):
    classes, files, sides = [], [], []
    for side, table in _TABLES.items():
        _, of_files, _, names = rows(root / table, 4, header=1)
        classes.append(numbers(of_files, root / table))
        files += names
        sides += [side] * len(names)
    classes = np.concatenate(classes)
    return collected(
        "sop",
        [os.path.join(root, file) for file in files],
        classes,
        sides,
        _class_names(classes.tolist(), files),
    )


def _class_names(classes, files):
    """Such as "00001.bicycle 111085122871" for class 1, with bicycle_final/111085122871_0.JPG."""
    names = {}
    for number, file in zip(classes, files, strict=True):
        if number not in names:
            kind, _, image = file.rpartition("/")
            names[number] = f"{number:05d}.{kind.removesuffix('_final')} {image.split('_')[0]}"
    return names


LAYOUTS = (
    Layout(
        tuple(Part((file,), ("Stanford_Online_Products.zip",)) for file in _TABLES.values()),
        _read,
    ),
)
