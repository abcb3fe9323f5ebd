"""What an `ImageSet` takes, and what it refuses: one table for each kind of content."""

from pathlib import Path

import numpy as np
import pytest

from mdl_tf.datasets import Collection, ImageSet

PIXELS = np.arange(4 * 5 * 6 * 3).reshape(4, 5, 6, 3) % 256
LABELS = np.array([0, 0, 1, 1])
NAMES = ("a", "b")
VECTORS = np.linspace(-1, 1, 12).reshape(4, 3)
BOXES = np.array([[0, 0, 2, 2], [np.nan] * 4, [1, 1, 3, 4], [-1, 0, 5, 9.5]])
BYTES = PIXELS.astype(np.uint8)


def with_value(array, value, place=(1, 0)):
    changed = np.array(array, float)
    changed[place] = value
    return changed


def set_of(**fields):
    whole = {"name": "set", "labels": LABELS, "class_names": NAMES}
    if not {"images", "paths", "features"} & set(fields):
        whole["images"] = BYTES
    return ImageSet(**{**whole, **fields})


IMAGES = "`images` must be (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8, pixels 0 to 255"
FEATURES = "`features` must be (N, F) floats."
FINITE = "`features` must be finite in float32. Received: NaN or infinity in 1 rows, such as [1]"
PATHS = "`paths` must be N paths of image files, texts or `Path`s. Received: "
BOX = "`boxes` must be (N, 4) numbers"
IDS = "`labels` must be (N,) integers"
WORDS = "`class_names` must be C texts, each another. Received: "


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        # Each way in which programs keep pixels, and the way from there.
        ({"images": PIXELS / 255}, f"{IMAGES}: numpy.uint8(numpy.rint(images * 255)). Received: "),
        ({"images": PIXELS / 127.5 - 1}, "numpy.uint8(numpy.rint((images + 1) * 127.5))"),
        ({"images": (PIXELS / 255).astype(np.float16)}, "numpy.rint(images * 255)"),
        ({"images": PIXELS.astype(np.float32)}, f"{IMAGES}: numpy.uint8(numpy.rint(images)). "),
        ({"images": PIXELS}, "numpy.uint8(numpy.rint(images)). Received: shape (4, 5, 6, 3), int"),
        ({"images": np.uint16(PIXELS * 257)}, "numpy.uint8(images // 257). Received: "),
        ({"images": PIXELS.astype(np.int8)}, f"{IMAGES}. Received: shape (4, 5, 6, 3), int8"),
        ({"images": PIXELS * 9.0 - 500}, f"{IMAGES}. Received: "),
        ({"images": with_value(PIXELS, np.nan, (0, 0, 0, 0))}, f"{IMAGES}. Received: "),
        ({"images": BYTES > 9}, f"{IMAGES}. Received: shape (4, 5, 6, 3), bool"),
        ({"images": BYTES.astype(complex)}, f"{IMAGES}. Received: shape (4, 5, 6, 3), complex128"),
        ({"images": np.moveaxis(BYTES, -1, 1)}, "colours last: numpy.moveaxis(images, 1, -1)"),
        ({"images": np.zeros((4, 5, 6, 4), np.uint8)}, "what is transparent on white"),
        ({"images": np.zeros((4, 5, 6, 2), np.uint8)}, f"{IMAGES}. Received: shape (4, 5, 6, 2)"),
        ({"images": BYTES[0, 0]}, f"{IMAGES}. Received: shape (6, 3), uint8"),
        ({"images": BYTES[None]}, f"{IMAGES}. Received: shape (1, 4, 5, 6, 3), uint8"),
        ({"images": BYTES[:, :0]}, f"{IMAGES}. Received: shape (4, 0, 6, 3), uint8"),
        ({"images": [BYTES[0], BYTES[0, :3]] * 2}, "`images` must be an array. Received: list"),
        ({"images": ["a.jpg"] * 4}, f"{IMAGES}. Received: shape (4,), <U5"),
        ({"images": "a.jpg"}, f"{IMAGES}. Received: shape (), <U5"),
        # Vectors.
        ({"features": with_value(VECTORS, np.nan)}, FINITE),
        ({"features": with_value(VECTORS, np.inf)}, FINITE),
        ({"features": with_value(VECTORS, 1e300)}, FINITE),
        ({"features": VECTORS[..., None]}, f"{FEATURES} Received: shape (4, 3, 1), float64"),
        ({"features": VECTORS[:, 0]}, f"{FEATURES} Received: shape (4,), float64"),
        ({"features": VECTORS[:, :0]}, f"{FEATURES} Received: shape (4, 0), float64"),
        ({"features": VECTORS.astype(int)}, f"{FEATURES} Received: shape (4, 3), int64"),
        ({"features": VECTORS.astype(complex)}, f"{FEATURES} Received: shape (4, 3), complex128"),
        ({"features": VECTORS.astype(str)}, f"{FEATURES} Received: shape (4, 3), <U"),
        ({"features": [[1.0], [1.0, 2.0]] * 2}, "`features` must be an array. Received: list"),
        # Paths.
        ({"paths": "a.jpg"}, f"{PATHS}'a.jpg' alone"),
        ({"paths": Path("a.jpg")}, "PosixPath('a.jpg') alone"),
        ({"paths": ["a.jpg", 3, "c.jpg", "d.jpg"]}, f"{PATHS}expected str, bytes or os.PathLike"),
        ({"paths": ["a.jpg", "", "c.jpg", "d.jpg"]}, f"{PATHS}'' at index 1"),
        ({"paths": ["a.jpg", "b\0.jpg", "c.jpg", "d.jpg"]}, f"{PATHS}'b\\x00.jpg' at index 1"),
        (
            {"paths": ["a.jpg", None, "c.jpg", "d.jpg"]},
            f"{PATHS}expected str, bytes or os.PathLike",
        ),
        ({"paths": 4}, f"{PATHS}int"),
        ({"paths": BYTES}, f"{PATHS}expected str, bytes or os.PathLike object"),
        # Labels.
        ({"labels": LABELS.astype(float)}, f"{IDS} (of one-hot rows"),
        ({"labels": np.eye(2)[LABELS]}, "of one-hot rows take the argmax"),
        ({"labels": np.eye(2, dtype=int)[LABELS]}, "Received: shape (4, 2), int64"),
        ({"labels": ["a", "a", "b", "b"]}, "numpy.unique(names, return_inverse=True)"),
        ({"labels": LABELS > 0}, "Received: shape (4,), bool"),
        ({"labels": []}, "Received: shape (0,), float64"),
        ({"labels": LABELS + 1}, "`labels` must be the ids 0 to C - 1, each present"),
        ({"labels": LABELS - 1}, "`labels` must be the ids 0 to C - 1, each present"),
        ({"labels": LABELS * 2}, "`labels` must be the ids 0 to C - 1, each present"),
        ({"labels": LABELS[:3]}, "Received: 3 labels, 4 images"),
        # Names.
        ({"class_names": "ab"}, f"{WORDS}'ab'"),
        ({"class_names": (1, 2)}, f"{WORDS}1"),
        ({"class_names": ("a", "a")}, f"{WORDS}twice 'a'"),
        ({"class_names": None}, f"{WORDS}None"),
        ({"class_names": ("a", "b", "c")}, "2 distinct labels, 3 class names"),
        # Boxes.
        ({"boxes": BOXES[:, :3]}, f"{BOX}: left, top, right, bottom"),
        ({"boxes": BOXES[:, [2, 1, 0, 3]]}, "Received: [2.0, 0.0, 0.0, 2.0] at index 0"),
        ({"boxes": with_value(BOXES, 1.0)}, "at index 1"),
        ({"boxes": with_value(BOXES, np.inf, (0, 2))}, "at index 0"),
        ({"boxes": [["0"] * 4] * 4}, f"{BOX}: left, top, right, bottom"),
        ({"boxes": BOXES[:3]}, "Received: 4 labels, 3 boxes"),
        ({"boxes": BOXES, "features": VECTORS}, "`boxes` must be of images"),
        # Queries.
        ({"queries": LABELS}, "`queries` must be (N,) bool"),
        ({"queries": [True]}, "Received: 4 labels, 1 queries"),
        # What there is at all.
        ({"images": BYTES, "features": VECTORS}, "Received: images, features"),
        ({"images": None}, "Received: none"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_to_what_can(fields, message):
    with pytest.raises(ValueError) as raised:
        set_of(**fields)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"images": BYTES}, "images", BYTES),
        ({"images": list(BYTES)}, "images", BYTES),
        ({"images": BYTES[..., :1]}, "images", BYTES[..., 0]),
        ({"images": BYTES[..., 0]}, "images", BYTES[..., 0]),
        ({"features": VECTORS}, "features", VECTORS.astype(np.float32)),
        ({"features": VECTORS.astype(np.float16)}, "features", np.float16(VECTORS).astype("f4")),
        ({"features": VECTORS.tolist()}, "features", VECTORS.astype(np.float32)),
        ({"labels": [0, 0, 1, 1]}, "labels", LABELS),
        ({"labels": LABELS[:, None].astype(np.uint8)}, "labels", LABELS),
        ({"boxes": BOXES.tolist()}, "boxes", BOXES.astype(np.float32)),
        ({"queries": [True, False, True, False]}, "queries", np.array([1, 0, 1, 0], bool)),
    ],
)
def test_what_can_be_is_kept_as_it_should_be(fields, name, expected):
    kept = getattr(set_of(**fields), name)
    assert kept.dtype == expected.dtype
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize(
    "paths",
    [
        ("a.jpg", "b.jpg", "c.jpg", "ü.jpg"),
        ["a.jpg", "b.jpg", "c.jpg", "ü.jpg"],
        [Path("a.jpg"), Path("b.jpg"), "c.jpg", "ü.jpg"],
        np.array(["a.jpg", "b.jpg", "c.jpg", "ü.jpg"]),
        ["a.jpg", "b.jpg", "c.jpg", "ü.jpg".encode()],
        iter(["a.jpg", "b.jpg", "c.jpg", "ü.jpg"]),
    ],
)
def test_paths_become_a_tuple_of_texts(paths):
    image_set = set_of(paths=paths)
    assert image_set.paths == ("a.jpg", "b.jpg", "c.jpg", "ü.jpg")
    assert {type(path) for path in image_set.paths} == {str}
    assert image_set.take([3]).paths == ("ü.jpg",)


def test_names_become_a_tuple_of_texts():
    names = set_of(class_names=np.array(["a", "b"])).class_names
    assert names == ("a", "b")
    assert {type(name) for name in names} == {str}


@pytest.mark.parametrize("sides", [("train",), ("train", "tests"), ("train", "test", "test")])
def test_a_collection_has_a_side_for_each_class(sides):
    with pytest.raises(ValueError, match="^`sides` must be one of .* Received: 2 classes, "):
        Collection(set_of(), sides)
