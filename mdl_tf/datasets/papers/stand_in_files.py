"""The files of the stand-ins: pictures of their own, under the originals' names and numbers."""

import colorsys
import io
from typing import NamedTuple

import numpy as np

TRAIN_CLASSES = 8  # enough for four folds of two
TEST_CLASSES = 6
IMAGES_PER_CLASS = 5
# Products have from two images on, so that classes are short of a batch's share here, too.
IMAGES_OF_PRODUCTS = (2, 3, 5, 4)
# The last class for training.
CUB200_BORDER, CARS196_BORDER, SOP_BORDER = 100, 98, 11318
CARS = 196
SEED = 2018


class _Image(NamedTuple):
    number: int  # of its class, as in the original
    copy: int  # which of the class
    jpeg: bytes
    box: tuple  # left, top, right, bottom, in pixels from the upper left corner


def _images(border, copies=(IMAGES_PER_CLASS,)):
    """Images of the classes around a border, class by class; `copies` of each, in turn."""
    images = []
    for i in range(TRAIN_CLASSES + TEST_CLASSES):
        number = border + 1 - TRAIN_CLASSES + i
        for copy in range(copies[i % len(copies)]):
            rng = np.random.default_rng([SEED, number, copy])
            images.append(_Image(number, copy, *_picture(i, rng)))
    return images


def _picture(kind, rng):
    """A star on a blurred ground: its kind says points and hue, chance the rest.

    Returns:
        The bytes of a JPEG file, and the box of the star.
    """
    from PIL import Image, ImageDraw

    width, height = (int(side) for side in rng.integers(48, 65, 2))
    ground = Image.fromarray(rng.integers(60, 196, (3, 4, 3), np.uint8))
    image = ground.resize((width, height), Image.Resampling.BICUBIC)
    radius = rng.uniform(0.25, 0.4) * min(width, height)
    centre = [rng.uniform(radius, side - radius) for side in (width, height)]
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 2 * (3 + kind % 4), False)
    reach = np.where(np.arange(len(angles)) % 2, 0.45, 1) * radius
    corners = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Neighbouring kinds are far apart in hue.
    hue = (kind * 0.618 + rng.uniform(-0.02, 0.02)) % 1
    colour = colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.6, 1))
    ImageDraw.Draw(image).polygon(
        [tuple(corner) for corner in corners.tolist()],
        fill=tuple(round(255 * part) for part in colour),
    )
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    (left, top), (right, bottom) = np.floor(corners.min(0)), np.ceil(corners.max(0))
    box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return file.getvalue(), tuple(int(side) for side in box)


def _counts(images, border):
    numbers = np.array([image.number for image in images])
    training = numbers <= border
    return {
        "training classes": len(np.unique(numbers[training])),
        "training images": int(training.sum()),
        "test classes": len(np.unique(numbers[~training])),
        "test images": int((~training).sum()),
    }


def _text(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def _cub200():
    images = _images(CUB200_BORDER)
    names = {image.number: f"{image.number:03d}.Stand_in" for image in images}
    paths = [f"{names[i.number]}/Stand_in_{i.copy + 1:04d}_{i.number}.jpg" for i in images]
    boxes = [
        f"{left}.0 {top}.0 {right - left}.0 {bottom - top}.0"
        for left, top, right, bottom in (image.box for image in images)
    ]

    def numbered(fields):
        return _text(f"{i} {field}" for i, field in enumerate(fields, 1))

    files = {
        "images.txt": numbered(paths),
        "image_class_labels.txt": numbered(image.number for image in images),
        "train_test_split.txt": numbered(image.copy % 2 for image in images),
        "bounding_boxes.txt": numbered(boxes),
        "classes.txt": _text(f"{number} {name}" for number, name in names.items()),
    }
    for path, image in zip(paths, images, strict=True):
        files[f"images/{path}"] = image.jpeg
    return files, _counts(images, CUB200_BORDER)


def _cars196():
    images = _images(CARS196_BORDER)
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    records = np.zeros((1, len(images)), [(field, object) for field in fields])
    files = {}
    for i, image in enumerate(images):
        path = f"car_ims/{i + 1:06d}.jpg"
        files[path] = image.jpeg
        left, top, right, bottom = image.box
        # Pixels count from 1, and the last is in the box.
        of_image = left + 1, top + 1, right, bottom, image.number, image.copy % 2
        records[0, i] = path, *(np.array([[value]], np.uint8) for value in of_image)
    names = np.zeros((1, CARS), object)
    names[0, :] = [f"Stand-in Model {number} 2012" for number in range(1, CARS + 1)]
    annotations = _matlab({"annotations": records, "class_names": names})
    return {"cars_annos.mat": annotations, **files}, _counts(images, CARS196_BORDER)


def _matlab(content):
    """The bytes of a MATLAB file, without the time at which it was made."""
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, content)
    # The first 116 bytes are a text with the date.
    return b"MATLAB 5.0 MAT-file, generated stand-in".ljust(116) + file.getvalue()[116:]


def _sop():
    images = _images(SOP_BORDER, IMAGES_OF_PRODUCTS)
    header = "image_id class_id super_class_id path"
    tables = {"train": [header], "test": [header], "info": [header]}
    files = {}
    for i, image in enumerate(images, 1):
        kind, number = (("bicycle", 1), ("cabinet", 2))[image.number % 2]
        path = f"{kind}_final/{100_000_000_000 + image.number}_{image.copy}.JPG"
        files[path] = image.jpeg
        line = f"{i} {image.number} {number} {path}"
        tables["train" if image.number <= SOP_BORDER else "test"].append(line)
        tables["info"].append(line)
    lists = {f"Ebay_{name}.txt": _text(lines) for name, lines in tables.items()}
    return {**lists, **files}, _counts(images, SOP_BORDER)


# name: a function without arguments -> its files, a dict from relative path to bytes, and counts
TREES = {"cars196": _cars196, "cub200": _cub200, "sop": _sop}
