"""CUB-200-2011: 11,788 photographs of birds of 200 species.

Its own halves by image are merged; the first 100 classes are for training, the others for the test.
"""

from collections import Counter

import numpy as np

from mdl_tf.datasets.papers.layouts import Layout, Part, collected, numbers, rows

TRAIN_CLASSES = 100
FOLDERS = ("CUB_200_2011",)
_FILES = (
    "images.txt",
    "image_class_labels.txt",
    "bounding_boxes.txt",
    "classes.txt",
    "images",
)


def _read(root):
    ids, names = rows(root / "images.txt", 2)
    classes = _of_images(root, "image_class_labels.txt", 1, ids, np.int64)[:, 0]
    left, top, width, height = _of_images(root, "bounding_boxes.txt", 4, ids, np.float32).T
    class_ids, class_names = rows(root / "classes.txt", 2)
    class_ids = numbers(class_ids, root / "classes.txt").tolist()
    return collected(
        "cub200",
        [str(root / "images" / name) for name in names],
        classes,
        np.where(classes <= TRAIN_CLASSES, "train", "test"),
        dict(zip(class_ids, class_names, strict=True)),
        boxes=np.stack([left, top, left + width, top + height], axis=1),
    )


def _of_images(root, name, columns, ids, dtype):
    """Numbers about each image from a text file, `(N, columns)`, in the order of `ids`."""
    found, *fields = rows(root / name, 1 + columns)
    wrong = (set(ids) ^ set(found)) | _repeated(ids) | _repeated(found)
    if wrong:
        raise ValueError(
            f"`data_dir` must hold an images.txt and a {name} with the same ids, each once. "
            f"Received: {root}, where they differ in, or repeat, the ids "
            f"{sorted(wrong, key=lambda text: (len(text), text))[:5]}"
        )
    line = {image: i for i, image in enumerate(found)}
    return numbers(fields, root / name, dtype).T[[line[image] for image in ids]]


def _repeated(ids):
    return {image for image, times in Counter(ids).items() if times > 1}


LAYOUTS = (Layout(tuple(Part((file,), ("CUB_200_2011.tgz",)) for file in _FILES), _read),)
