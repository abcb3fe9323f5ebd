"""In-shop Clothes Retrieval of DeepFashion: 52,712 photographs of 7,982 pieces of clothing.

The images of the test are queries or gallery: a query is looked for in the gallery.
"""

import os

import numpy as np

from mdl_tf.datasets.papers.layouts import Layout, Part, collected, numbers, rows

FOLDERS = ("In-shop Clothes Retrieval Benchmark",)
STATUSES = ("train", "query", "gallery")

PARTITION = Part(("list_eval_partition.txt", "Eval/list_eval_partition.txt"))
IMAGES = Part(("img", "Img/img"), ("img.zip", "Img/img.zip"))
BOXES = Part(("Anno/list_bbox_inshop.txt", "list_bbox_inshop.txt"))


def _read(root):
    files, classes, statuses = rows(PARTITION.find(root), 3, header=2)
    unknown = sorted(set(statuses) - set(STATUSES))
    if unknown:
        raise ValueError(
            f"`data_dir` must hold a list_eval_partition.txt that says for each image which of "
            f"{STATUSES} it is. Received: {unknown[0]!r}, in {PARTITION.find(root)}"
        )
    # The list names them from the folder that holds img/.
    images = IMAGES.find(root).parent
    statuses = np.array(statuses, str)
    return collected(
        "inshop",
        [os.path.join(images, file) for file in files],
        np.array(classes, str),
        np.where(statuses == "train", "train", "test"),
        {name: name for name in classes},
        boxes=_boxes(BOXES.find(root), files),
        queries=statuses != "gallery",
    )


def _boxes(path, files):
    if path is None:
        return None
    named, _, _, *corners = rows(path, 7, header=2)
    line = {name: i for i, name in enumerate(named)}
    boxless = [file for file in files if file not in line]
    if boxless:
        raise ValueError(
            f"`data_dir` must hold a {path.name} with a box for each image, or none at all. "
            f"Received: {path}, without {len(boxless):,} images, the first {boxless[0]}"
        )
    corners = numbers(corners, path, np.float32)
    return np.ascontiguousarray(corners[:, [line[file] for file in files]].T)


LAYOUTS = (Layout((PARTITION, IMAGES), _read),)
