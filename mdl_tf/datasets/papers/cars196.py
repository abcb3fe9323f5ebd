"""CARS196: 16,185 photographs of cars of 196 models.

It circulates in three layouts: all images in one folder, as most papers on metric learning have
used it; the two halves by image of the development kit; and a folder for each class. Halves are
merged; the first 98 classes are for training, the others for the test.
"""

import os

import numpy as np

from mdl_tf.datasets.papers.layouts import Layout, Part, collected, numbers, rows

TRAIN_CLASSES = 98
FOLDERS = ("CARS196", "cars196", "stanford_cars")
# Class 99. The official order sorts makes, but not the models of a make, as ASCII does: by name,
# too, exactly the first 98 classes come before it.
FIRST_TEST_CLASS = "FIAT 500 Abarth 2012"
_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def _in_devkit(file, archives=("car_devkit.tgz",), remark=""):
    folders = ("devkit/", "car_devkit/devkit/", "car_devkit/", "")
    return Part(tuple(folder + file for folder in folders), archives, remark)


ONE_FOLDER = Part(("car_ims",), ("CARS196.zip", "car_ims.tgz"))
ANNOTATIONS = Part(("cars_annos.mat",), ("CARS196.zip",))

# Kaggle's copy nests the images once more.
TRAIN_IMAGES = Part(("cars_train/cars_train", "cars_train"), ("cars_train.tgz",))
TEST_IMAGES = Part(("cars_test/cars_test", "cars_test"), ("cars_test.tgz",))
TRAIN_ANNOTATIONS = _in_devkit("cars_train_annos.mat")
META = _in_devkit("cars_meta.mat")
TEST_ANNOTATIONS = _in_devkit(
    "cars_test_annos_withlabels.mat",
    archives=(),
    remark="not in car_devkit.tgz, whose cars_test_annos.mat has no labels",
)

CLASS_FOLDERS = tuple(
    Part((f"car_data/car_data/{half}", f"car_data/{half}")) for half in ("train", "test")
)


def _read_one_folder(root):
    path = ANNOTATIONS.find(root)
    files, classes, boxes = _annotations(path, "relative_im_path")
    return _collected([str(root / file) for file in files], classes, _class_names(path), boxes)


def _read_devkit(root):
    paths, classes, boxes = [], [], []
    for images, annotations in (
        (TRAIN_IMAGES, TRAIN_ANNOTATIONS),
        (TEST_IMAGES, TEST_ANNOTATIONS),
    ):
        files, of_files, around = _annotations(annotations.find(root), "fname")
        paths += [str(images.find(root) / file) for file in files]
        classes += of_files
        boxes.append(around)
    return _collected(paths, classes, _class_names(META.find(root)), np.concatenate(boxes))


def _read_class_folders(root):
    folders, paths, boxes = [], [], []
    tables = [root / "anno_train.csv", root / "anno_test.csv"]
    has_boxes = all(os.path.exists(table) for table in tables)
    for part, table in zip(CLASS_FOLDERS, tables, strict=True):
        pairs = []
        for folder in _listed(part.find(root)):
            pairs += [(folder.name, file) for file in _listed(folder)]
        folders += [name for name, _ in pairs]
        paths += [str(file) for _, file in pairs]
        if has_boxes:
            boxes.append(_boxes_in_table(table, [file.name for _, file in pairs]))
    names = _names_of_folders(root, folders)
    number = {folder: i for i, folder in enumerate(names)}
    return collected(
        "cars196",
        paths,
        np.array([number[folder] for folder in folders], np.int64),
        ["train" if folder < FIRST_TEST_CLASS else "test" for folder in folders],
        dict(enumerate(names.values())),
        boxes=np.concatenate(boxes) if has_boxes else None,
    )


def _names_of_folders(root, folders):
    """A dict from the folder of a class to its name, in official order if `names.csv` gives it."""
    if not os.path.exists(root / "names.csv"):
        return {folder: folder for folder in sorted(set(folders))}
    (names,) = rows(root / "names.csv", 1)
    # "Ram C/V Cargo Van Minivan 2012" cannot be the name of a folder.
    names = {name.replace("/", "-"): name for name in names}
    unknown = sorted(set(folders) - set(names))
    if unknown:
        raise ValueError(
            "`data_dir` must hold a names.csv with the names of all class folders. Received: "
            f"{root / 'names.csv'}, without {unknown[:5]}"
        )
    return names


def _boxes_in_table(path, files):
    named, *fields = rows(path, 6, separator=",")
    line = {name: i for i, name in enumerate(named)}
    boxless = [file for file in files if file not in line]
    if boxless:
        raise ValueError(
            "`data_dir` must hold tables with a box for each image, or no tables. Received: "
            f"{path}, without {boxless[:5]}"
        )
    corners = numbers(fields[:4], path, np.float32)
    return _from_zero(corners[:, [line[file] for file in files]])


def _listed(folder):
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise ValueError(
            f"`data_dir` must hold class folders that can be read. Received: {folder}, "
            f"{error.strerror}"
        ) from error
    return [folder / name for name in names]


def _collected(paths, classes, class_names, boxes):
    sides = np.where(np.array(classes) <= TRAIN_CLASSES, "train", "test")
    return collected("cars196", paths, np.array(classes), sides, class_names, boxes=boxes)


def _from_zero(corners):
    # The originals count pixels from 1, and the last is in the box.
    x1, y1, x2, y2 = corners
    return np.stack([x1 - 1, y1 - 1, x2, y2], axis=1).astype(np.float32)


def _annotations(path, file_field):
    """Files (N strings), classes (N ints, from 1) and boxes (N, 4) of a MATLAB struct array."""

    def columns(content):
        records = content["annotations"]
        return [
            [value.item() for value in records[field].ravel()]
            for field in (file_field, "class", *_CORNERS)
        ]

    files, classes, *corners = _from_matlab(path, columns)
    return files, classes, _from_zero(np.array(corners, np.float32))


def _class_names(path):
    def names(content):
        return [str(cell.item()) for cell in content["class_names"].ravel()]

    return dict(enumerate(_from_matlab(path, names), 1))


def _from_matlab(path, take):
    from scipy.io import loadmat

    try:
        return take(loadmat(path))
    except Exception as error:  # a dozen kinds, depending on where the file is damaged
        raise ValueError(
            "`data_dir` must hold MATLAB files as in the original. Received: "
            f"{path}, {type(error).__name__}: {error}"
        ) from error


LAYOUTS = (
    Layout((ONE_FOLDER, ANNOTATIONS), _read_one_folder),
    Layout(
        (TRAIN_IMAGES, TEST_IMAGES, TRAIN_ANNOTATIONS, META, TEST_ANNOTATIONS),
        _read_devkit,
    ),
    Layout(CLASS_FOLDERS, _read_class_folders),
)
