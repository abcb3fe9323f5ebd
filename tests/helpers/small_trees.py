"""Small data sets laid out like the originals of the papers: their files, names and quirks.

Each function makes a tree in a folder and returns its root. There are four classes for training and
three for the test, among them those at the border; `expect` tells `official` so.
"""

import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from mdl_tf.datasets.papers import official

IMAGES_PER_CLASS = 3

BIRDS = {
    1: "001.Black_footed_Albatross",
    2: "002.Laysan_Albatross",
    99: "099.Ovenbird",
    100: "100.Brown_Pelican",
    101: "101.White_Pelican",
    102: "102.Western_Wood_Pewee",
    200: "200.Common_Yellowthroat",
}
# The official order of 96 and 97 is not that of the alphabet; one name has a slash.
CARS = {
    1: "AM General Hummer SUV 2000",
    96: "Dodge Charger Sedan 2012",
    97: "Dodge Charger SRT-8 2009",
    98: "Eagle Talon Hatchback 1998",
    99: "FIAT 500 Abarth 2012",
    174: "Ram C/V Cargo Van Minivan 2012",
    196: "smart fortwo Convertible 2012",
}
CAR_NAMES = tuple(CARS.get(number, f"Make Model {number} 2012") for number in range(1, 197))
PRODUCTS = {
    1: ("bicycle", "111085122871"),
    2: ("bicycle", "111265328556"),
    3: ("cabinet", "110936496330"),
    11318: ("toaster", "400876513411"),
    11319: ("bicycle", "251952414262"),
    11320: ("bicycle", "351389234210"),
    22634: ("toaster", "381288302146"),
}
SUPER_CLASSES = {"bicycle": 1, "cabinet": 2, "toaster": 12}
# Numbers of classes, the part of the test that the last ones are, and where their images are.
CLOTHES = {
    "id_00000002": "WOMEN/Dresses",
    "id_00000004": "MEN/Denim",
    "id_00000010": "MEN/Tees_Tanks",
    "id_00007978": "WOMEN/Dresses",
    "id_00000001": "WOMEN/Dresses",
    "id_00000003": "MEN/Denim",
    "id_00007982": "WOMEN/Tees_Tanks",
}
TRAIN_CLASSES = 4
COUNTS = {
    "training classes": 4,
    "training images": 12,
    "test classes": 3,
    "test images": 9,
}
INSHOP_COUNTS = {
    "training classes": 4,
    "training images": 12,
    "test classes": 3,
    "query images": 3,
    "gallery images": 6,
}


def expect(monkeypatch, name, **changed):
    """Let `official` expect a small tree instead of the real data set.

    `changed` are other fields of its row, or `counts`.
    """
    counts = INSHOP_COUNTS if name == "inshop" else COUNTS
    fields = {"counts": counts, "contents": ()} | changed
    monkeypatch.setitem(official.OFFICIAL, name, official.OFFICIAL[name]._replace(**fields))


def cub200(folder):
    """CUB_200_2011/ in `folder`, as CUB_200_2011.tgz unpacks."""
    root = folder / "CUB_200_2011"
    tables = {
        key: []
        for key in (
            "images",
            "image_class_labels",
            "bounding_boxes",
            "train_test_split",
            "classes",
        )
    }
    image = 0
    for number, bird in BIRDS.items():
        tables["classes"].append(f"{number} {bird}")
        for copy in range(IMAGES_PER_CLASS):
            image += 1
            file = f"{bird}/{bird[4:]}_{copy + 1:04d}_{5000 + 37 * image}.jpg"
            jpeg(root / "images" / file, image)
            tables["images"].append(f"{image} {file}")
            tables["image_class_labels"].append(f"{image} {number}")
            tables["bounding_boxes"].append(f"{image} {2.0 + copy} {3.0} {20.0} {10.0 + copy}")
            tables["train_test_split"].append(f"{image} {copy % 2}")
    for name, lines in tables.items():
        write(root / f"{name}.txt", lines)
    write(root / "README", ["=====", "The Caltech-UCSD Birds-200-2011 Dataset", "====="])
    write(root / "attributes/certainties.txt", ["1 not visible"])
    write(root / "parts/parts.txt", ["1 back"])
    write(folder / "attributes.txt", ["1 has_bill_shape::curved_(up_or_down)"])
    return root


def cars196(folder):
    """car_ims/ and cars_annos.mat in `folder`."""
    from scipy.io import savemat

    records = []
    for image, (number, copy) in enumerate(_cars(), 1):
        file = f"car_ims/{image:06d}.jpg"
        jpeg(folder / file, image)
        records.append((file, *_car_box(number, copy), number, copy % 2))
    savemat(
        folder / "cars_annos.mat",
        {
            "annotations": _struct(records, "relative_im_path", *_CAR_BOX, "class", "test"),
            "class_names": _cells(CAR_NAMES),
        },
    )
    return folder


def cars196_devkit(folder, nested=False):
    """cars_train/, cars_test/, the development kit and the labelled annotations of the test.

    nested: as on Kaggle, with cars_train/cars_train/, and the kit as it may be beside it.
    """
    from scipy.io import savemat

    kit = folder / ("car_devkit/devkit" if nested else "devkit")
    kit.mkdir(parents=True, exist_ok=True)
    fields = (*_CAR_BOX, "class", "fname")
    halves = {"train": [], "test": []}
    for number, copy in _cars():
        half = "test" if copy % 2 else "train"
        file = f"{len(halves[half]) + 1:05d}.jpg"
        nest = f"cars_{half}/cars_{half}" if nested else f"cars_{half}"
        jpeg(folder / nest / file, number + copy)
        halves[half].append((*_car_box(number, copy), number, file))
    savemat(kit / "cars_meta.mat", {"class_names": _cells(CAR_NAMES)})
    savemat(kit / "cars_train_annos.mat", {"annotations": _struct(halves["train"], *fields)})
    unlabelled = [(*record[:4], record[5]) for record in halves["test"]]
    savemat(
        kit / "cars_test_annos.mat",
        {"annotations": _struct(unlabelled, *_CAR_BOX, "fname")},
    )
    savemat(
        folder / "cars_test_annos_withlabels.mat",
        {"annotations": _struct(halves["test"], *fields)},
    )
    return folder


def cars196_class_folders(folder):
    """car_data/car_data/{train,test}/CLASS/, names.csv, anno_train.csv and anno_test.csv."""
    tables = {"train": [], "test": []}
    for number, copy in _cars():
        half = "test" if copy % 2 else "train"
        file = f"{len(tables[half]) + 1:05d}.jpg"
        name = CARS[number].replace("/", "-")
        jpeg(folder / "car_data/car_data" / half / name / file, number + copy)
        box = ",".join(map(str, _car_box(number, copy)))
        tables[half].append(f"{file},{box},{number}")
    write(folder / "names.csv", CAR_NAMES)
    for half, lines in tables.items():
        write(folder / f"anno_{half}.csv", lines)
    return folder


def sop(folder):
    """Stanford_Online_Products/ in `folder`, as Stanford_Online_Products.zip unpacks."""
    root = folder / "Stanford_Online_Products"
    header = "image_id class_id super_class_id path"
    tables = {"train": [header], "test": [header], "info": [header]}
    image = 0
    for number, (kind, product) in PRODUCTS.items():
        for copy in range(IMAGES_PER_CLASS):
            image += 1
            file = f"{kind}_final/{product}_{copy}.JPG"
            jpeg(root / file, image)
            line = f"{image} {number} {SUPER_CLASSES[kind]} {file}"
            tables["train" if number <= 11318 else "test"].append(line)
            tables["info"].append(line)
    for name, lines in tables.items():
        write(root / f"Ebay_{name}.txt", lines)
    # A directory listing would find this one.
    jpeg(root / "bicycle_final" / "999999999999_0.JPG", 99)
    return root


def inshop(folder, official_folders=True):
    """The lists and images of In-shop Clothes Retrieval in `folder`.

    official_folders: Eval/, Img/ and Anno/ as on the page, with boxes; else list_eval_partition.txt
    and img/, without boxes.
    """
    images = folder / "Img" if official_folders else folder
    lists = folder / "Eval" if official_folders else folder
    statuses = ["train"] * TRAIN_CLASSES + ["test"] * (len(CLOTHES) - TRAIN_CLASSES)
    partition, boxes = [], []
    for (item, kind), status in zip(CLOTHES.items(), statuses, strict=True):
        for copy in range(IMAGES_PER_CLASS):
            file = f"img/{kind}/{item}/02_{copy + 1}_front.jpg"
            jpeg(images / file, len(partition))
            part = status if status == "train" else ("gallery" if copy else "query")
            partition.append(f"{file:<70} {item} {part}")
            boxes.append(f"{file:<70} 3 1 {copy:03d} 002 {20 + copy:03d} 021")
    count = [str(len(partition))]
    write(lists / "list_eval_partition.txt", count + ["image_name item_id evaluation_status"])
    with open(lists / "list_eval_partition.txt", "a", encoding="utf-8") as file:
        file.write("\n".join(partition) + "\n")
    if official_folders:
        header = ["image_name clothes_type pose_type x_1 y_1 x_2 y_2"]
        # Another order than that of the other list.
        write(folder / "Anno" / "list_bbox_inshop.txt", count + header + boxes[::-1])
    return folder


def pack(archive, *entries):
    """Move files and folders into a `.tgz` or `.zip`, as its top level; returns its path."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for entry in entries:
                for path in [entry, *sorted(entry.rglob("*"))]:
                    file.write(path, path.relative_to(entry.parent))
    else:
        with tarfile.open(archive, "w:gz") as file:
            for entry in entries:
                file.add(entry, entry.name)
    for entry in entries:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return archive


def jpeg(path, seed, size=(32, 24)):
    """A small picture of its own for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(path)


def write(path, lines):
    """A text file of these lines."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


_CAR_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def _cars():
    return [(number, copy) for number in CARS for copy in range(IMAGES_PER_CLASS)]


def _car_box(number, copy):
    """Pixels from 1, the last one inside: x1, y1, x2, y2."""
    return 1 + copy, 2, 20 + number % 10, 24


def _struct(records, *fields):
    """What MATLAB saves of a 1 x N struct array."""
    array = np.zeros((1, len(records)), [(field, object) for field in fields])
    for i, record in enumerate(records):
        array[0, i] = tuple(
            value if isinstance(value, str) else np.array([[value]], np.uint8) for value in record
        )
    return array


def _cells(texts):
    cells = np.zeros((1, len(texts)), object)
    cells[0, :] = texts
    return cells
