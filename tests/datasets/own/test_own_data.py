"""Anybody's own data: CSV files, .npz files, any `tf.data.Dataset`."""

import atexit
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdl_tf.datasets.own import csv_file, export, index, npz_file


def message_of(function, *arguments, **settings):
    with pytest.raises(ValueError) as caught:
        function(*arguments, **settings)
    return str(caught.value)


# CSV


@pytest.fixture
def csv_of(tmp_path):
    def write(text, name="photos.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def mistakes(path):
    """What follows the rule and the path in the message about a CSV file with mistakes."""
    rule, _, found = message_of(csv_file.read, path).partition(" Received: ")
    assert rule == "`data_dir` must be a CSV file with at least one row and no mistakes."
    assert found.startswith(f"data_dir={path}, ")
    return found.removeprefix(f"data_dir={path}, ")


def test_rows_become_paths_labels_and_halves_of_the_classes(csv_of):
    path = csv_of("path,label\nb 1.jpg,bee\na/é.png,ant\n/tmp/c.jpg,cat\na/2.png,ant\n")
    collection = csv_file.read(path)
    images = collection.images
    assert images.name == "photos"
    assert images.class_names == ("ant", "bee", "cat")
    np.testing.assert_array_equal(images.labels, [1, 0, 2, 0])
    assert images.labels.dtype == np.int64
    folder = path.parent
    assert images.paths == tuple(
        str(p)
        for p in (folder / "b 1.jpg", folder / "a/é.png", Path("/tmp/c.jpg"), folder / "a/2.png")
    )
    assert collection.sides == ("train", "train", "test")
    assert images.boxes is None
    assert images.queries is None


def test_integer_labels_are_in_the_order_of_numbers(csv_of):
    images = csv_file.read(csv_of("path,label\na,10\nb,9\nc,-1\n")).images
    assert images.class_names == ("-1", "9", "10")
    images = csv_file.read(csv_of("path,label\na,10\nb,9\nc,x\n")).images
    assert images.class_names == ("10", "9", "x")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_delimiter_byte_order_mark_and_end_of_line(csv_of, delimiter, encoding, end):
    rows = [("Label", "Path"), ('"Möwe"', '"a b.jpg"'), (), ("Eule", "c.jpg"), ("", "")]
    path = csv_of(end.join(delimiter.join(row) for row in rows), encoding=encoding)
    images = csv_file.read(path).images
    assert images.class_names == ("Eule", "Möwe")
    assert [os.path.basename(p) for p in images.paths] == ["a b.jpg", "c.jpg"]


def test_several_things_in_one_photograph_have_a_box_each(csv_of):
    head = "path,label,left,top,right,bottom\n"
    images = csv_file.read(csv_of(head + "a,x,0,0,5,5\na,y,5,5,9,9\nb,x,,,,\nb2,y,,,,\n")).images
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert len(set(images.paths)) == 3
    for rows in ("a,x,0,0,5,5\na,y,0,0,5,5\n", "a,x,,,,\na,y,0,0,5,5\n", "a,x,0,0,5,5\na,y,,,,\n"):
        with pytest.raises(ValueError) as raised:
            csv_file.read(csv_of(head + rows))
        assert "line 3: another label for the path of line 2" in str(raised.value)


def test_delimiters_and_line_ends_within_quotation_marks(csv_of):
    images = csv_file.read(csv_of('path, label\n"a,1.jpg", "x;\ny"\nb.jpg,z\n')).images
    assert images.class_names == ("x;\ny", "z")
    assert os.path.basename(images.paths[0]) == "a,1.jpg"


def test_blanks_around_a_label_do_not_make_another_class(csv_of):
    images = csv_file.read(csv_of("path,label\na.jpg,cat\nb.jpg, cat \nc.jpg,dog\n")).images
    assert images.class_names == ("cat", "dog")


def test_class_names_keep_the_order_of_their_labels(csv_of):
    collection = csv_file.read(csv_of("path,label,class_name\na,2,ant\nb,10,bee\nc,1,cat\nd,3,\n"))
    assert collection.images.class_names == ("cat", "ant", "3", "bee")
    np.testing.assert_array_equal(collection.images.labels, [1, 3, 0, 2])


def test_boxes_in_four_columns_or_in_one(csv_of):
    four = "path,label,bottom,top,left,right\na,x,40,20,1.5,30\nb,y,,,,\n"
    one = "path,label,box\na,x,1.5 20  30 40\nb,y,\n"
    for text in (four, one):
        boxes = csv_file.read(csv_of(text)).images.boxes
        assert boxes.dtype == np.float32
        np.testing.assert_array_equal(boxes, [[1.5, 20, 30, 40], [np.nan] * 4])
    assert csv_file.read(csv_of("path,label,box\na,x,\nb,y,\n")).images.boxes is None


def test_two_boxes_of_one_image_are_two_rows(csv_of):
    images = csv_file.read(csv_of("path,label,box\na,x,0 0 5 5\na,x,5 0 9 5\n")).images
    assert len(images) == 2


def test_splits_are_as_the_rows_say(csv_of):
    text = "path,label,split\na,x,Test\nb,y,train\nc,z,validation\nd,y,train\n"
    collection = csv_file.read(csv_of(text))
    assert collection.sides == ("test", "train", "validation")
    assert collection.images.queries is None


def test_queries_and_gallery_are_the_test(csv_of):
    text = "path,label,split\na,x,query\nb,y,train\nc,x,gallery\nd,z,gallery\n"
    collection = csv_file.read(csv_of(text))
    assert collection.sides == ("test", "train", "test")
    np.testing.assert_array_equal(collection.images.queries, [True, True, False, False])


@pytest.mark.parametrize(
    "splits, received",
    [
        ("test query gallery", "['gallery', 'query', 'test']"),
        ("query query train", "['query']"),
        ("gallery train train", "['gallery']"),
    ],
)
def test_test_is_plain_or_queries_with_a_gallery(csv_of, splits, received):
    rows = [f"{i},{i},{split}" for i, split in enumerate(splits.split())]
    assert message_of(csv_file.read, csv_of("\n".join(["path,label,split", *rows]))) == (
        "`split` must give the test either as 'test' or as both 'query' and 'gallery'. "
        f"Received: {received}"
    )


def test_a_class_on_two_sides_is_named(csv_of):
    rows = [f"{i}{split},class {i},{split}" for i in range(7) for split in ("train", "test")]
    path = csv_of("\n".join(["path,label,split", *rows, "e,even,train"]))
    listed = ", ".join(f"'class {i}' (test, train)" for i in range(5))
    assert message_of(csv_file.read, path) == (
        "`split` must give all images of a class to one side: the test is on classes never "
        "trained on. Move the classes as a whole, or leave `split` out, which takes the first "
        f"half of the classes for training. Received: {listed} and 2 more"
    )


@pytest.mark.parametrize(
    "text, found",
    [
        ("path,label\n", "no rows"),
        ("path,label\na,x\n,y\nb,\n,z\n", "lines 3, 5: path is empty; line 4: label is empty"),
        (
            "path,label\na,x\nb,y,z\nc\n",
            "line 3: 3 fields instead of 2; line 4: 1 fields instead of 2",
        ),
        ("path,label\na,x\nb,y\n./a,y\n", "line 4: another label for the path of line 2"),
        ("path,label\na,x\nb,y\na,x\n", "line 4: the image of line 2 again"),
        (
            "path,label,class_name\na,1,x\nb,2,y\nc,1,z\n",
            "line 4: another class_name for the label of line 2",
        ),
        (
            "path,label,split\na,x,train\nb,y,dev\nc,y,\n",
            "line 3: split is 'dev', not one of train, validation, test, query, gallery; "
            "line 4: split is '', not one of train, validation, test, query, gallery",
        ),
        (
            "path,label,left,top,right,bottom\na,x,5,0,5,9\nb,x,0,9,5,8\nc,x,,1,2,3\nd,x,0,0,1,1\n"
            "e,x,0,0,inf,1\nf,x,a,0,1,1\n",
            "lines 2, 3, 4, 6, 7: not a box of four numbers, left < right and top < bottom",
        ),
        (
            "path,label,box\na,x,0 0 1\nb,x,0 0 1 1 1\nc,x,0 0 1 1\n",
            "lines 2, 3: not a box of four numbers, left < right and top < bottom",
        ),
    ],
)
def test_rows_with_mistakes_are_listed_by_line(csv_of, text, found):
    assert mistakes(csv_of(text)) == found


def test_line_numbers_count_lines_of_the_file_not_rows(csv_of):
    assert mistakes(csv_of('path,label\n\n"a\nb",x\n\nc,\n')) == "line 6: label is empty"


def test_of_many_mistakes_the_first_are_shown(csv_of):
    shown = ", ".join(str(line) for line in range(2, 22))
    assert mistakes(csv_of("path,label\n" + "a,\n" * 1025)) == (
        f"lines {shown} and 1,005 more: label is empty"
    )


def test_one_name_for_two_classes_is_refused(csv_of):
    assert message_of(csv_file.read, csv_of("path,label,class_name\na,1,x\nb,2,x\n")) == (
        "Each class must have a name of its own. Received twice: ['x']"
    )


@pytest.mark.parametrize("first_line", ["image,label", "path|label", ""])
def test_a_header_without_path_and_label(csv_of, first_line):
    path = csv_of(f"{first_line}\na.jpg,x\n")
    assert message_of(csv_file.read, path) == (
        "`data_dir` must be a CSV file whose first line names the columns, among them path and "
        "label, separated by comma, semicolon or tab. "
        f"Received: data_dir={path}, first line {first_line!r}"
    )


def test_half_a_box_in_the_header(csv_of):
    path = csv_of("path,label,top,left\na,x,0,0\n")
    assert message_of(csv_file.read, path) == (
        "`data_dir` must be a CSV file with all of left, top, right, bottom, or box, or none of "
        f"them. Received: data_dir={path}, columns left, top"
    )


def test_a_column_that_is_named_twice(csv_of):
    path = csv_of("path,label,label\na,x,y\n")
    assert message_of(csv_file.read, path) == (
        f"`data_dir` must be a CSV file that names a column once. Received: data_dir={path}, "
        "twice: label"
    )


def test_columns_that_are_not_used_are_said(csv_of):
    path = csv_of(",path,label,spilt\n0,a,x,test\n1,b,y,train\n")
    with pytest.warns(UserWarning) as caught:
        csv_file.read(path)
    assert [str(w.message) for w in caught] == [f"Not used of {path}: columns '', 'spilt'"]


def test_another_encoding_is_refused(csv_of):
    path = csv_of("path,label\na,Möwe\n", encoding="latin-1")
    assert message_of(csv_file.read, path) == (
        "`data_dir` must be a CSV file in UTF-8 (spreadsheets save it as 'CSV UTF-8'). "
        f"Received: data_dir={path}, invalid start byte"
    )


def test_a_quotation_mark_that_is_not_closed(csv_of):
    path = csv_of('path,label\na,"x\nb,y\n')
    assert message_of(csv_file.read, path) == (
        "`data_dir` must be a CSV file, its quotation marks in pairs. "
        f"Received: data_dir={path}, line 3: unexpected end of data"
    )


def test_the_only_csv_file_of_a_folder(csv_of, tmp_path):
    csv_of("path,label\na,x\nb,y\n", "Vögel.CSV")
    csv_of("nothing", "._Vögel.csv")
    csv_of("nothing", "notes.txt")
    assert csv_file.read(tmp_path).images.name == "Vögel"
    csv_of("path,label\na,x\nb,y\n", "b.csv")
    assert message_of(csv_file.read, tmp_path) == (
        "`data_dir` must be a .csv file, or a folder with exactly one. "
        f"Received: data_dir={tmp_path}, which holds 2 (Vögel.CSV, b.csv)"
    )


def test_no_csv_file(tmp_path):
    rule = "`data_dir` must be a .csv file, or a folder with exactly one. Received: data_dir="
    missing = tmp_path / "missing"
    assert message_of(csv_file.read, None) == f"{rule}None"
    assert message_of(csv_file.read, missing) == f"{rule}{missing}, which does not exist"
    assert message_of(csv_file.read, tmp_path) == f"{rule}{tmp_path}, which holds 0"


# npz


@pytest.fixture
def npz_of(tmp_path):
    def write(**arrays):
        path = tmp_path / "vectors.npz"
        np.savez(path, **arrays)
        return path

    return write


FEATURES = np.arange(12, dtype=np.float16).reshape(4, 3)


@pytest.mark.parametrize("key", ["features", "embeddings"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_of_any_float_become_float32(npz_of, key, dtype):
    path = npz_of(**{key: FEATURES.astype(dtype)}, labels=np.array([30, 7, 30, 100], np.uint8))
    collection = npz_file.read(path)
    images = collection.images
    assert images.name == "vectors"
    assert images.features.dtype == np.float32
    np.testing.assert_array_equal(images.features, FEATURES)
    assert images.class_names == ("7", "30", "100")
    np.testing.assert_array_equal(images.labels, [1, 0, 1, 2])
    assert collection.sides == ("train", "train", "test")


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3)])
def test_images_stay_uint8(npz_of, shape):
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)
    read = npz_file.read(npz_of(images=images, labels=list("abab"))).images
    assert read.class_names == ("a", "b")
    assert read.images.dtype == np.uint8
    assert read.images.shape == ((4, 5, 6) if shape[2:] == (1,) else (4, *shape))
    np.testing.assert_array_equal(read.images.reshape(images.shape), images)


def test_labels_index_class_names(npz_of):
    names = ["zero", "one", "two", "three"]
    path = npz_of(features=FEATURES, labels=[[3], [1], [3], [0]], class_names=names)
    images = npz_file.read(path).images
    assert images.class_names == ("zero", "one", "three")
    np.testing.assert_array_equal(images.labels, [2, 1, 2, 0])


@pytest.mark.parametrize(
    "labels, strays", [([0, 2, -1, 9], "-1, 2, 9"), (["a", "0", "1", "1"], "a")]
)
def test_labels_that_do_not_index_class_names(npz_of, labels, strays):
    path = npz_of(features=FEATURES, labels=labels, class_names=["x", "y"])
    assert message_of(npz_file.read, path) == (
        f"`labels` must be indices of `class_names`. Received: labels {strays}; 2 class_names"
    )


def test_split_of_an_npz(npz_of):
    split = ["query", "train", "gallery", "Validation"]
    collection = npz_file.read(
        npz_of(features=FEATURES, labels=[b"x", b"y", b"x", b"z"], split=split)
    )
    assert collection.sides == ("test", "train", "validation")
    np.testing.assert_array_equal(collection.images.queries, [True, True, False, True])
    path = npz_of(features=FEATURES, labels=[1, 2, 1, 2], split=["train", "dev", "train", "dev"])
    assert message_of(npz_file.read, path) == (
        "`split` must be one of train, validation, test, query, gallery. Received: ['dev']"
    )


@pytest.mark.parametrize(
    "arrays, there",
    [
        ({"features": FEATURES}, "features"),
        ({"labels": [1]}, "labels"),
        (
            {"features": FEATURES, "embeddings": FEATURES, "labels": [1]},
            "features, embeddings, labels",
        ),
        ({"images": FEATURES, "features": FEATURES, "labels": [1]}, "images, features, labels"),
    ],
)
def test_an_npz_holds_labels_and_one_kind_of_content(npz_of, arrays, there):
    path = npz_of(**arrays)
    assert message_of(npz_file.read, path) == (
        "`data_dir` must be an .npz file with labels and exactly one of images, features and "
        f"embeddings. Received: data_dir={path}, with {there}"
    )


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 5, 5, 3), np.float32),
        np.zeros((4, 5, 5), np.uint16),
        np.zeros((4, 5, 5, 4), np.uint8),
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 0, 5), np.uint8),
    ],
)
def test_images_of_another_kind(npz_of, images):
    message = message_of(npz_file.read, npz_of(images=images, labels=[1, 2, 1, 2]))
    rule = "`images` must be (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8, pixels 0 to 255"
    assert message.startswith(rule)
    assert f"Received: shape {images.shape}, {images.dtype}" in message


@pytest.mark.parametrize("features", [FEATURES[0], FEATURES.astype(int), FEATURES[:0]])
def test_features_of_another_kind(npz_of, features):
    path = npz_of(embeddings=features, labels=[1, 2, 1, 2])
    assert message_of(npz_file.read, path) == (
        f"`embeddings` must be (N, F) floats. Received: shape {features.shape}, {features.dtype}; "
        f"data_dir={path}"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_features_that_are_not_finite_in_float32(npz_of, value):
    features = FEATURES.astype(np.float64)
    features[2, 1] = value
    path = npz_of(features=features, labels=[1, 2, 1, 2])
    assert message_of(npz_file.read, path) == (
        "`features` must be finite in float32. Received: NaN or infinity in 1 rows, such as [2]; "
        f"data_dir={path}"
    )


@pytest.mark.parametrize("labels", [np.eye(4), np.eye(4, dtype=int), np.ones(4), np.ones(4, bool)])
def test_labels_of_another_kind(npz_of, labels):
    assert message_of(npz_file.read, npz_of(features=FEATURES, labels=labels)) == (
        "`labels` must be (N,) integers or strings, at least one (of one-hot rows take the "
        f"argmax). Received: shape {labels.shape}, {labels.dtype}"
    )


def test_labels_and_splits_that_do_not_match(npz_of):
    assert message_of(npz_file.read, npz_of(features=FEATURES, labels=[1, 2, 1])) == (
        "`labels` must be as many as the features. Received: 3 labels, 4 features"
    )
    path = npz_of(features=FEATURES, labels=[1, 2, 1, 2], split=["train"] * 5)
    assert message_of(npz_file.read, path) == (
        "`split` must be as many as the features. Received: 5 split, 4 features"
    )


def test_an_empty_label(npz_of):
    assert message_of(npz_file.read, npz_of(features=FEATURES, labels=["a", "b", " ", "b"])) == (
        "`labels` must not be empty. Received: '' at index 2"
    )


def unreadable(key, path, reason):
    return (
        f"`{key}` must be a complete .npz file of numbers and strings, not of Python objects "
        f"(save names by `numpy.asarray(names, str)`). Received: data_dir={path}, {reason}"
    )


def test_python_objects_are_never_loaded(npz_of):
    path = npz_of(features=FEATURES, labels=np.array(["a", None, "a", "b"], object))
    reason = "which holds Python objects in 'labels.npy', which are not read"
    assert message_of(npz_file.read, path) == unreadable("data_dir", path, reason)


def test_a_truncated_npz_and_a_text_file(npz_of, tmp_path):
    path = npz_of(features=FEATURES, labels=[1, 2, 1, 2])
    text = tmp_path / "text.npz"
    path.write_bytes(path.read_bytes()[:-20])
    text.write_text("features", encoding="utf-8")
    for damaged in (path, text):
        reason = "which is no complete .npz file (File is not a zip file)"
        assert message_of(npz_file.read, damaged) == unreadable("data_dir", damaged, reason)


def test_an_npz_that_is_damaged_in_the_middle(npz_of):
    path = npz_of(features=np.ones((4, 500)), labels=[1, 2, 1, 2])
    content = bytearray(path.read_bytes())
    content[3000] ^= 255
    path.write_bytes(content)
    reason = "which is no complete .npz file (Bad CRC-32 for file 'features.npy')"
    assert message_of(npz_file.read, path) == unreadable("data_dir", path, reason)


def test_arrays_that_are_not_used_are_said(npz_of):
    path = npz_of(features=FEATURES, labels=[1, 2, 1, 2], paths=list("abcd"))
    with pytest.warns(UserWarning) as caught:
        npz_file.read(path)
    assert [str(w.message) for w in caught] == [f"Not used of {path}: arrays paths"]


def test_the_only_npz_file_of_a_folder(npz_of, tmp_path):
    npz_of(features=FEATURES, labels=[1, 2, 1, 2])
    assert len(npz_file.read(tmp_path).images) == 4
    with zipfile.ZipFile(tmp_path / "b.npz", "w"):
        pass
    assert message_of(npz_file.read, tmp_path).endswith("which holds 2 (b.npz, vectors.npz)")


# Any tf.data.Dataset


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def of_shapes(tf, shapes, dtype=np.uint8):
    """A dataset of images of these shapes, and the images; labels 20, 3, 100, 20, ..."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape).astype(dtype) for shape in shapes]
    labels = [(20, 3, 100)[i % 3] for i in range(len(shapes))]
    last = {len(shape) == 3 and shape[2] for shape in shapes}
    spec = (None, None, *last) if last != {False} else (None, None)
    dataset = tf.data.Dataset.from_generator(
        lambda: zip(images, labels, strict=True),
        output_signature=(tf.TensorSpec(spec, dtype), tf.TensorSpec((), tf.int64)),
    )
    return dataset, images


def test_images_of_one_shape_stay_in_memory(tf, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    dataset = tf.data.Dataset.from_tensor_slices((images, ["bee", "ant", "bee", "cät", "ant"]))
    calls = []
    folder = tmp_path / "unused"
    collection = export.from_dataset(
        dataset, "mine", folder=folder, progress=lambda *call: calls.append(call)
    )
    assert collection.images.name == "mine"
    assert collection.images.class_names == ("ant", "bee", "cät")
    assert collection.sides == ("train", "train", "test")
    np.testing.assert_array_equal(collection.images.labels, [1, 0, 1, 2, 0])
    np.testing.assert_array_equal(collection.images.images, images)
    assert calls == [(i, 5) for i in range(1, 6)]
    assert not folder.exists()


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 3)])
@pytest.mark.parametrize("label_shape", [(), (1,)])
def test_batched_or_not_is_the_same(tf, shape, label_shape):
    images = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)
    labels = np.reshape([5, 2, 5, 2, 5], (5, *label_shape))
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    single = export.from_dataset(dataset).images
    np.testing.assert_array_equal(single.images.reshape(images.shape), images)
    np.testing.assert_array_equal(single.labels, [1, 0, 1, 0, 1])
    if shape != (4, 3):  # a batch of images one or three pixels wide looks like one in colour
        batched = export.from_dataset(dataset.batch(3)).images
        np.testing.assert_array_equal(batched.images, single.images)
        np.testing.assert_array_equal(batched.labels, single.labels)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_floats_are_rounded(tf, dtype):
    images = tf.cast(tf.reshape([0.0, 1.4, 2.6, 255.0], (2, 2, 1)), dtype)
    read = export.from_dataset(
        tf.data.Dataset.from_tensor_slices((images, [0, 1])).map(
            lambda image, label: (image[None], label)
        )
    ).images
    np.testing.assert_array_equal(read.images, [[[0, 1]], [[3, 255]]])


def test_images_of_several_shapes_become_files(tf, tmp_path):
    shapes = [(5, 4, 3), (5, 4, 3), (6, 4, 3), (5, 4, 3), (5, 7, 3), (5, 4, 3)]
    dataset, images = of_shapes(tf, shapes)
    folder = tmp_path / "né w"
    names = [f"name {i}" for i in range(101)]
    collection = export.from_dataset(dataset, "mine", class_names=names, folder=folder)
    read = collection.images
    assert read.name == "mine"
    assert read.class_names == ("name 3", "name 20", "name 100")
    assert collection.sides == ("train", "train", "test")
    np.testing.assert_array_equal(read.labels, [1, 0, 2, 1, 0, 2])
    for path, image in zip(read.paths, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    # The same again from the index alone.
    assert csv_file.read(folder).images.class_names == read.class_names
    assert csv_file.read(folder).images.paths == read.paths
    assert [p.name for p in tmp_path.iterdir()] == ["né w"]


def test_grey_images_of_several_shapes(tf, tmp_path):
    dataset, images = of_shapes(tf, [(5, 4, 1), (6, 4, 1)], np.float32)
    read = export.from_dataset(dataset, folder=tmp_path).images
    for path, image in zip(read.paths, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image[..., 0])


def test_the_dataset_is_read_once(tf, tmp_path):
    reads = []

    def examples():
        reads.append(1)
        for height in (5, 5, 6):
            yield np.zeros((height, 5), np.uint8), height

    signature = (tf.TensorSpec((None, None), tf.uint8), tf.TensorSpec((), tf.int32))
    dataset = tf.data.Dataset.from_generator(examples, output_signature=signature)
    assert len(export.from_dataset(dataset, folder=tmp_path / "a").images) == 3
    assert len(reads) == 1


def test_files_are_removed_when_python_ends(tf, tmp_path, monkeypatch):
    at_end = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(atexit, "register", lambda *call, **names: at_end.append((call, names)))
    dataset, _ = of_shapes(tf, [(5, 4, 3), (6, 4, 3)])
    paths = export.from_dataset(dataset).images.paths
    assert all(path.startswith(str(tmp_path)) and os.path.exists(path) for path in paths)
    (((function, *arguments), names),) = at_end
    function(*arguments, **names)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty(tf, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    dataset, _ = of_shapes(tf, [(5, 4, 3), (6, 4, 3)])
    assert message_of(export.from_dataset, dataset, folder=tmp_path) == (
        f"`folder` must be new or empty. Received: folder={tmp_path}"
    )


def test_an_error_half_way_leaves_no_files(tf, tmp_path):
    dataset, _ = of_shapes(tf, [(5, 4, 3), (6, 4, 3), (0, 4, 3)])
    assert message_of(export.from_dataset, dataset, folder=tmp_path / "a") == (
        "`dataset` must have images (H, W, 3), (H, W, 1) or (H, W), or batches of them, with a "
        "label each. Received: image (0, 4, 3), label ()"
    )
    assert list(tmp_path.iterdir()) == []


FINITE = "`dataset` must be a finite tf.data.Dataset of (image, label). Received: "


def test_what_is_no_finite_dataset_of_pairs(tf):
    images = np.zeros((4, 5, 5), np.uint8)
    assert message_of(export.from_dataset, [(images, [1] * 4)]) == f"{FINITE}list"
    dataset = tf.data.Dataset.from_tensor_slices((images, [1, 2, 1, 2]))
    assert message_of(export.from_dataset, dataset.repeat()) == (
        f"{FINITE}one without end (leave out repeat(), or end it with take(n))"
    )
    alone = tf.data.Dataset.from_tensor_slices(images)
    named = dataset.map(lambda image, label: {"image": image, "label": label})
    ragged = dataset.ragged_batch(2).map(lambda i, l: (tf.RaggedTensor.from_tensor(i), l))  # noqa: E741
    for other in (alone, named, ragged):
        assert message_of(export.from_dataset, other) == f"{FINITE}{other.element_spec}"
    assert message_of(export.from_dataset, dataset.take(0)) == (
        "`dataset` must hold at least one image. Received: an empty dataset"
    )


def test_images_and_labels_of_another_kind(tf):
    def message(images, labels):
        return message_of(export.from_dataset, tf.data.Dataset.from_tensor_slices((images, labels)))

    grey = np.zeros((4, 5, 5), np.uint8)
    assert message(grey.astype(np.int32), [1, 2, 1, 2]) == (
        "`dataset` must have images of uint8, or floats in 0..255. Received: int32"
    )
    assert message(grey, np.eye(4, dtype=np.float32)) == (
        "`dataset` must have labels that are integers or strings, one each (of one-hot rows take "
        "the argmax). Received: float32"
    )
    assert message(np.zeros((4, 5, 5, 3), np.uint8), np.eye(4, dtype=int)) == (
        "`labels` must be (N,) integers or strings, at least one (of one-hot rows take the "
        "argmax). Received: shape (1, 4), int64"
    )
    assert message(np.zeros((4, 5, 5, 4), np.uint8), [1, 2, 1, 2]) == (
        "`dataset` must have images (H, W, 3), (H, W, 1) or (H, W), or batches of them, with a "
        "label each. Received: image (5, 5, 4), label ()"
    )


@pytest.mark.parametrize("count", [3, 150])
def test_pixels_in_0_to_1(tf, count):
    images = np.full((count, 2, 2), 0.5, np.float32)
    images[0] = 1
    dataset = tf.data.Dataset.from_tensor_slices((images, np.arange(count)))
    assert message_of(export.from_dataset, dataset) == (
        "`dataset` must have pixels in 0..255: multiply images in 0..1 by 255. "
        "Received: floats of at most 1.0"
    )


def test_pixels_in_0_to_1_are_seen_before_all_are_read(tf):
    def examples():
        for _ in range(100):
            yield np.zeros((2, 2), np.float32), 1
        pytest.fail("read on")

    signature = (tf.TensorSpec((2, 2), tf.float32), tf.TensorSpec((), tf.int32))
    dataset = tf.data.Dataset.from_generator(examples, output_signature=signature)
    assert message_of(export.from_dataset, dataset).endswith("Received: floats of at most 0.0")


def test_dark_images_of_uint8_are_images(tf):
    dataset = tf.data.Dataset.from_tensor_slices((np.ones((2, 5, 5), np.uint8), [1, 2]))
    assert len(export.from_dataset(dataset).images) == 2


@pytest.mark.parametrize(
    "low, high, received",
    [(-1, 1, "-1.0 to 1.0"), (0, 256, "0.0 to 256.0"), (0, np.nan, "nan to nan")],
)
def test_pixels_beyond_0_to_255(tf, low, high, received):
    images = np.zeros((3, 2, 2), np.float32)
    images[1] = [[low, high]] * 2
    dataset = tf.data.Dataset.from_tensor_slices((images, [1, 2, 1]))
    assert message_of(export.from_dataset, dataset) == (
        f"`dataset` must have pixels in 0..255. Received: {received} in image 1"
    )


def test_labels_of_a_dataset_that_do_not_index_class_names(tf):
    dataset = tf.data.Dataset.from_tensor_slices((np.ones((2, 5, 5), np.uint8), [1, 2]))
    assert message_of(export.from_dataset, dataset, class_names=["a", "b"]) == (
        "`labels` must be indices of `class_names`. Received: labels 2; 2 class_names"
    )


# The folder that takes images and their index


def test_a_kill_leaves_nothing_that_looks_complete(tmp_path):
    script = (
        "import os, sys\n"
        "from mdl_tf.datasets.own import index\n"
        "def examples():\n"
        "    yield index.Example('a/0.png', b'x', '1')\n"
        "    print('written', flush=True)\n"
        "    sys.stdin.read()\n"
        "index.write(sys.argv[1], examples())\n"
    )
    folder = tmp_path / "images"
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        writer.stdout.readline()
        (begun,) = tmp_path.iterdir()
        assert begun.name.startswith(".unfinished-images-")
        # Another process may write the same folder at that time; it leaves the first one's alone.
        index.write(tmp_path / "images", [index.Example("b.png", b"y", "2")])
        assert (begun / "a" / "0.png").exists()
        writer.kill()
    assert begun.exists()
    (folder / "b.png").unlink()
    (folder / "index.csv").unlink()
    path = index.write(folder, [index.Example("c.png", b"z", "3", "three", (1, 2, 3, 4))])
    assert path.read_text(encoding="utf-8").splitlines() == [
        "path,label,class_name,left,top,right,bottom",
        "c.png,3,three,1,2,3,4",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    folder = tmp_path / "file" / "images"
    message = message_of(index.write, folder, [])
    assert message == (
        "`folder` must be new or empty, writable, and have room for the images; what was "
        "written is removed again. "
        f"Received: folder={folder}, File exists"
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("", encoding="utf-8")
    message = message_of(index.write, tmp_path / "full", [])
    assert message.endswith(f"folder={tmp_path / 'full'}, Directory not empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]
