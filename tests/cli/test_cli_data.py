"""`mdl-tf datasets`, and the flags for files that cannot be used, as typed."""

import sys
import types

import numpy as np
import pytest
from helpers import small_trees
from helpers.models import average_colour
from PIL import Image

from mdl_tf import cli, datasets
from mdl_tf.config import TrainConfig
from mdl_tf.datasets import ImageSet, catalogue
from mdl_tf.datasets.image_set import first_for_training
from mdl_tf.datasets.papers import official, sources
from mdl_tf.datasets.table import DataSet
from mdl_tf.pictures import plots
from mdl_tf.runs import Run


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Four classes of three in `photos`, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for c, colour in enumerate([(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]):
        (tmp_path / "photos" / f"class {c}").mkdir(parents=True)
        for i in range(3):
            name = tmp_path / "photos" / f"class {c}" / f"{i}.png"
            Image.new("RGB", (20 + i, 10), colour).save(name)
    return tmp_path / "photos"


def test_the_table_says_what_is_ready_and_what_is_missing(tmp_path, capsys):
    small_trees.cub200(tmp_path / "cub200")
    small_trees.pack(tmp_path / "Stanford_Online_Products.zip", small_trees.sop(tmp_path / "x"))
    assert cli.main(["datasets", "--data-dir", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "100 / 100" in lines["cub200"]
    assert "5,864 / 5,924" in lines["cub200"]
    assert "  ready  " in lines["cub200"]
    assert "  archive  " in lines["sop"]
    assert "  missing" in lines["cars196"]
    assert "CARS196.zip" in lines["cars196"]
    assert "25,882 / 14,218 + 12,612" in lines["inshop"]
    assert "drawn at first use" in lines["glyphs"]
    assert "--data-dir FILE.csv" in lines["csv"]


def test_the_table_has_every_data_set():
    names = {row.name for row in catalogue.rows()}
    assert names == {*datasets.DATASETS, "tfds:NAME"}


def test_a_data_set_is_a_function_and_a_row(monkeypatch, capsys, tmp_path):
    """A file and a row are all that it takes to be found everywhere."""

    def read(data_dir, progress):
        labels = np.repeat(np.arange(8), 4)
        images = np.random.default_rng(0).integers(0, 256, (32, 16, 16), np.uint8)
        names = tuple(f"kind {i}" for i in range(8))
        return first_for_training(datasets.ImageSet("blots", labels, names, images=images), 4)

    module = types.ModuleType("blots")
    module.read = read
    monkeypatch.setitem(sys.modules, "blots", module)
    row = DataSet("blots of ink", "blots:read", classes="4 / 4", where="made up")
    monkeypatch.setitem(datasets.DATASETS, "blots", row)
    train, _, test = datasets.load("blots", validation=0)
    assert (len(train), len(test)) == (16, 16)
    assert cli.main(["datasets"]) == 0
    assert "blots of ink" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert "blots," in capsys.readouterr().out
    arguments = ["train", "--dataset", "blots", "--backbone", "conv4", "--image-size", "16"]
    arguments += ["--classes-per-batch", "2", "--epochs", "1", "--steps-per-epoch", "1"]
    arguments += ["--validation", "0", "--no-tensorboard", "--runs-dir", str(tmp_path)]
    assert cli.main(arguments) == 0
    assert "blots test: 16 images of 4 classes" in capsys.readouterr().out


def test_check_tells_what_takes_the_slow_way(photos, capsys):
    assert cli.main(["datasets", "check", "folder", "--data-dir", "photos"]) == 0
    shown = capsys.readouterr().out
    assert "photos: 12 images of 4 classes can be used" in shown
    assert "slow way" not in shown
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (9, 9)).save(photos / "class 0" / "turned.jpg", exif=turned)
    assert cli.main(["datasets", "check", "folder", "--data-dir", "photos"]) == 0
    assert "  1 files take the slow way" in capsys.readouterr().out


def test_broken_files_are_left_out_on_request(photos, capsys):
    (photos / "class 1" / "empty.jpg").write_bytes(b"")
    arguments = ["datasets", "check", "folder", "--data-dir", "photos"]
    assert cli.main(arguments) == 2
    assert "class 1/empty.jpg: is empty" in capsys.readouterr().err
    assert cli.main([*arguments, "--on-corrupt", "skip"]) == 0
    shown = capsys.readouterr().out
    assert "  left out: photos/class 1/empty.jpg, which is empty" in shown
    assert "12 images of 4 classes can be used" in shown


def test_a_contact_sheet_shows_the_first_images_of_each_class(photos, monkeypatch, capsys):
    sheets = []
    real = plots.contact_sheet
    monkeypatch.setattr(plots, "contact_sheet", lambda *args: sheets.append(args) or real(*args))
    assert cli.main(["datasets", "show", "folder", "--data-dir", "photos"]) == 0
    assert "Contact sheet: folder.png" in capsys.readouterr().out
    (rows, titles, title) = sheets[0]
    assert [[image.shape for image in row] for row in rows] == [
        [(10, 20, 3), (10, 21, 3), (10, 22, 3)]
    ] * 4
    assert [tuple(row[0][0, 0]) for row in rows][:2] == [(200, 0, 0), (0, 200, 0)]
    assert titles[0] == "class 0\ntrain, 3 images"
    assert titles[3] == "class 3\ntest, 3 images"
    assert title == "photos: 12 images of 4 classes"
    with Image.open("folder.png") as picture:
        assert picture.format == "PNG"


def test_a_contact_sheet_of_boxes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_trees.cub200(tmp_path / "cub200")
    small_trees.expect(monkeypatch, "cub200")
    sheets = []
    real = plots.contact_sheet
    monkeypatch.setattr(plots, "contact_sheet", lambda *args: sheets.append(args) or real(*args))
    arguments = ["datasets", "show", "cub200", "--data-dir", str(tmp_path), "-o", "c.png"]
    assert cli.main(arguments) == 0
    assert cli.main([*arguments, "--crop-to-box"]) == 0
    whole, cut = (sheet[0][0][0].shape for sheet in sheets)
    assert cut[0] < whole[0]
    assert cut[1] < whole[1]


def test_more_classes_than_fit_are_said():
    images = ImageSet(
        "many",
        np.repeat(np.arange(30), 2),
        tuple(f"c{i}" for i in range(30)),
        images=np.zeros((60, 4, 4), np.uint8),
    )
    from mdl_tf.pictures import contact_sheet

    figure = contact_sheet(first_for_training(images, 15))
    assert figure.get_suptitle() == "many: 60 images of 30 classes; 8 classes are shown"


@pytest.fixture
def run_folder(photos):
    run = Run.create(TrainConfig(dataset="digits", backbone="conv4"), photos.parent / "runs", "r")
    average_colour().save(run.model)
    run.write_json("classes.json", {"train": [], "validation": [], "test": []})
    return "runs/r"


def test_embed_leaves_out_on_request_and_more_than_there_are_is_all(run_folder, photos, capsys):
    (photos / "text.jpg").write_text("no image")
    assert cli.main(["embed", run_folder, "photos"]) == 2
    assert "text.jpg: is no image file" in capsys.readouterr().err
    assert cli.main(["embed", run_folder, "photos", "--on-corrupt", "skip"]) == 0
    assert "text.jpg, which is no image file" in capsys.readouterr().out
    query = str(photos / "class 2" / "0.png")
    assert cli.main(["search", run_folder, "vectors.npz", query, "-k", "500"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 12 + 1
    assert lines[1] == "   1  0.0000  class 2/0.png"


def test_evaluate_has_the_flags_too(run_folder, photos, monkeypatch, capsys):
    (photos / "class 1" / "empty.jpg").write_bytes(b"")
    arguments = ["evaluate", run_folder, "--dataset", "folder", "--data-dir", "photos"]
    assert cli.main(arguments) == 2
    assert cli.main([*arguments, "--on-corrupt", "skip", "--no-clustering"]) == 0
    assert "folder all: 12 images of 4 classes" in capsys.readouterr().out
    assert cli.main([*arguments, "--on-corrupt", "skip", "--crop-to-box"]) == 2
    assert "`crop_to_box` needs bounding boxes" in capsys.readouterr().err


def test_download_shows_its_sources_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(official, "fetch", lambda file, folder, progress: None)
    assert cli.main(["datasets", "download", "cub200", "--data-dir", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert f"CUB_200_2011.tgz: {sources.OFFICIAL['cub200'].files[0].urls[0]}" in shown.out
    assert "`data_dir` must hold cub200" in shown.err
