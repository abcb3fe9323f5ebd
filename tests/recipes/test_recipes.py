"""Recipes: every one loads, says where each figure is from, and is held against equals only."""

import configparser
import json
from pathlib import Path

import pytest
from helpers import ROOT

from mdl_tf import recipes
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.recipes import Recipe

SETS = ("cub200", "cars196", "sop")
NAMES = sorted(f"{data}-{kind}" for data in SETS for kind in ("2017", "modern", "reality-check"))
FOLDER = Path(recipes.__file__).parent


def content(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def message(function, *arguments, **options):
    with pytest.raises(ConfigError) as raised:
        function(*arguments, **options)
    return str(raised.value)


def test_there_are_nine_and_an_unknown_one_lists_them():
    assert recipes.names() == NAMES
    assert message(recipes.load, "cub") == (
        f"`recipe` must be one of {', '.join(NAMES)}. Received: recipe=cub"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_of_its_data_set_and_has_rows_of_its_own_size(name):
    recipe = recipes.load(name)
    config = recipe.config()
    assert config.dataset == name.split("-")[0]
    assert config.loss == "margin_discriminate"
    assert (config.backbone, config.weights) == ("inception_bn", "imagenet")
    assert recipe.rows(config) == recipe.published, "all rows may be held against the recipe"
    assert recipe.why_no_rows(config) == ""
    assert recipe.changed(config) == {}
    kinds = [note["kind"] for note in recipe.protocol]
    assert {"taken", "assumed", "differs", "not run"} >= set(kinds) >= {"taken", "not run"}


def test_the_set_ups_have_the_papers_numbers():
    def settings(kind, *fields):
        configs = [recipes.load(f"{data}-{kind}").config() for data in SETS]
        return [tuple(getattr(config, field) for field in fields) for config in configs]

    batch = ("classes_per_batch", "images_per_class", "short_classes")
    # Who gives K and says nothing of shorter classes has an error for them.
    assert settings("2017", *batch) == [(32, 4, None)] * 2 + [(64, 2, None)]
    assert settings("modern", *batch) == [(32, 4, None)] * 2 + [(64, 2, None)]
    assert settings("reality-check", *batch) == [(8, 4, None)] * 2 + [(8, 4, "repeat")]
    assert (
        settings("2017", "embedding_dim", "image_size", "augment", "validation")
        == [(64, 227, "paper", 0)] * 3
    )
    assert (
        settings("2017", "optimizer", "learning_rate", "learning_rate_factors")
        == [("rmsprop", 1e-5, {"embedding": 10})] * 3
    )
    steps = [epochs * steps for epochs, steps in settings("2017", "epochs", "steps_per_epoch")]
    assert steps == [10_000, 10_000, 20_000]
    assert (
        settings("modern", "embedding_dim", "batch_norm", "pooling", "warm_up_epochs")
        == [(512, "frozen", "both", 1)] * 3
    )
    # One pass over 5,864, 8,054 and 59,551 images in batches of 128.
    assert settings("modern", "steps_per_epoch", "epochs") == [(46, 60), (63, 60), (465, 60)]
    assert (
        settings("reality-check", "embedding_dim", "folds", "monitor", "momentum")
        == [(128, 4, "map_at_r", 0.9)] * 3
    )
    # Batches from one evaluation to the next, and evaluations without a better one.
    assert settings("reality-check", "steps_per_epoch", "patience") == [
        (200, 5),
        (500, 3),
        (2000, 2),
    ]


def percent(row, *metrics):
    return tuple(round(100 * row[metric], 2) for metric in metrics)


RECALLS = tuple(f"recall_at_{k}" for k in (1, 2, 4, 8))
SOP_RECALLS = tuple(f"recall_at_{k}" for k in (1, 10, 100, 1000))
REALITY = ("recall_at_1", "r_precision", "map_at_r")
SONG = "Song 2017 as quoted"
SPHERE = "Dyfine"
# Typed from the papers and the notes on them: recipe, method, part of the source, kind, percent.
PUBLISHED = [
    ("cub200-2017", "triplet semi-hard", SONG, None, RECALLS, (42.59, 55.03, 66.44, 77.23)),
    ("cub200-2017", "facility location", SONG, None, ("nmi",), (59.23,)),
    ("cub200-2017", "facility location", "DML", None, ("recall_at_1", "nmi"), (56.41, 64.04)),
    ("cub200-2017", "margin", "DML", None, RECALLS, (51.28, 63.24, 74.33, 83.43)),
    ("cub200-2017", "N-pairs, older settings", "DML", None, RECALLS, (51.61, 64.08, 75.28, 84.35)),
    ("cars196-2017", "facility location", SONG, None, RECALLS, (58.11, 70.64, 80.27, 87.81)),
    ("cars196-2017", "N-pairs", SONG, None, ("nmi",), (57.79,)),
    ("cars196-2017", "proxy-softmax", "DML", None, ("recall_at_1", "nmi"), (81.70, 61.34)),
    ("sop-2017", "facility location", "Song", None, SOP_RECALLS[:3], (67.02, 83.65, 93.23)),
    ("sop-2017", "Proxy-Anchor", "", None, SOP_RECALLS, (76.5, 89.0, 95.1, 98.2)),
    ("sop-2017", "Proxy-NCA", "proxy-nca", None, ("recall_at_1", "nmi"), (73.73, 90.6)),
    ("sop-2017", "Proxy-NCA", "DMLPlayground", None, ("recall_at_1",), (73.56,)),
    ("sop-2017", "angular", "", None, ("recall_at_1",), (68.97,)),
    ("cub200-modern", "multi-similarity", SPHERE, None, RECALLS, (66.14, 77.03, 85.43, 91.26)),
    ("cub200-modern", "multi-similarity", SPHERE, None, ("nmi", "f1"), (70.57, 40.70)),
    ("cub200-modern", "Proxy-Anchor", "", None, RECALLS, (68.4, 79.2, 86.8, 91.6)),
    ("cars196-modern", "Circle", "", None, RECALLS, (83.4, 89.8, 94.1, 96.5)),
    ("cars196-modern", "binomial deviance", "", None, ("recall_at_1",), (80.8,)),
    ("cars196-modern", "triplet, all", SPHERE, None, ("nmi", "f1"), (56.66, 24.44)),
    ("sop-modern", "multi-similarity", SPHERE, None, SOP_RECALLS, (76.29, 89.38, 95.58, 98.58)),
    ("sop-modern", "triplet semi-hard", SPHERE, None, ("nmi", "f1"), (91.16, 41.89)),
    ("cub200-reality-check", "contrastive", "", "concatenated", REALITY, (68.13, 37.24, 26.53)),
    ("cub200-reality-check", "contrastive", "", "separated", REALITY, (59.73, 31.98, 21.18)),
    ("cars196-reality-check", "triplet", "", "concatenated", REALITY, (79.13, 33.71, 23.02)),
    ("cars196-reality-check", "CosFace", "", "separated", REALITY, (74.67, 29.01, 18.80)),
    ("sop-reality-check", "SoftTriple", "", "concatenated", REALITY, (76.12, 50.21, 47.35)),
    ("sop-reality-check", "SoftTriple", "", "separated", REALITY, (70.88, 43.83, 40.92)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "method", "source", "kind", "metrics", "expected"), PUBLISHED)
def test_published_rows_are_those_of_the_papers(name, method, source, kind, metrics, expected):
    rows = [
        row
        for row in recipes.load(name).published
        if (row["method"], row.get("kind")) == (method, kind) and source in row["source"]
    ]
    assert len(rows) == 1
    assert percent(rows[0], *metrics) == expected


def test_how_many_rows_there_are():
    counts = {name: len(recipes.load(name).published) for name in NAMES}
    reality = {f"{data}-reality-check": 30 for data in SETS}
    assert counts == {
        **{"cub200-2017": 16, "cars196-2017": 14, "sop-2017": 15},
        **{"cub200-modern": 12, "cars196-modern": 12, "sop-modern": 9},
        **reality,
    }


def test_what_is_from_memory_is_marked():
    def row(name, method, kind=None):
        rows = recipes.load(name).published
        return next(r for r in rows if (r["method"], r.get("kind")) == (method, kind))

    chart = {"recall_at_1": False, "r_precision": False, "map_at_r": True}
    for data in SETS:
        for one in recipes.load(f"{data}-reality-check").published:
            trained = one["method"] != "pretrained, not trained"
            checked = one["kind"] == "concatenated" and trained
            assert one["verified"] == (chart if checked else False)
            assert one["embedding_dim"] == {"separated": 128, "concatenated": 512}[one["kind"]]
    assert row("sop-2017", "N-pairs")["verified"] is False
    assert row("cub200-modern", "SoftTriple")["verified"] == {
        **dict.fromkeys(RECALLS, True),
        "nmi": False,
    }
    assert row("sop-2017", "facility location")["verified"] is False
    assert row("sop-2017", "SoftTriple")["verified"]["nmi"] is False
    assert all(one["verified"] is True for one in recipes.load("cub200-2017").published)


@pytest.mark.parametrize("name", NAMES)
def test_hours_are_those_of_the_settings(name):
    settings = content(name)["settings"]
    images = settings["epochs"] * settings["steps_per_epoch"] * settings.get("folds", 1)
    images *= settings["classes_per_batch"] * settings["images_per_class"]
    gpu, cpu = recipes.load(name).hours
    flop = 3 * 2 * 2.03e9  # forward and backward, two operations a multiplication
    assert gpu["hardware"] == "one NVIDIA T4 (16 GB)"
    assert gpu["hours"] == round(images / (8.1e12 / 4 / flop) / 3600, 1)
    assert cpu["hardware"] == "two cores of an AMD EPYC"
    assert cpu["hours"] == round(images / 20 / 3600, 1)
    assert all("not run" in entry["basis"] for entry in (gpu, cpu))


@pytest.mark.parametrize("name", NAMES)
def test_the_guide_has_the_same_hours(name):
    text = (ROOT / "mdl_tf" / "recipes" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `") and f"`{name}`" in line)
    cells = [cell.strip().removesuffix(" at most") for cell in row.split("|")]
    assert cells[-3:-1] == [f"{entry['hours']:.1f}" for entry in recipes.load(name).hours]


def test_hours_of_a_changed_run():
    recipe = recipes.load("cub200-reality-check")
    hours = [entry["hours"] for entry in recipe.hours_of(recipe.config(fold=2))]
    assert hours == [round(entry["hours"] / 4, 1) for entry in recipe.hours]
    assert recipe.hours_of(recipe.config(epochs=250))[1]["hours"] == 88.9
    assert recipe.hours_of(recipe.config(image_size=112)) == []


def test_rows_are_compared_at_equal_data_network_and_size_only():
    recipe = recipes.load("cub200-reality-check")
    kinds = [row["kind"] for row in recipe.rows(recipe.config())]
    assert (kinds.count("separated"), kinds.count("concatenated")) == (15, 15)
    one = recipe.config(fold=1)
    assert {row["kind"] for row in recipe.rows(one)} == {"separated"}
    # 2 x 256 are 512 numbers from two networks together; 512 from one network are not.
    two = recipe.config(folds=2, embedding_dim=256)
    assert {row["kind"] for row in recipe.rows(two)} == {"concatenated"}
    assert {row["kind"] for row in recipe.rows(recipe.config(folds=2))} == {"separated"}
    assert recipe.rows(recipe.config(crop_to_box=True)) == []
    assert recipe.why_no_rows(recipe.config(crop_to_box=True)) == (
        "No published figure is beside these: those of cub200-reality-check are of whole images, "
        "and this run cuts them to boxes."
    )
    assert recipe.why_no_rows(recipe.config(weights=None)) == (
        "No published figure is beside these: those of cub200-reality-check begin with imagenet "
        "weights, and this run with random ones."
    )
    alone = recipe.config(folds=1, embedding_dim=512)
    assert recipe.rows(alone) == []
    assert recipe.why_no_rows(alone) == (
        "No published figure is beside these: figures are compared at equal network and size only, "
        "and those of cub200-reality-check are of inception_bn with 128 separated or "
        "512 concatenated dimensions; this run has inception_bn with 512."
    )
    assert recipe.rows(recipe.config(backbone="resnet50")) == []
    other = recipe.config(dataset="cars196")
    assert recipe.rows(other) == []
    assert recipe.why_no_rows(other) == (
        "No published figure is beside these: those of cub200-reality-check are of cub200, and "
        "this run is of cars196."
    )


def test_no_row_is_held_against_a_stand_in(tmp_path):
    recipe = recipes.load("sop-2017")
    assert recipe.rows(recipe.config(data_dir=str(tmp_path)))
    (tmp_path / "stand_in.json").write_text("{}")
    config = recipe.config(data_dir=str(tmp_path))
    assert recipe.rows(config) == []
    assert recipe.why_no_rows(config) == (
        "No published figure is beside these: this run is of a generated stand-in of sop."
    )


@pytest.mark.parametrize("name", NAMES)
def test_smoke_is_the_same_recipe_made_small(name):
    recipe = recipes.load(name)
    config = recipe.smoke("/stand-in", image_size=96, backbone="conv4")
    classes = recipe.config().classes_per_batch
    changed = recipe.changed(config)
    assert changed.pop("image_size") == [recipe.config().image_size, 96]
    assert changed.pop("backbone") == ["inception_bn", "conv4"]
    assert changed.pop("weights") == ["imagenet", None]
    assert changed.pop("classes_per_batch") == [classes, 4]
    assert changed.pop("epochs")[1] == 2
    assert changed.pop("steps_per_epoch")[1] == 2
    assert changed == {}, "everything else as it is, the folds and sizes too"
    assert config.data_dir == "/stand-in"
    assert recipe.smoke("/stand-in").image_size == 64


def test_a_setting_that_a_change_leaves_without_use_goes():
    """Else nobody could choose another optimizer: it would be refused for the recipe's momentum."""
    recipe = recipes.load("cub200-2017")
    assert recipe.config(optimizer="adam") == TrainConfig.from_dict(
        {**{k: v for k, v in recipe.settings.items() if k != "momentum"}, "optimizer": "adam"}
    )
    assert recipe.config(folds=4).folds == 4
    assert "Received: momentum=0.5, optimizer='adam'" in message(
        recipe.config, optimizer="adam", momentum=0.5
    )
    assert "Unknown field `epoch`" in message(recipe.config, epoch=3)


def test_what_a_run_folder_keeps():
    recipe = recipes.load("cars196-modern")
    record = recipe.record(recipe.config(seed=3, data_dir="/data"))
    assert json.loads(json.dumps(record)) == {
        "name": "cars196-modern",
        "title": recipe.title,
        "source": recipe.source,
        "smoke": False,
        "changed": {"seed": [0, 3]},
        "published": recipe.published,
        "why_none": "",
    }
    smoke = recipe.record(recipe.config(embedding_dim=32), smoke=True)
    assert smoke["smoke"] is True
    assert smoke["published"] == []
    assert "this run has inception_bn with 32." in smoke["why_none"]


def without(entry, key):
    return {k: v for k, v in entry.items() if k != key}


ROW = {
    **{"method": "m", "backbone": "b", "embedding_dim": 2, "source": "s", "verified": True},
    "recall_at_1": 0.5,
}
NOTE = {"kind": "taken", "text": "t", "source": "s", "verified": True}


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ("comment", "x", "and with comment"),
        ("title", " ", "`title` must be text. Received: ' '"),
        ("settings", {"epoch": 3}, "Unknown field `epoch`."),
        ("settings", {"epochs": 0}, "`epochs` must be an integer, at least 1. Received: epochs=0"),
        ("published", [], "`published` must be a list. Received: []"),
        ("published", [without(ROW, "source")], "Received: without source, and with no other"),
        ("published", [without(ROW, "verified")], "Received: without verified, and with no other"),
        ("published", [ROW | {"source": ""}], "`published`[0], `source` must be text. Received: '"),
        ("published", [ROW | {"note": "x"}], "and with note"),
        ("published", [ROW | {"recall_at_0": 0.5}], "and with recall_at_0"),
        ("published", [ROW | {"recall_at_1": 42.59}], "must be a fraction. Received: 42.59"),
        ("published", [ROW | {"verified": "yes"}], "must be true or false. Received: 'yes'"),
        ("published", [ROW | {"verified": {"nmi": True}}], "without recall_at_1, and with nmi"),
        ("published", [ROW | {"kind": "both"}], "must be one of separated, concatenated. Rec"),
        ("protocol", [without(NOTE, "source")], "Received: without source, and with no other"),
        ("protocol", [NOTE | {"kind": "known"}], "with source, verified"),
        ("protocol", [{"kind": "known", "text": "t"}], "must be one of taken, assumed, differs,"),
        ("hours", [{"hardware": "h", "hours": 3.0}], "Received: without basis, and with no other"),
    ],
)
def test_a_recipe_that_is_none(part, value, expected):
    assert expected in message(Recipe.from_dict, "broken", content("sop-2017") | {part: value})


def test_a_wheel_holds_the_files():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    pattern = setup["options.package_data"]["mdl_tf.recipes"]
    assert sorted(path.stem for path in FOLDER.glob(pattern)) == NAMES
