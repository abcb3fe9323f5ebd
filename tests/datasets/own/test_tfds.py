"""Builders of tensorflow-datasets: a tiny one, made here, prepared in a temporary folder."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mdl_tf.datasets.own import csv_file, index, tfds, tfds_builder
from mdl_tf.datasets.papers import sources

tensorflow_datasets = pytest.importorskip("tensorflow_datasets")

NAMES = ("wren", "ant", "moth", "bee")
SIZES = ((20, 10), (13, 17), (8, 8))  # width, height
BOX = tensorflow_datasets.features.BBox(ymin=0.1, xmin=0.25, ymax=0.5, xmax=1.0)


def encoded(i, kind="JPEG"):
    width, height = SIZES[i % 3]
    pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


class _Tiny(tensorflow_datasets.core.GeneratorBasedBuilder):
    """Six images for training and four for the test, of four classes; JPEG but every fourth PNG."""

    VERSION = tensorflow_datasets.core.Version("1.2.0")
    SUPPORTED_VERSIONS = [tensorflow_datasets.core.Version("1.10.0")]
    skip = 0

    def _features(self):
        features = tensorflow_datasets.features
        return {
            "image": features.Image(shape=(None, None, 3)),
            "label": features.ClassLabel(names=NAMES),
            "bbox": features.BBoxFeature(),
            "mask": features.Image(shape=(None, None, 1)),
            "colour": features.ClassLabel(num_classes=3),
        }

    def _info(self):
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=tensorflow_datasets.features.FeaturesDict(self._features()),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(range(6)),
            "test": self._generate_examples(range(6, 10)),
        }

    def _generate_examples(self, numbers):
        for i in numbers:
            all_features = {
                "image": io.BytesIO(encoded(i, "JPEG" if i % 4 else "PNG")),
                "label": i % 4,
                "bbox": BOX,
                "mask": np.zeros((4, 4, 1), np.uint8),
                "colour": i % 3,
            }
            yield i, {name: all_features[name] for name in self._features()}


class TinyBirds(_Tiny):
    """As it is."""


class NoImages(_Tiny):
    """No image."""

    def _features(self):
        return {"label": super()._features()["label"]}

    def _info(self):
        info = super()._info()
        info._supervised_keys = None
        return info


class ManyLabels(_Tiny):
    """Two class labels, none of them called label or supervised."""

    def _features(self):
        features = super()._features()
        return {"image": features["image"], "colour": features["colour"], "kind": features["label"]}

    def _info(self):
        return tensorflow_datasets.core.DatasetInfo(
            builder=self, features=tensorflow_datasets.features.FeaturesDict(self._features())
        )

    def _generate_examples(self, numbers):
        for i in numbers:
            yield i, {"image": io.BytesIO(encoded(i)), "colour": i % 3, "kind": i % 4}


class HiddenLabels(_Tiny):
    """The labels of the test are not known, one box is empty and one in pixels."""

    def _features(self):
        box = tensorflow_datasets.features.BBoxFeature(bbox_format=None)
        return {**super()._features(), "bbox": box}

    def _generate_examples(self, numbers):
        empty = tensorflow_datasets.features.BBox(ymin=0.0, xmin=0.5, ymax=1.0, xmax=0.5)
        pixels = tensorflow_datasets.features.BBox(ymin=1.0, xmin=2.0, ymax=5.0, xmax=6.0)
        for i, example in super()._generate_examples(numbers):
            box = {1: empty, 3: pixels}.get(i, BOX)
            yield i, {**example, "label": i if i < 4 else -1, "bbox": box}


class NeedsDownload(_Tiny):
    """Nothing of it can be fetched."""

    def _split_generators(self, dl_manager):
        raise OSError("no route to host\nand many more lines")


BUILDERS = (TinyBirds, NoImages, ManyLabels, HiddenLabels)


def message_of(*arguments, **settings):
    with pytest.raises(ValueError) as caught:
        tfds.read(*arguments, **settings)
    return str(caught.value)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the data of tensorflow-datasets, all prepared."""
    folder = tmp_path_factory.mktemp("prepared")
    for builder in BUILDERS:
        builder(data_dir=str(folder)).download_and_prepare()
    return folder


@pytest.fixture
def data_dir(prepared, tmp_path):
    """A folder of the data sets of one test, which sees the prepared data."""
    for folder in prepared.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    return tmp_path


def number_of(path):
    """Which image of the builder a file holds."""
    with open(path, "rb") as file:
        content = file.read()
    (number,) = (i for i in range(10) if content == encoded(i, "JPEG" if i % 4 else "PNG"))
    return number


def test_all_splits_are_exported_as_they_are_stored(data_dir):
    calls = []
    collection = tfds.read("tiny_birds", data_dir, lambda *call: calls.append(call))
    images = collection.images
    assert images.name == "tfds:tiny_birds"
    assert images.class_names == NAMES, "in the order of the builder"
    assert collection.sides == ("train", "train", "test", "test")
    numbers = [number_of(path) for path in images.paths]
    assert sorted(numbers) == list(range(10))
    np.testing.assert_array_equal(images.labels, np.asarray(numbers) % 4)
    folder = data_dir / "tfds-export" / "tiny_birds-1.2.0"
    for path, number in zip(images.paths, numbers, strict=True):
        split = "train" if number < 6 else "test"
        assert path.startswith(str(folder / split))
        assert path.endswith(".jpg" if number % 4 else ".png")
        width, height = SIZES[number % 3]
        box = images.boxes[numbers.index(number)]
        expected = (0.25 * width, 0.1 * height, width, 0.5 * height)
        np.testing.assert_allclose(box, expected, atol=1e-5)
    assert calls == [(i, 10) for i in range(1, 11)]
    assert [p.name for p in folder.parent.iterdir()] == ["tiny_birds-1.2.0"]
    assert csv_file.read(folder).images.class_names == NAMES


def test_an_export_is_read_again_without_tensorflow(data_dir):
    paths = tfds.read("tiny_birds", data_dir).images.paths
    script = (
        "import sys\n"
        "from mdl_tf.datasets.own import tfds\n"
        "print(tfds.read('tiny_birds', sys.argv[1]).images.paths)\n"
        "print({'tensorflow', 'tensorflow_datasets', 'keras'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(data_dir)], check=True, capture_output=True, text=True
    )
    assert done.stdout == f"{paths}\nset()\n"


def test_the_newest_version_that_is_exported_or_the_one_asked_for(tmp_path):
    exports = tmp_path / "tfds-export"
    for folder in ("b-1.9.0", "b-1.10.0", "b-small-2.0.0", "b@kind-3.0.0", "bb-4.0.0"):
        examples = [index.Example(f"{i}.png", b"", f"{folder} {i}") for i in range(2)]
        index.write(exports / folder, examples)

    def first_class(name):
        return tfds.read(name, tmp_path).images.class_names[0]

    assert first_class("b") == "b-1.10.0 0"
    assert first_class("b:1.9.0") == "b-1.9.0 0"
    assert first_class("b/small") == "b-small-2.0.0 0"
    assert first_class("b@kind") == "b@kind-3.0.0 0"


def test_an_export_that_was_cut_short_is_made_anew(data_dir, monkeypatch):
    complete = tfds_builder.examples

    def cut_short(*arguments):
        for i, example in enumerate(complete(*arguments)):
            if i == 5:
                raise KeyboardInterrupt
            yield example

    monkeypatch.setattr(tfds_builder, "examples", cut_short)
    with pytest.raises(KeyboardInterrupt):
        tfds.read("tiny_birds", data_dir)
    assert list((data_dir / "tfds-export").iterdir()) == []
    monkeypatch.undo()
    assert len(tfds.read("tiny_birds", data_dir).images) == 10


def test_data_in_the_own_folder_of_tensorflow_datasets(prepared, tmp_path, monkeypatch):
    builder = tensorflow_datasets.builder

    def with_own_folder(name, data_dir=None):
        return builder(name, data_dir=data_dir or str(prepared))

    monkeypatch.setattr(tensorflow_datasets, "builder", with_own_folder)
    assert len(tfds.read("tiny_birds", tmp_path).images) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["tfds-export"]


def test_data_that_are_not_there_are_prepared(tmp_path):
    assert len(tfds.read("tiny_birds:1.2.0", tmp_path).images) == 10
    assert (tmp_path / "tiny_birds" / "1.2.0").is_dir()


def test_a_class_label_by_its_name(data_dir):
    images = tfds.read("tiny_birds@colour", data_dir).images
    assert images.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(images.labels, [number_of(path) % 3 for path in images.paths])
    assert len(tfds.read("tiny_birds", data_dir).images.class_names) == 4


def test_of_several_class_labels_one_has_to_be_chosen(data_dir):
    assert message_of("many_labels", data_dir) == (
        "`name` must be a builder with one class label (choose one by NAME@LABEL). "
        "Received: colour, kind"
    )
    assert tfds.read("many_labels@kind", data_dir).images.class_names == NAMES
    assert message_of("many_labels@image", data_dir) == (
        "`name` must end in @ and a class label. Received: @image; many_labels has colour, kind"
    )


def test_what_has_no_image(data_dir):
    assert message_of("no_images", data_dir) == (
        "`name` must be a builder with one image. Received: none"
    )


def test_the_label_that_the_papers_take_of_stanford_online_products():
    builder = tensorflow_datasets.builder("stanford_online_products", data_dir="/nowhere")
    assert tfds_builder.features(builder) == ("image", "class_id", None)
    builder = tensorflow_datasets.builder("caltech_birds2011", data_dir="/nowhere")
    assert tfds_builder.features(builder) == ("image", "label", "bbox")


def test_images_without_a_label_and_empty_boxes_are_said(data_dir):
    with pytest.warns(UserWarning) as caught:
        images = tfds.read("hidden_labels", data_dir).images
    said = [str(w.message) for w in caught if str(w.message).startswith("Left out")]
    assert said == [
        "Left out of hidden_labels: 6 of 10 images have no label.",
        "Left out of hidden_labels: 2 of 10 boxes are no boxes.",
    ]
    assert sorted(number_of(path) for path in images.paths) == [0, 1, 2, 3]
    empty = [number_of(path) in (1, 3) for path in images.paths]
    np.testing.assert_array_equal(np.isnan(images.boxes), np.repeat(empty, 4).reshape(4, 4))


def test_an_unknown_builder_names_near_ones(tmp_path):
    assert message_of("oxford_flower102:1.0.0", tmp_path) == (
        "`name` must be a builder of tensorflow-datasets. "
        "Received: oxford_flower102, near oxford_flowers102, tf_flowers"
    )


@pytest.mark.parametrize("name", ["", "birds:1.2", "birds@", "a b", "../birds", "group:birds"])
def test_a_name_in_another_form(name, tmp_path):
    assert message_of(name, tmp_path) == (
        f"`name` must be NAME[/CONFIG][:VERSION][@LABEL], VERSION as 1.2.3. Received: {name!r}"
    )


def test_what_cannot_be_prepared_says_why_and_what_to_do(tmp_path, monkeypatch):
    assert message_of("needs_download", tmp_path) == (
        "`name` must be a builder of tensorflow-datasets that can be prepared. Prepare it by "
        "tensorflow-datasets alone, or give the images as 'folder' or 'csv'. "
        "Received: needs_download, OSError: no route to host"
    )
    monkeypatch.setitem(tfds.PAPERS, "needs_download", "sop")
    assert message_of("needs_download", tmp_path) == (
        "`name` must be a builder of tensorflow-datasets that can be prepared. Use the data set "
        "'sop' with the original files instead. "
        "Received: needs_download, OSError: no route to host"
    )
    assert not (tmp_path / "tfds-export").exists()


ADVICE = "Install a package that is missing: pip install "


def test_tensorflow_datasets_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert message_of("tiny_birds", tmp_path) == (
        "`name` must be a data set that can be read with the packages installed. "
        f"{ADVICE}tensorflow_datasets. Received: tfds, ModuleNotFoundError: import of "
        "tensorflow_datasets halted; None in sys.modules"
    )


def test_a_package_that_a_builder_needs_is_missing(tmp_path, monkeypatch):
    def construct(self, **_):
        try:
            raise ModuleNotFoundError("No module named 'a'", name="importlib_resources.abc")
        except ModuleNotFoundError as error:
            raise RuntimeError("Failed to construct") from error

    monkeypatch.setattr(TinyBirds, "__init__", construct)
    assert message_of("tiny_birds", tmp_path) == (
        "`name` must be a builder of tensorflow-datasets that can be prepared. "
        f"{ADVICE}importlib_resources. Received: tiny_birds, RuntimeError: Failed to construct "
        "dataset \"tiny_birds\", builder_kwargs \"{'data_dir': '" + str(tmp_path) + "'}\": "
        "Failed to construct"
    )


def exported(folder, images_of_class):
    """An export with so many images of each class, named so that their order is not that of ids."""
    labels = [label for label, count in enumerate(images_of_class) for _ in range(count)]
    names = [f"{9 - label % 10} of {label}" for label in range(len(images_of_class))]
    examples = (
        index.Example(f"{i}.jpg", b"", str(label), names[label]) for i, label in enumerate(labels)
    )
    index.write(folder, examples)
    return tuple(names)


def test_the_papers_split_the_classes_in_the_order_of_the_builder(tmp_path, monkeypatch):
    counts = dict(
        zip(
            ("training classes", "training images", "test classes", "test images"),
            (3, 7, 1, 4),
            strict=True,
        )
    )
    row = sources.OFFICIAL["cub200"]._replace(counts=counts)
    monkeypatch.setitem(sources.OFFICIAL, "cub200", row)
    folder = tmp_path / "tfds-export" / "caltech_birds2011-0.2.0"
    names = exported(folder, [2, 3, 2, 4])
    collection = tfds.read("caltech_birds2011", tmp_path)
    assert collection.images.class_names == names
    assert collection.sides == ("train", "train", "train", "test")
    exported(tmp_path / "tfds-export" / "caltech_birds2011@colour-0.2.0", [1, 1])
    by_colour = tfds.read("caltech_birds2011@colour", tmp_path)
    assert by_colour.sides == ("train", "test"), "other classes than in the papers"
    monkeypatch.setitem(counts, "training images", 8)
    monkeypatch.setitem(counts, "test images", 3)
    assert message_of("caltech_birds2011", tmp_path) == (
        "`name` must hold all of cub200 (CUB-200-2011): 8 training images, 3 test images. "
        f"Received: 7 training images, 4 test images, in {folder}"
    )


def test_the_counts_of_the_papers_are_checked(tmp_path):
    per_side = {
        "caltech_birds2011": ((100, 5_864), (100, 5_924)),
        "cars196": ((98, 8_054), (98, 8_131)),
    }
    for name, sides in per_side.items():
        images_of_class = []
        for classes, images in sides:
            images_of_class += [images // classes + (c < images % classes) for c in range(classes)]
        folder = tmp_path / "tfds-export" / f"{name}-9.0.0"
        folder.mkdir(parents=True)
        rows = [f"{c}-{i}.jpg,{c}" for c, count in enumerate(images_of_class) for i in range(count)]
        (folder / "index.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
        collection = tfds.read(name, tmp_path)
        assert collection.sides.count("train") == sides[0][0]
        (folder / "index.csv").write_text("\n".join(["path,label", *rows[1:]]), encoding="utf-8")
        assert message_of(name, tmp_path).endswith(
            f"{sides[0][1] - 1:,} training images, in {folder}"
        )
