"""The data sets of the papers: every layout in circulation, counts, and what is said if not."""

import re
import shutil

import numpy as np
import pytest
from helpers import small_trees
from scipy.io import loadmat

from mdl_tf import datasets
from mdl_tf.datasets.papers import official

NAMES = sorted(official.OFFICIAL)
LABELS = np.repeat(np.arange(7), small_trees.IMAGES_PER_CLASS)
SIDES = ("train",) * 4 + ("test",) * 3


@pytest.fixture(autouse=True)
def small_counts(monkeypatch):
    for name in NAMES:
        small_trees.expect(monkeypatch, name)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder where data sets are looked for without `data_dir`."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("MDL_TF_HOME", str(folder))
    return folder


def message(function, *arguments):
    with pytest.raises(ValueError) as caught:
        function(*arguments)
    return str(caught.value)


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def make_cars_archives(folder):
    small_trees.cars196(folder)
    small_trees.pack(folder / "car_ims.tgz", folder / "car_ims")


def make_cars_zip(folder):
    small_trees.cars196(folder)
    small_trees.pack(folder / "CARS196.zip", folder / "car_ims", folder / "cars_annos.mat")


def make_cars_zip_with_a_folder(folder):
    inner = folder / "cars196"
    inner.mkdir()
    small_trees.cars196(inner)
    small_trees.pack(folder / "CARS196.zip", inner)


def make_cars_devkit_archives(folder):
    small_trees.cars196_devkit(folder)
    for archive, entry in (
        ("cars_train.tgz", "cars_train"),
        ("cars_test.tgz", "cars_test"),
        ("car_devkit.tgz", "devkit"),
    ):
        small_trees.pack(folder / archive, folder / entry)


def make_cars_devkit_with_labels_inside(folder):
    small_trees.cars196_devkit(folder)
    labelled = folder / "cars_test_annos_withlabels.mat"
    labelled.rename(folder / "devkit" / labelled.name)


def make_cub_archive(folder):
    root = small_trees.cub200(folder)
    small_trees.pack(folder / "CUB_200_2011.tgz", root, folder / "attributes.txt")


def make_sop_archive(folder):
    small_trees.pack(folder / "Stanford_Online_Products.zip", small_trees.sop(folder))


def make_inshop_archive(folder):
    small_trees.inshop(folder)
    small_trees.pack(folder / "Img" / "img.zip", folder / "Img" / "img")


def make_inshop_archive_beside_the_list(folder):
    small_trees.inshop(folder, official_folders=False)
    small_trees.pack(folder / "img.zip", folder / "img")


LAYOUTS = {
    "cub200": ("cub200", small_trees.cub200),
    "cub200 archive": ("cub200", make_cub_archive),
    "cars196": ("cars196", small_trees.cars196),
    "cars196 archives": ("cars196", make_cars_archives),
    "cars196 zip": ("cars196", make_cars_zip),
    "cars196 zip with a folder": ("cars196", make_cars_zip_with_a_folder),
    "cars196 devkit": ("cars196", small_trees.cars196_devkit),
    "cars196 devkit archives": ("cars196", make_cars_devkit_archives),
    "cars196 devkit, labels inside": ("cars196", make_cars_devkit_with_labels_inside),
    "cars196 Kaggle": ("cars196", lambda folder: small_trees.cars196_devkit(folder, nested=True)),
    "cars196 class folders": ("cars196", small_trees.cars196_class_folders),
    "sop": ("sop", small_trees.sop),
    "sop archive": ("sop", make_sop_archive),
    "inshop": ("inshop", small_trees.inshop),
    "inshop archive": ("inshop", make_inshop_archive),
    "inshop, list and images": (
        "inshop",
        lambda folder: small_trees.inshop(folder, official_folders=False),
    ),
    "inshop archive beside the list": ("inshop", make_inshop_archive_beside_the_list),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_all_images_with_labels_and_sides(layout, tmp_path):
    name, make = LAYOUTS[layout]
    folder = tmp_path / "my data, Größe 1"
    folder.mkdir()
    make(folder)

    collection = official.read(name, folder)

    images = collection.images
    assert images.name == name
    assert len(set(images.paths)) == len(images) == 21
    for path in images.paths:
        with open(path, "rb") as file:
            assert file.read(2) == b"\xff\xd8"
    assert np.bincount(images.labels).tolist() == [3] * 7
    assert images.labels.dtype == np.int64
    assert sorted(collection.sides) == sorted(SIDES)
    assert collection.problems == ()
    assert official.state(name, folder).kind == "ready"


@pytest.mark.parametrize("where", ["its root", "beside its root", "folder of its name", "home"])
@pytest.mark.parametrize("name", NAMES)
def test_data_dir_is_the_root_or_holds_it_or_a_folder_of_its_name(name, where, tmp_path, home):
    holder = {"folder of its name": tmp_path / name, "home": home / name}.get(where, tmp_path / "x")
    if name in ("cars196", "inshop") and where == "beside its root":
        reader_folder = {"cars196": "CARS196", "inshop": "In-shop Clothes Retrieval Benchmark"}
        holder = holder / reader_folder[name]
    holder.mkdir(parents=True)
    root = getattr(small_trees, name)(holder)
    given = {"its root": root, "beside its root": tmp_path / "x", "home": None}
    collection = official.read(name, given.get(where, tmp_path))
    assert official.state(name, given.get(where, tmp_path)) == ("ready", str(root))
    assert all(path.startswith(str(root)) for path in collection.images.paths)


def test_cub200_merges_its_halves_and_splits_by_class(tmp_path):
    root = small_trees.cub200(tmp_path)
    collection = official.read("cub200", tmp_path)
    images = collection.images
    assert images.class_names == tuple(small_trees.BIRDS.values())
    assert collection.sides == SIDES
    assert images.labels.tolist() == LABELS.tolist()
    first = "images/001.Black_footed_Albatross/Black_footed_Albatross_0001_5037.jpg"
    assert images.paths[0] == str(root / first)
    assert images.boxes.dtype == np.float32
    # From left, top, width, height.
    assert images.boxes[:3].tolist() == [[2, 3, 22, 13], [3, 3, 23, 14], [4, 3, 24, 15]]


def test_cub200_joins_its_tables_by_id_and_not_by_line(tmp_path):
    root = small_trees.cub200(tmp_path)
    expected = official.read("cub200", tmp_path).images
    for name in ("image_class_labels.txt", "bounding_boxes.txt", "classes.txt"):
        lines = (root / name).read_text(encoding="utf-8").splitlines()
        small_trees.write(root / name, lines[::-1])
    images = official.read("cub200", tmp_path).images
    assert images.labels.tolist() == expected.labels.tolist()
    assert images.class_names == expected.class_names
    assert images.boxes.tolist() == expected.boxes.tolist()


@pytest.mark.parametrize(
    ("file", "old", "new", "wrong"),
    [
        ("image_class_labels.txt", "7 99\n", "", "['7']"),
        ("bounding_boxes.txt", "\n21 ", "\n22 ", "['21', '22']"),
        ("images.txt", "\n12 ", "\n11 ", "['11', '12']"),
        ("image_class_labels.txt", "\n12 ", "\n11 ", "['11', '12']"),
    ],
)
def test_cub200_ids_that_do_not_match_are_an_error(file, old, new, wrong, tmp_path):
    root = small_trees.cub200(tmp_path)
    change(root / file, old, new)
    other = "image_class_labels.txt" if file == "images.txt" else file
    assert message(official.read, "cub200", tmp_path) == (
        f"`data_dir` must hold an images.txt and a {other} with the same ids, each once. "
        f"Received: {root}, where they differ in, or repeat, the ids {wrong}"
    )


def test_a_class_without_a_name_is_an_error(tmp_path):
    root = small_trees.cub200(tmp_path)
    change(root / "classes.txt", "102 ", "103 ")
    assert message(official.read, "cub200", tmp_path) == (
        "`data_dir` must hold a name for each class of cub200. "
        "Received: no name for the classes [102]"
    )


def test_a_cut_off_line_and_a_word_for_a_number_are_errors(tmp_path):
    root = small_trees.cub200(tmp_path)
    change(root / "bounding_boxes.txt", "\n3 4.0 3.0 20.0 12.0", "\n3 4.0 3.0")
    assert message(official.read, "cub200", tmp_path) == (
        "`data_dir` must hold text files as in the original, here with 5 fields in each line. "
        f"Received: '3 4.0 3.0' in {root / 'bounding_boxes.txt'}"
    )
    change(root / "image_class_labels.txt", "\n2 1\n", "\n2 one\n")
    assert message(official.read, "cub200", tmp_path) == (
        "`data_dir` must hold text files with numbers where the original has them. "
        "Received: invalid literal for int() with base 10: 'one', "
        f"in {root / 'image_class_labels.txt'}"
    )


def test_a_table_that_is_not_text_is_an_error(tmp_path):
    root = small_trees.cub200(tmp_path)
    (root / "images.txt").write_bytes(b"1 \xff\xfe\n")
    text = message(official.read, "cub200", tmp_path)
    start = "`data_dir` must hold text files that can be read. Received: "
    assert text.startswith(f"{start}{root / 'images.txt'}, 'utf-8' codec can't decode")


CAR_BOXES = [[copy, 1, 20 + number % 10, 24] for number in small_trees.CARS for copy in range(3)]


def test_cars196_in_one_folder(tmp_path):
    small_trees.cars196(tmp_path)
    collection = official.read("cars196", tmp_path)
    images = collection.images
    assert images.class_names == tuple(small_trees.CARS.values())
    assert collection.sides == SIDES
    assert images.labels.tolist() == LABELS.tolist()
    assert images.paths[0] == str(tmp_path / "car_ims/000001.jpg")
    assert images.paths[-1] == str(tmp_path / "car_ims/000021.jpg")
    # From pixels counted from 1, the last one inside.
    assert images.boxes.tolist() == CAR_BOXES
    assert images.boxes.dtype == np.float32


@pytest.mark.parametrize("nested", [False, True])
def test_cars196_devkit_is_the_same_data_set(nested, tmp_path):
    small_trees.cars196_devkit(tmp_path, nested)
    collection = official.read("cars196", tmp_path)
    images = collection.images
    assert images.class_names == tuple(small_trees.CARS.values())
    assert collection.sides == SIDES
    # Each class has two images in cars_train, one in cars_test; those follow.
    assert images.labels.tolist() == [*np.repeat(np.arange(7), 2), *range(7)]
    nest = "cars_train/cars_train" if nested else "cars_train"
    assert images.paths[1] == str(tmp_path / nest / "00002.jpg")
    assert images.paths[14] == str(tmp_path / nest.replace("train", "test") / "00001.jpg")
    in_train = [i for i in range(21) if i % 3 != 1]
    assert images.boxes.tolist() == [CAR_BOXES[i] for i in in_train] + CAR_BOXES[1::3]


def test_cars196_class_folders_have_the_official_order_and_boxes(tmp_path):
    small_trees.cars196_class_folders(tmp_path)
    collection = official.read("cars196", tmp_path)
    images = collection.images
    assert images.class_names == tuple(small_trees.CARS.values())
    assert collection.sides == SIDES
    where = {path: i for i, path in enumerate(images.paths)}
    slash = tmp_path / "car_data/car_data/test/Ram C-V Cargo Van Minivan 2012/00006.jpg"
    assert images.class_names[images.labels[where[str(slash)]]] == "Ram C/V Cargo Van Minivan 2012"
    assert images.boxes[where[str(slash)]].tolist() == [1, 1, 24, 24]
    for label in range(7):
        boxes = images.boxes[images.labels == label].tolist()
        assert sorted(boxes) == CAR_BOXES[3 * label : 3 * label + 3]


def test_cars196_class_folders_without_tables_have_the_same_sides(tmp_path):
    small_trees.cars196_class_folders(tmp_path)
    for name in ("names.csv", "anno_train.csv", "anno_test.csv"):
        (tmp_path / name).unlink()
    hidden = tmp_path / "car_data/car_data/train" / "._FIAT 500 Abarth 2012"
    hidden.write_bytes(b"macOS")
    collection = official.read("cars196", tmp_path)
    names = [name.replace("/", "-") for name in small_trees.CARS.values()]
    assert collection.images.class_names == tuple(sorted(names))
    assert collection.images.boxes is None
    sides = dict(zip(collection.images.class_names, collection.sides, strict=True))
    assert [sides[name] for name in names] == list(SIDES)


def test_cars196_class_folder_that_names_csv_does_not_know(tmp_path):
    small_trees.cars196_class_folders(tmp_path)
    change(tmp_path / "names.csv", "Eagle Talon Hatchback 1998", "Eagle Talon 1998")
    assert message(official.read, "cars196", tmp_path) == (
        "`data_dir` must hold a names.csv with the names of all class folders. Received: "
        f"{tmp_path / 'names.csv'}, without ['Eagle Talon Hatchback 1998']"
    )


def test_cars196_class_folders_with_an_image_that_has_no_box(tmp_path):
    small_trees.cars196_class_folders(tmp_path)
    change(tmp_path / "anno_test.csv", "00003.jpg", "00033.jpg")
    assert message(official.read, "cars196", tmp_path) == (
        "`data_dir` must hold tables with a box for each image, or no tables. Received: "
        f"{tmp_path / 'anno_test.csv'}, without ['00003.jpg']"
    )


def test_cars196_devkit_without_labels_of_the_test_says_so(tmp_path):
    small_trees.cars196_devkit(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    missing = (
        "devkit/cars_test_annos_withlabels.mat (not in car_devkit.tgz, whose "
        "cars_test_annos.mat has no labels)"
    )
    text = message(official.read, "cars196", tmp_path)
    assert f"A part is in {tmp_path}. Missing there: {missing}.\n" in text
    assert f"Put the files into {tmp_path}, or run `mdl-tf datasets download cars196`" in text
    assert official.state("cars196", tmp_path) == ("missing", f"{missing} in {tmp_path}")


def test_unlabelled_annotations_under_the_name_of_the_labelled_ones(tmp_path):
    small_trees.cars196_devkit(tmp_path)
    labelled = tmp_path / "cars_test_annos_withlabels.mat"
    shutil.copy(tmp_path / "devkit/cars_test_annos.mat", labelled)
    assert message(official.read, "cars196", tmp_path) == (
        "`data_dir` must hold MATLAB files as in the original. Received: "
        f"{labelled}, ValueError: no field of name class"
    )


def test_a_damaged_matlab_file_is_an_error_that_names_it(tmp_path):
    small_trees.cars196(tmp_path)
    path = tmp_path / "cars_annos.mat"
    path.write_bytes(path.read_bytes()[:300])
    text = message(official.read, "cars196", tmp_path)
    start = "`data_dir` must hold MATLAB files as in the original. Received: "
    assert text.startswith(f"{start}{path}, ")


def test_the_small_matlab_files_nest_as_the_originals_do(tmp_path):
    small_trees.cars196(tmp_path)
    content = loadmat(tmp_path / "cars_annos.mat")
    record = content["annotations"][0, 0]
    assert content["annotations"].shape == (1, 21)
    assert record[0][0] == "car_ims/000001.jpg"
    assert [record[i].shape for i in range(1, 7)] == [(1, 1)] * 6
    assert content["class_names"].shape == (1, 196)
    assert content["class_names"][0, 173][0] == "Ram C/V Cargo Van Minivan 2012"


def test_sop_follows_its_text_files_and_not_the_folders(tmp_path):
    root = small_trees.sop(tmp_path)
    collection = official.read("sop", tmp_path)
    images = collection.images
    assert collection.sides == SIDES
    assert images.labels.tolist() == LABELS.tolist()
    assert images.paths[0] == str(root / "bicycle_final/111085122871_0.JPG")
    assert not [path for path in images.paths if "999999999999" in path]
    assert images.class_names[0] == "00001.bicycle 111085122871"
    assert images.class_names[-1] == "22634.toaster 381288302146"
    assert images.boxes is None and images.queries is None


def test_a_class_on_both_sides_is_an_error(tmp_path):
    root = small_trees.sop(tmp_path)
    change(root / "Ebay_test.txt", " 11319 ", " 11318 ")
    assert message(official.read, "sop", tmp_path) == (
        "`data_dir` must hold classes that are either for training or for the test. "
        "Received: class 11318 of sop, which is for both"
    )


def test_sop_is_read_in_its_real_size(tmp_path, monkeypatch):
    real = {"training classes": 11_318, "training images": 59_551}
    real |= {"test classes": 11_316, "test images": 60_502}
    small_trees.expect(monkeypatch, "sop", counts=real)
    root = tmp_path / "Stanford_Online_Products"
    for table, first, classes, count in (
        ("Ebay_train.txt", 1, 11_318, 59_551),
        ("Ebay_test.txt", 11_319, 11_316, 60_502),
    ):
        lines = [f"{i} {first + i % classes} 1 chair_final/{i}_0.JPG" for i in range(count)]
        small_trees.write(root / table, ["image_id class_id super_class_id path", *lines])
    collection = official.read("sop", tmp_path)
    assert len(collection.images) == 59_551 + 60_502
    assert collection.images.num_classes == 22_634


def test_inshop_has_queries_and_a_gallery(tmp_path):
    small_trees.inshop(tmp_path)
    collection = official.read("inshop", tmp_path)
    images = collection.images
    assert images.class_names == tuple(sorted(small_trees.CLOTHES))
    trained = list(small_trees.CLOTHES)[:4]
    expected = ["train" if name in trained else "test" for name in images.class_names]
    assert list(collection.sides) == expected
    assert images.queries.tolist() == [True] * 12 + [True, False, False] * 3
    first = "Img/img/WOMEN/Dresses/id_00000002/02_1_front.jpg"
    assert images.paths[0] == str(tmp_path / first)
    # The list of boxes has another order.
    assert images.boxes[:3].tolist() == [[0, 2, 20, 21], [1, 2, 21, 21], [2, 2, 22, 21]]
    assert images.boxes.dtype == np.float32


def test_inshop_without_boxes(tmp_path):
    small_trees.inshop(tmp_path, official_folders=False)
    images = official.read("inshop", tmp_path).images
    assert images.boxes is None
    assert images.paths[0] == str(tmp_path / "img/WOMEN/Dresses/id_00000002/02_1_front.jpg")


def test_inshop_with_an_image_that_has_no_box(tmp_path):
    small_trees.inshop(tmp_path)
    path = tmp_path / "Anno/list_bbox_inshop.txt"
    change(path, "id_00000010/02_3_front.jpg", "id_00000010/02_4_front.jpg")
    assert message(official.read, "inshop", tmp_path) == (
        "`data_dir` must hold a list_bbox_inshop.txt with a box for each image, or none at all. "
        f"Received: {path}, without 1 images, the first "
        "img/MEN/Tees_Tanks/id_00000010/02_3_front.jpg"
    )


def test_inshop_with_an_unknown_status(tmp_path):
    small_trees.inshop(tmp_path)
    path = tmp_path / "Eval/list_eval_partition.txt"
    change(path, "query", "probe")
    assert message(official.read, "inshop", tmp_path) == (
        "`data_dir` must hold a list_eval_partition.txt that says for each image which of "
        f"('train', 'query', 'gallery') it is. Received: 'probe', in {path}"
    )


def test_the_counts_are_those_of_the_papers(monkeypatch):
    monkeypatch.undo()
    counts = {name: row.counts for name, row in official.OFFICIAL.items()}
    images = {
        name: sum(count for what, count in row.items() if "images" in what)
        for name, row in counts.items()
    }
    assert images == {"cub200": 11_788, "cars196": 16_185, "sop": 120_053, "inshop": 52_712}
    assert counts["cub200"]["training images"] == 5_864
    assert counts["cars196"]["training images"] == 8_054
    assert counts["sop"]["training images"] == 59_551
    assert counts["inshop"]["query images"] == 14_218
    classes = {name: (row["training classes"], row["test classes"]) for name, row in counts.items()}
    assert classes == {
        "cub200": (100, 100),
        "cars196": (98, 98),
        "sop": (11_318, 11_316),
        "inshop": (3_997, 3_985),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_count_that_differs_is_an_error_that_says_which(name, tmp_path, monkeypatch):
    root = getattr(small_trees, name)(tmp_path)
    for what, count in official.OFFICIAL[name].counts.items():
        counts = official.OFFICIAL[name].counts | {what: 1_000 + count}
        with monkeypatch.context() as inner:
            small_trees.expect(inner, name, counts=counts)
            assert message(official.read, name, tmp_path) == (
                f"`data_dir` must hold all of {name} ({datasets.DATASETS[name].what}): "
                f"{1_000 + count:,} {what}. Received: {count:,} {what}, in {root}"
            )


def test_an_empty_list_is_a_wrong_count(tmp_path):
    root = small_trees.inshop(tmp_path)
    small_trees.write(root / "Eval/list_eval_partition.txt", ["0", "image_name item_id status"])
    (root / "Anno/list_bbox_inshop.txt").unlink()
    text = message(official.read, "inshop", tmp_path)
    assert text.endswith(
        "Received: 0 training classes, 0 training images, 0 test classes, 0 query images, "
        f"0 gallery images, in {root}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_nothing_there_says_where_it_looked_what_to_fetch_and_where_to_put_it(name, tmp_path):
    text = message(official.read, name, tmp_path)
    row = official.OFFICIAL[name]
    assert text.startswith(
        f"`data_dir` must hold {name} ({datasets.DATASETS[name].what}), extracted or as its "
        "original archives. "
        f"Received: data_dir={tmp_path}\nLooked in {tmp_path}, in {tmp_path / name}, "
        "and there in "
    )
    for file in row.files:
        assert f"\n  {file.name}" in text
        assert all(url in text for url in file.urls)
    assert row.page in text
    command = f", or run `mdl-tf datasets download {name}`" if name != "inshop" else ""
    assert text.endswith(f"Put the files into {tmp_path / name}{command}")
    assert "A part is in" not in text
    assert official.state(name, tmp_path) == ("missing", ", ".join(f.name for f in row.files))


def test_the_whole_message_for_cub200(tmp_path):
    folder = tmp_path / "nowhere"
    assert message(official.read, "cub200", folder) == (
        "`data_dir` must hold cub200 (CUB-200-2011), extracted or as its original archives. "
        f"Received: data_dir={folder}\n"
        f"Looked in {folder} (not a readable folder), in {folder / 'cub200'}, "
        "and there in CUB_200_2011.\n"
        "Fetch:\n"
        "  CUB_200_2011.tgz, 1,150,585,339 bytes, md5 97eceeb196236b17998738112f37df78, from "
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz or "
        "https://data.caltech.edu/api/records/65de6-vp158/files/CUB_200_2011.tgz/content\n"
        "More about it: https://data.caltech.edu/records/65de6-vp158 (research use). "
        f"Put the files into {folder / 'cub200'}, or run `mdl-tf datasets download cub200`"
    )


@pytest.mark.parametrize("function", [official.read, official.download, official.state])
def test_an_unknown_name(function):
    assert message(function, "cub") == (
        "`name` must be one of ['cars196', 'cub200', 'inshop', 'sop']. Received: name='cub'"
    )


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if "archive" in layout])
def test_an_archive_is_extracted_where_it_is_at_first_use_only(layout, tmp_path, monkeypatch):
    name, make = LAYOUTS[layout]
    (tmp_path / name).mkdir()
    make(tmp_path / name)
    archives = sorted(str(p) for p in tmp_path.rglob("*") if p.suffix in (".tgz", ".zip"))
    state = official.state(name, tmp_path)
    assert state.kind == "archive"
    assert state.text.endswith(", extracted at first use")
    assert sorted(state.text.removesuffix(", extracted at first use").split(", ")) == archives

    steps = []
    official.read(name, tmp_path, lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] > 0

    def extract(*arguments):
        raise AssertionError("extracted twice")

    monkeypatch.setattr(official, "extract", extract)
    assert len(official.read(name, tmp_path).images) == 21


def test_what_is_extracted_already_comes_before_archives(tmp_path, monkeypatch):
    small_trees.sop(tmp_path / "sop")
    (tmp_path / "Stanford_Online_Products.zip").write_bytes(b"of another time")
    assert official.state("sop", tmp_path).kind == "ready"
    assert len(official.read("sop", tmp_path).images) == 21


def test_of_two_complete_layouts_the_one_of_the_papers_is_read(tmp_path):
    small_trees.cars196_devkit(tmp_path)
    small_trees.cars196(tmp_path)
    images = official.read("cars196", tmp_path).images
    assert images.paths[0] == str(tmp_path / "car_ims/000001.jpg")


def test_an_archive_without_the_data_set_is_an_error(tmp_path):
    small_trees.write(tmp_path / "other/file.txt", ["1"])
    archive = small_trees.pack(tmp_path / "Stanford_Online_Products.zip", tmp_path / "other")
    assert message(official.read, "sop", tmp_path) == (
        f"`data_dir` must hold the original archives of sop. Received: {archive}, without "
        "Ebay_train.txt, Ebay_test.txt"
    )


def test_an_archive_with_another_file_than_the_known_one_is_an_error(tmp_path, monkeypatch):
    monkeypatch.undo()
    small_trees.expect(monkeypatch, "cars196", contents=official.OFFICIAL["cars196"].contents)
    make_cars_zip(tmp_path)
    text = message(official.read, "cars196", tmp_path)
    path = tmp_path / "cars_annos.mat"
    assert re.fullmatch(
        re.escape(
            "`data_dir` must hold the original archives of cars196. Received: "
            f"{path}, md5 0, expected b407c6086d669747186bd1d764ff9dbc; "
            f"delete what came from {tmp_path / 'CARS196.zip'}, and fetch it again"
        ).replace("md5\\ 0,", "md5 [0-9a-f]{32},"),
        text,
    )


def test_an_extracted_folder_may_hold_annotations_saved_anew(tmp_path, monkeypatch):
    monkeypatch.undo()
    small_trees.expect(monkeypatch, "cars196", contents=official.OFFICIAL["cars196"].contents)
    small_trees.cars196(tmp_path)
    assert len(official.read("cars196", tmp_path).images) == 21


class Sources:
    """Stands for the internet: puts archives that are prepared into the folder asked for."""

    def __init__(self, prepared):
        self.prepared = prepared
        self.asked = []

    def __call__(self, file, folder, progress=None):
        self.asked.append((file.name, folder))
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.copy(self.prepared / file.name, folder / file.name)


@pytest.mark.parametrize(
    ("name", "make", "root"),
    [
        ("cub200", make_cub_archive, "CUB_200_2011"),
        ("cars196", make_cars_zip, ""),
        ("cars196", make_cars_zip_with_a_folder, "cars196"),
        ("sop", make_sop_archive, "Stanford_Online_Products"),
    ],
)
def test_download_fetches_and_extracts_once(name, make, root, tmp_path, monkeypatch):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    make(prepared)
    sources = Sources(prepared)
    monkeypatch.setattr(official, "fetch", sources)
    folder = tmp_path / "data"
    for _ in range(2):
        assert official.download(name, folder) == folder / name / root
    files = official.OFFICIAL[name].files
    assert sources.asked == [(file.name, folder / name) for file in files]
    assert len(official.read(name, folder).images) == 21


def test_download_extracts_an_archive_that_is_there_instead_of_fetching(tmp_path, monkeypatch):
    make_cub_archive(tmp_path)
    sources = Sources(None)
    monkeypatch.setattr(official, "fetch", sources)
    assert official.download("cub200", tmp_path) == tmp_path / "CUB_200_2011"
    assert sources.asked == []


def test_download_without_a_known_source_fetches_nothing(tmp_path, monkeypatch):
    sources = Sources(None)
    monkeypatch.setattr(official, "fetch", sources)
    text = message(official.download, "inshop", tmp_path)
    assert "\nFetch:\n  img.zip\n  list_eval_partition.txt\n" in text
    assert text.endswith(f"Put the files into {tmp_path / 'inshop'}")
    row = official.OFFICIAL["sop"]
    small_trees.expect(monkeypatch, "sop", files=(*row.files, row.files[0]._replace(urls=())))
    message(official.download, "sop", tmp_path)
    assert sources.asked == []
    assert list(tmp_path.iterdir()) == []


def test_state_opens_nothing(tmp_path):
    root = small_trees.cub200(tmp_path)
    (root / "images.txt").write_bytes(b"\xff")
    assert official.state("cub200", tmp_path) == ("ready", str(root))


def test_the_table_is_complete():
    for name, row in official.OFFICIAL.items():
        assert datasets.DATASETS[name].what and row.page.startswith("http") and row.terms
        for file in (*row.files, *row.others, *row.contents):
            assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert all(url.startswith(("http://", "https://")) for url in file.urls)
