"""A network for each fold: who validates what, what is kept, interrupted and reported."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers.runs import SMALL, history, policy_as_before, started  # noqa: F401

from mdl_tf import batches, callbacks, cli, datasets, load_model, metrics
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.datasets import Collection, ImageSet
from mdl_tf.embedding import concatenated, embed
from mdl_tf.recipes.tables import published
from mdl_tf.runs import Run, folds, train
from mdl_tf.runs.keeping import OnDisk, RunCheckpoint
from mdl_tf.runs.report import _own_rows, _published_lines

# Five classes to train from: three and two.
FOLDS = {
    "folds": 2,
    "validation": 0.1,
    "classes_per_batch": 2,
    "epochs": 2,
    "steps_per_epoch": 3,
    "augment": "paper",
}


def quietly(config, run):
    return train(config, run, report=lambda line: None)


def collection(sides):
    labels = np.repeat(np.arange(len(sides)), 2)
    names = tuple(f"class {i}" for i in range(len(sides)))
    features = np.arange(len(labels), dtype=np.float32)[:, None]
    return Collection(ImageSet("set", labels, names, features=features), tuple(sides))


def test_every_training_class_validates_in_one_fold():
    whole = collection(["test"] * 2 + ["train"] * 7 + ["validation"] + ["test"])
    expected = [["class 2", "class 3", "class 4"], ["class 5", "class 6", "class 7"]]
    expected.append(["class 8", "class 9"])
    for fold, held_out in enumerate(expected, 1):
        training, validation, test = whole.split(folds=3, fold=fold)
        assert list(validation.class_names) == held_out
        assert list(training.class_names) == sorted(set(sum(expected, [])) - set(held_out))
        assert test.class_names == ("class 0", "class 1", "class 10")
        assert training.features[:, 0].tolist() == [
            2 * int(name[6:]) + i for name in training.class_names for i in (0, 1)
        ]
    training, validation, _ = whole.split(folds=3)
    assert (training.num_classes, validation) == (8, None)


@pytest.mark.parametrize(
    ("folds", "fold", "message"),
    [
        (3, -1, "`fold` must be an integer, at least 0. Received: fold=-1"),
        (0, 0, "`folds` must be an integer, at least 1. Received: folds=0"),
        (True, 0, "`folds` must be an integer, at least 1. Received: folds=True"),
    ],
)
def test_folds_that_are_no_count(folds, fold, message):
    with pytest.raises(ValueError) as raised:
        collection(["train"] * 6 + ["test"] * 2).split(folds=folds, fold=fold)
    assert str(raised.value) == message


@pytest.mark.parametrize(("folds", "fold"), [(1, 1), (3, 4)])
def test_a_fold_that_is_none(folds, fold):
    with pytest.raises(ValueError) as raised:
        collection(["train"] * 6 + ["test"] * 2).split(folds=folds, fold=fold)
    assert str(raised.value) == (
        "`fold` must be one of the `folds`, of which there are at least two, or 0. "
        f"Received: fold={fold}, folds={folds}"
    )


def test_folds_of_one_class_are_too_small():
    with pytest.raises(ValueError) as raised:
        collection(["train"] * 5 + ["test"] * 2).split(folds=4, fold=4)
    assert str(raised.value).endswith("1 for validation, 2 for the test; fold=4 of folds=4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config, run = started(tmp_path_factory.mktemp("folds"), **FOLDS)
    lines = []
    results = train(config, run, report=lines.append)
    return run, results, "\n".join(lines)


@pytest.mark.longest
def test_each_fold_has_classes_and_a_seed_of_its_own(finished):
    run, _, _ = finished
    kept = [json.loads((run.folder / f"fold-{i}/classes.json").read_text()) for i in (1, 2)]
    assert [fold["validation"] for fold in kept] == [["0", "1", "2"], ["3", "4"]]
    assert [fold["train"] for fold in kept] == [["3", "4"], ["0", "1", "2"]]
    assert run.read_json("classes.json")["train"] == ["0", "1", "2", "3", "4"]
    assert [(part.config.fold, part.config.own_seed) for part in run.parts] == [(1, 0), (2, 1)]
    first, second = (load_model(part.model, compile=False).get_weights()[0] for part in run.parts)
    assert not np.allclose(first, second)


@pytest.mark.slow
def test_metrics_are_those_of_the_networks_alone_and_together(finished):
    run, results, _ = finished
    _, _, test = datasets.load("digits", validation=0)
    embeddings = []
    for part in run.parts:
        model = load_model(part.model, compile=False)
        vectors, labels = embed(model, batches.ordered(test, 64, (16, 16), "paper"))
        embeddings.append(vectors)
    alone = [metrics.evaluate(vectors, labels) for vectors in embeddings]
    together = metrics.evaluate(np.concatenate(embeddings, axis=1), labels)
    assert alone[0]["recall_at_1"] != alone[1]["recall_at_1"]
    for key in ("recall_at_1", "map_at_r", "r_precision"):
        values = [fold[key] for fold in alone]
        assert results["separated"][key] == pytest.approx(np.mean(values), abs=1e-4)
        assert results["separated_sd"][key] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
        assert results["concatenated"][key] == pytest.approx(together[key], abs=1e-4)
    assert results == run.read_json("metrics.json")
    untrained = [part.read_json("metrics.json")["untrained"]["map_at_r"] for part in run.parts]
    assert results["untrained"]["map_at_r"] == pytest.approx(np.mean(untrained))


def test_each_fold_has_thresholds_and_the_whole_which_has_seen_all_classes_has_none(finished):
    run, _, report = finished
    assert all((part.folder / "calibration.json").is_file() for part in run.parts)
    assert not (run.folder / "calibration.json").exists()
    assert "as each class trained the network of some fold" in report


def test_the_model_of_the_run_gives_all_embeddings_one_behind_the_other(finished):
    run, _, _ = finished
    images = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype(np.float32)
    parts = [load_model(p.model, compile=False).predict(images, verbose=0) for p in run.parts]
    found = load_model(run.folder).predict(images, verbose=0)
    np.testing.assert_allclose(found, np.concatenate(parts, axis=1) / np.sqrt(2), atol=1e-6)


def test_embeddings_without_unit_length_stay_as_they_are():
    def embedder(factor):
        inputs = keras.Input((2,))
        return keras.Model(inputs, keras.layers.Rescaling(factor)(inputs), name="same_name")

    x = np.array([[1.0, 2.0]], np.float32)
    assert concatenated([embedder(1), embedder(3)])(x).numpy().tolist() == [[1, 2, 3, 6]]
    assert concatenated([embedder(3)])(x).numpy().tolist() == [[3, 6]]
    with pytest.raises(ValueError) as raised:
        concatenated([])
    assert str(raised.value) == (
        "`embedders` must be at least one, all of one input shape. Received: none"
    )


def test_the_command_measures_the_run_and_goes_on_without_training(finished, capsys, monkeypatch):
    run, results, said = finished
    assert "\nFold 1 of 2\n" in said and "\nFold 2 of 2, about " in said
    assert "separated sd" in said and said.rstrip().endswith(f"Run folder: {run.folder}")
    assert (run.folder / "report.txt").read_text().rstrip() in said
    assert cli.main(["evaluate", str(run.folder), "--json", "--no-clustering"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["map_at_r"] == pytest.approx(results["concatenated"]["map_at_r"], abs=1e-6)
    monkeypatch.setattr(keras.Model, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert cli.main(["train", "--resume", str(run.folder)]) == 0
    assert f"tensorboard --logdir {run.folder}\n" in capsys.readouterr().out
    with pytest.raises(ConfigError) as raised:
        run.extend(9)
    message = (
        "`epochs` (--epochs) cannot be changed for a run with `folds`. "
        "Received: epochs=9 for a run of 2 folds"
    )
    assert str(raised.value) == message
    with pytest.raises(ConfigError) as raised:
        run.parts[1].extend(9)
    assert str(raised.value) == message


def test_tensorboard_has_every_fold_and_the_whole(finished):
    run, _, _ = finished
    for part, moments in (
        (run.folder / "fold-2", ["trained", "untrained"]),
        (run.folder, ["concatenated"]),
    ):
        files = (part / "tensorboard/test/projector").glob("*ed.tsv")
        assert sorted(path.stem for path in files) == moments
    names = {path.name for path in (run.folder / "fold-1/tensorboard").iterdir()}
    assert names == {"train", "validation", "test"}


@pytest.mark.longest
def test_an_interrupted_fold_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, finished):
    whole, expected, _ = finished
    kept = RunCheckpoint.on_epoch_end

    def interrupt(self, epoch, logs=None):
        kept(self, epoch, logs)
        if "fold-2" in str(self._keep.run.folder):
            raise KeyboardInterrupt

    config, run = started(tmp_path, **FOLDS)
    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        quietly(config, run)
    assert run.has_epochs
    monkeypatch.setattr(RunCheckpoint, "on_epoch_end", kept)
    first = (run.folder / "fold-1/model.keras").stat().st_mtime_ns
    found = quietly(run.config, run)
    assert (run.folder / "fold-1/model.keras").stat().st_mtime_ns == first
    for ours, theirs in zip(run.parts, whole.parts, strict=True):
        np.testing.assert_allclose(history(ours), history(theirs), rtol=1e-4, atol=1e-5)
    assert found["concatenated"] == pytest.approx(expected["concatenated"], rel=1e-3, abs=1e-4)


def test_a_run_that_never_began_leaves_nothing(tmp_path, capsys):
    settings = ["--dataset", "digits", "--backbone", "conv4", "--image-size", "16", "--name", "a"]
    settings += ["--classes-per-batch", "3", "--runs-dir", str(tmp_path)]
    # Only the second part of three, and the third of four, are too small.
    for count, message in (
        ("2", "`classes_per_batch` (--classes-per-batch) must be at most the number of training"),
        ("3", "1 for validation, 5 for the test; fold=3 of folds=3"),
    ):
        assert cli.main(["train", *settings, "--folds", count]) == 2
        printed = capsys.readouterr()
        assert message in printed.err and "Fold 1" not in printed.out
        assert list(tmp_path.iterdir()) == []


def test_a_first_fold_that_fails_at_once_leaves_nothing(tmp_path, monkeypatch):
    config, run = started(tmp_path, **FOLDS)

    def refuse(*_):
        raise ValueError("no such layer")

    monkeypatch.setattr(folds, "train_network", refuse)
    with pytest.raises(ValueError, match="no such layer"):
        quietly(config, run)
    run.discard_if_new()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.longest
def test_one_fold_alone_is_that_of_all(tmp_path, finished):
    config, run = started(tmp_path, **FOLDS | {"fold": 2})
    assert set(quietly(config, run)) == {"raw_pixels", "untrained", "trained"}
    assert run.read_json("classes.json")["validation"] == ["3", "4"]
    assert run.parts == []
    np.testing.assert_allclose(history(run), history(finished[0].parts[1]), rtol=1e-4, atol=1e-5)


@pytest.mark.longest
def test_the_monitor_tells_the_best_epoch_and_ends_the_run(tmp_path, monkeypatch):
    real = callbacks.RetrievalMetrics.on_epoch_end

    def scripted(self, epoch, logs=None):
        real(self, epoch, logs)
        logs["val_recall_at_1"] = 0.1 * epoch
        logs["val_map_at_r"] = [0.3, 0.4, 0.2, 0.1, 0.1][epoch]

    monkeypatch.setattr(callbacks.RetrievalMetrics, "on_epoch_end", scripted)
    measure = callbacks.RetrievalMetrics.measure
    monkeypatch.setattr(
        callbacks.RetrievalMetrics,
        "measure",
        lambda self, model: {**measure(self, model), "val_map_at_r": 0.25},
    )
    config, run = started(tmp_path, epochs=5, patience=2, monitor="map_at_r")
    saved = []
    best = OnDisk._write_best
    monkeypatch.setattr(
        OnDisk,
        "_write_best",
        lambda self, epoch, *arguments: (saved.append(epoch + 1), best(self, epoch, *arguments)),
    )
    lines = []
    train(config, run, report=lines.append)
    assert (
        "No better val_map_at_r in 2 epochs: training ends. The best is that of epoch 2." in lines
    )
    assert saved == [1, 1, 2], "the start, then the first epoch and the second"
    assert len(history(run)) == 4


ROWS = [
    {
        "method": "a loss",
        "backbone": "conv4",
        "embedding_dim": 8,
        "source": f"Somebody {year}",
        "verified": {"recall_at_1": True, "nmi": year == 2017},
        "recall_at_1": 0.4259,
        "nmi": 0.5538,
    }
    for year in (2016, 2017)
]


def with_recipe(tmp_path, **record):
    config = TrainConfig(**{**SMALL, "epochs": 1, "clustering": True})
    recipe = {"name": "some-2017", "smoke": False, "changed": {}, "published": [], "why_none": ""}
    recipe |= record
    run = Run.create(config, tmp_path, recipe=recipe)
    assert run.folder.name == "some-2017"
    return run, quietly(config, run), (run.folder / "report.txt").read_text()


@pytest.mark.longest
def test_published_figures_stand_below_a_run_of_a_recipe(tmp_path):
    larger = {**ROWS[0], "embedding_dim": 16, "kind": "concatenated"}
    changed = {"epochs": [50, 1]}
    _, results, said = with_recipe(tmp_path, published=[*ROWS, larger], changed=changed)
    lines = said.splitlines()
    start = lines.index("Published, beside this run of recipe some-2017, on the same classes:")
    assert lines[start - 1] == "Changed from the recipe: epochs 1 instead of 50"
    assert lines[start + 1].split() == ["METHOD", "NETWORK", "DIMENSIONS", "R@1", "NMI", "SOURCE"]
    own = [f"{results['trained'][key]:.4f}" for key in ("recall_at_1", "nmi")]
    assert lines[start + 2].split() == ["this", "run", "conv4", "8", *own]
    assert lines[start + 3].split() == ["a", "loss", "conv4", "8", "0.4259", "0.5538*", "[1]"]
    assert lines[start + 4].split() == ["a", "loss", "conv4", "8", "0.4259", "0.5538", "[2]"]
    assert lines[start + 5].split()[3:5] == ["16", "concatenated"]
    assert lines[start + 6].startswith("* from memory")
    assert lines[start + 7 : start + 9] == ["[1] Somebody 2016", "[2] Somebody 2017"]


@pytest.mark.longest
def test_a_run_that_nothing_may_be_held_against_says_why(tmp_path):
    _, _, said = with_recipe(tmp_path, why_none="It has another size.")
    assert "\nIt has another size.\n" in said and "Published, beside" not in said


def test_figures_are_held_against_those_of_equal_size_and_kind_alone(finished):
    run, results, _ = finished
    row = {"method": "a loss", "backbone": "conv4", "source": "Somebody", "verified": True}
    row |= {"recall_at_1": 0.4, "map_at_r": 0.1}
    alone, separated, wide = (
        {**row, "embedding_dim": size, **kind}
        for size, kind in ((8, {}), (8, {"kind": "separated"}), (16, {"kind": "separated"}))
    )
    together = {**row, "embedding_dim": 16, "kind": "concatenated"}
    narrow = {**together, "embedding_dim": 8}
    for rows, expected in (
        ([separated, together], ["separated", "concatenated"]),
        ([separated], ["separated"]),
        ([together], ["concatenated"]),
        ([narrow, wide], []),
        # Without a word it is one network alone.
        ([alone], ["separated"]),
    ):
        lines = published(rows, _own_rows(run.config, results)).splitlines()
        sizes = {"separated": "8", "concatenated": "16"}
        assert [line.split() for line in lines if line.startswith("this run")] == [
            ["this", "run", "conv4", sizes[kind], kind]
            + [f"{results[kind][key]:.4f}" for key in ("recall_at_1", "map_at_r")]
            for kind in expected
        ]


@pytest.mark.longest
def test_nothing_published_stands_beside_a_stand_in(tmp_path):
    run, results, _ = with_recipe(tmp_path, published=ROWS)
    images = collection(["test"] * 3).images
    named = dataclasses.replace(images, name="cub200 stand-in test")
    assert _published_lines(run, run.config, named, results) == [
        "No published figure is beside these: they are of a stand-in.",
        "",
    ]
    assert "Published, beside" in _published_lines(run, run.config, images, results)[0]


def test_the_summary_has_every_metric_of_the_folds():
    rows = [{"features": {"a": 0}, "untrained": {"a": i}, "trained": {"a": 3 * i}} for i in (1, 3)]
    assert folds._summarize(rows) == {
        "features": {"a": 0},
        "untrained": {"a": 2.0},
        "separated": {"a": 6.0},
        "separated_sd": {"a": pytest.approx(np.sqrt(18))},
    }
