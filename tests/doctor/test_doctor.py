"""What may be wrong with a run: each finding speaks where it should, and is silent elsewhere."""

import csv
import dataclasses
import json
import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.runs import SMALL

from mdl_tf import cli, doctor
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.datasets import ImageSet
from mdl_tf.doctor import batch, beginning, examine, labels, pictures, spread, training
from mdl_tf.doctor.advice import Advice
from mdl_tf.doctor.finding import Finding, as_text, level, worst
from mdl_tf.doctor.suspects import find_suspects, two_clumps
from mdl_tf.losses import LOSSES
from mdl_tf.runs import Run, train
from mdl_tf.runs.network import build_model
from mdl_tf.runs.resolve import resolve


def closed(**settings):
    """A config as a run keeps it, with numbers, but for the settings of its loss."""
    batch = {"classes_per_batch": 32, "images_per_class": 4, "short_classes": "error"}
    config = TrainConfig(**{**batch, **settings})
    return dataclasses.replace(resolve(config), loss_args=config.loss_args)


CONFIG = closed(backbone="conv4", epochs=4, steps_per_epoch=10)
ADVICE = Advice(CONFIG, {"sharpness": 20.0, "form": "smooth"})


def rows(losses, recalls=None):
    recalls = recalls or [None] * len(losses)
    return [
        {"epoch": i, "loss": loss} | ({} if recall is None else {"val_recall_at_1": recall})
        for i, (loss, recall) in enumerate(zip(losses, recalls, strict=True), 1)
    ]


# Levels and text


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (0.4, (0.5, 1), "ok"),
        (0.5, (0.5, 1), "look"),
        (1, (0.5, 1), "wrong"),
        (0.4, (0.3, 0.05), "ok"),
        (0.3, (0.3, 0.05), "look"),
        (0.05, (0.3, 0.05), "wrong"),
    ],
)
def test_levels(value, bounds, expected):
    assert level(value, *bounds) == expected


def test_the_worst_stands_first_and_only_what_is_not_ok_has_rule_and_advice():
    findings = [
        Finding("a", "ok", "All is well.", "some rule.", ("Do this",)),
        Finding("long name", "wrong", "It broke.", "no rule.", ("Mend it: --flag 'a b'",)),
    ]
    assert as_text(findings).splitlines() == [
        "wrong  long name  It broke.",
        "                  Rule: no rule.",
        "                  - Mend it: --flag 'a b'",
        "ok     a          All is well.",
    ]
    assert worst("ok", "wrong", "look") == "wrong"


# The space


def test_the_effective_rank_counts_directions():
    identity = np.eye(6)
    # Centred, plus and minus each of k axes: k equal singular values.
    for k in (1, 2, 5):
        points = np.concatenate([identity[:k], -identity[:k]]) + 7
        assert spread.effective_rank(points) == pytest.approx(k)
    two = np.diag([3.0, 1.0])
    p = np.array([0.75, 0.25])
    expected = math.exp(-(p * np.log(p)).sum())
    assert spread.effective_rank(np.concatenate([two, -two])) == pytest.approx(expected)
    assert spread.effective_rank(np.full((5, 3), 0.1)) == 0


def test_the_mean_distance_is_in_lengths_of_an_embedding():
    points = np.array([[3.0, 0], [0, 3]])
    assert spread.mean_distance(points) == pytest.approx(math.sqrt(2))
    assert spread.mean_distance(np.zeros((3, 2))) == 0


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_collapse_to_a_point_to_a_line_and_none():
    rng = np.random.default_rng(0)
    noise, classes = rng.normal(size=(200, 64)), np.repeat(np.arange(20), 10)
    point = unit(np.eye(64)[:1] + 0.003 * noise)
    line = np.zeros((200, 64))
    angles = np.linspace(0, 1, 200)
    line[:, 0], line[:, 1] = np.cos(angles), np.sin(angles)
    found = spread.check_collapse(point, classes, "validation", ADVICE, 900)
    assert (found.level, found.numbers["dimensions"]) == ("wrong", 64)
    assert found.said == (
        "The network has collapsed: it maps the validation classes almost to one point. Mean "
        f"distance of two embeddings {found.numbers['mean_distance']:.2f} of their length "
        f"(unrelated ones: 1.41); effective rank {found.numbers['effective_rank']:.1f} of 64 "
        "dimensions."
    )
    assert found.rule == "look below a distance of 0.3 or a rank of 6.4, wrong below 0.05 or 1.9."
    assert found.advice[:3] == (
        "Lower the learning rate, which is 0.003: --learning-rate 0.0003",
        "A softer sharpness than 20, so that more than the hardest pairs count: --loss-args "
        "'{\"sharpness\": 5}'",
        "More classes in a batch: --classes-per-batch 64",
    )
    found = spread.check_collapse(line, classes, "training", ADVICE, 900)
    assert found.level == "wrong" and "training classes almost to one line." in found.said
    assert found.numbers["mean_distance"] > 0.3
    assert spread.check_collapse(unit(noise), classes, "validation", ADVICE, 900).level == "ok"


def test_two_classes_need_not_spread_over_many_directions():
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(2, 64)))
    classes = np.repeat([0, 1], 20)
    points = unit(centres[classes] + 0.002 * rng.normal(size=(40, 64)))
    assert spread.effective_rank(points) < 6.4
    assert spread.check_collapse(points, classes, "validation", ADVICE, 5).level == "ok"


# The history


@pytest.mark.parametrize("form", ["smooth", "hinge", "hardest"])
def test_the_loss_of_a_collapsed_network_is_that_of_the_formula(form):
    config = TrainConfig(
        classes_per_batch=5,
        images_per_class=3,
        loss_args={"form": form, "margin": 0.3, "sharpness": 10},
    )
    bound = 0.3 + math.log(2 * 12) / 10
    expected = {
        "smooth": math.log(1 + math.exp(10 * bound)) / 10,
        "hinge": bound,
        "hardest": 0.3,
    }
    assert examine.collapsed_loss(config, 7) == pytest.approx(expected[form], rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_has_a_value_for_a_collapsed_network(loss):
    config = TrainConfig(loss=loss, classes_per_batch=3, images_per_class=2, embedding_dim=4)
    assert math.isfinite(examine.collapsed_loss(config, 6))


def test_a_classifier_that_knows_nothing():
    config = TrainConfig(loss="normalized_softmax", classes_per_batch=3, images_per_class=2)
    assert examine.collapsed_loss(config, 6) == pytest.approx(math.log(6), rel=1e-5)


def test_a_stuck_loss():
    found = training.check_stuck(rows([0.54, 0.51, 0.5]), 0.496, ADVICE, 900)
    assert found.level == "wrong"
    assert found.said == (
        "The loss is stuck where a network has it that maps all images to one point, 0.496: 0.54 "
        "in the first epoch, 0.5 in the last (101% of it)."
    )
    assert found.rule == "look from 95%, wrong from 98% after 3 epochs."
    assert training.check_stuck(rows([0.54, 0.5]), 0.496, ADVICE, 900).level == "look"
    assert training.check_stuck(rows([0.54, 0.5, 0.48]), 0.496, ADVICE, 900).level == "look"


def test_a_loss_that_falls_is_not_stuck():
    assert training.check_stuck(rows([0.49, 0.45, 0.3]), 0.496, ADVICE, 900).level == "ok"
    found = training.check_stuck(rows([0.4, 0.5]), 0.0, ADVICE, 900)
    assert found.level == "ok"
    assert found.said == (
        "The loss went from 0.4 to 0.5. A collapsed network has 0 with it, so that its value alone "
        "does not tell."
    )


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0, 0.8, 0.85], "ok"),
        ([1.0], "ok"),
        ([1.0, 0.5, 0.6], "look"),
        ([1.0, 0.5, 0.8], "wrong"),
        ([1.0, 0.95, 1.2], "wrong"),
        ([1.0, math.nan], "wrong"),
        ([1.0, 0.0, 0.0], "ok"),
    ],
)
def test_the_direction_of_the_loss(losses, expected):
    assert training.check_direction(rows(losses), ADVICE).level == expected


def test_what_is_said_of_a_loss():
    def said(losses):
        return training.check_direction(rows(losses), ADVICE).said

    assert said([1.0, 0.5, 0.8]) == (
        "The loss went from 1 to 0.8 in 3 epochs, after 0.5 in epoch 2: it rises."
    )
    assert said([1.0]) == "The loss went from 1 to 1 in 1 epoch."
    assert said([1.0, math.inf, 1.0]) == "The loss is no number from epoch 2 on."


def test_overfitting():
    found = training.check_overfitting(rows([1, 0.5, 0.1], [0.5, 0.7, 0.5]), 1000, ADVICE)
    assert found.level == "wrong"
    assert found.said == (
        "It overfits: Recall@1 of the validation classes fell from 0.700 (epoch 2) to 0.500 "
        "while the loss went on falling."
    )
    assert found.advice == (
        "Show each image differently every time: --augment crop, or modern",
        "Weight decay: --weight-decay 0.0001",
        "End when it gets no better: --patience 3",
    )
    found = training.check_overfitting(rows([1, 0.5, 0.1], [0.5, 0.7, 0.65]), 1000, ADVICE)
    assert found.level == "look" and found.said.startswith("It begins to overfit: ")


@pytest.mark.parametrize(
    ("losses", "recalls", "images"),
    [
        ([1, 0.5, 0.4], [0.5, 0.6, 0.7], 1000),
        # Within two standard errors of so few images.
        ([1, 0.5, 0.4], [0.5, 0.7, 0.65], 100),
        # Something else, which other findings tell.
        ([1, 0.5, 0.9], [0.5, 0.7, 0.5], 1000),
    ],
)
def test_no_overfitting(losses, recalls, images):
    assert training.check_overfitting(rows(losses, recalls), images, ADVICE).level == "ok"


def test_without_validation_nothing_is_said_about_overfitting():
    assert training.check_overfitting(rows([1, 0.5]), 0, ADVICE) is None


def test_a_run_that_did_not_come_to_its_end():
    found = training.check_finished(rows([1, 0.5]), 4, False, 1000, ADVICE, "runs/x")
    assert found.level == "look"
    assert found.said == (
        "The run has 2 of its 4 epochs: it goes on, was interrupted, or its loss was no number in "
        "the next one (`mdl-tf train` says so)."
    )
    assert found.advice[0] == "Go on: mdl-tf train --resume runs/x"
    patient = training.check_finished(rows([1, 0.5]), 4, True, 1000, ADVICE, "runs/x")
    assert (patient.level, patient.said) == ("ok", "The run ended after 2 of 4 epochs.")


def test_a_run_that_was_still_getting_better():
    history = rows([4, 3, 2, 1], [0.1, 0.2, 0.3, 0.5])
    found = training.check_finished(history, 4, False, 1000, ADVICE, "runs/x")
    assert found.level == "look"
    assert found.said == (
        "The run ended after 4 of 4 epochs, and Recall@1 of the validation classes was still "
        "rising: 0.300 to 0.500 in the last epoch."
    )
    assert found.advice == ("Train longer: --epochs 8",)
    step = Advice(dataclasses.replace(CONFIG, schedule="step"), {})
    assert step.longer("runs/x") == ["Go on: mdl-tf train --resume runs/x --epochs 8"]
    history[-1]["val_recall_at_1"] = 0.32
    assert training.check_finished(history, 4, False, 1000, ADVICE, "runs/x").level == "ok"


# The start and the features


def measured(values, monitor="map_at_r"):
    return [{"epoch": i, f"val_{monitor}": value} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "images", "expected"),
    [
        # Before the first step, then epochs.
        ([0.40, 0.41, 0.30], 1000, "ok"),
        ([0.40, 0.30, 0.41], 1000, "ok"),
        # Two standard errors of 0.4 with 1,000 images are 0.031.
        ([0.40, 0.38, 0.30], 1000, "look"),
        ([0.40, 0.40], 1000, "look"),
        ([0.40, 0.36, 0.35], 1000, "wrong"),
        ([0.40, 0.36, 0.35], 100, "look"),
        ([0.0, 0.0], 100, "look"),
    ],
)
def test_epochs_against_the_start(values, images, expected):
    start, *history = measured(values)
    found = beginning.check_start(history, start, "map_at_r", images, ADVICE, 900)
    assert found.level == expected
    assert found.numbers["start"] == values[0] and found.numbers["best"] == max(values[1:])


def test_what_is_said_of_the_start():
    start, *history = measured([0.40, 0.33, 0.36, 0.2])
    found = beginning.check_start(history, start, "map_at_r", 1000, ADVICE, 900)
    assert found.said == (
        "No epoch was better than the start: MAP@R of the validation classes is 0.400 before the "
        "first step, and 0.360 in the best epoch (2). `model.keras` is the start."
    )
    assert found.rule == (
        "look if no epoch is better than the start, wrong if the best is worse by two standard "
        "errors with 1,000 images (0.031)."
    )
    assert found.advice[0] == "Lower the learning rate, which is 0.003: --learning-rate 0.0003"
    assert "Let `mdl-tf compare` try learning rates, losses and their settings" in found.advice
    assert not any("--frozen" in text for text in found.advice), "it begins at random"
    found = beginning.check_start(history[:1], measured([0.1])[0], "map_at_r", 1000, ADVICE, 900)
    assert found.said == (
        "MAP@R of the validation classes is 0.330 in the best epoch (1), 0.100 before the first "
        "step."
    )


@pytest.mark.parametrize(
    ("start", "history", "images"),
    [
        (None, measured([0.1]), 1000),
        (measured([0.1])[0], [], 1000),
        (measured([0.1])[0], measured([0.1]), 0),
        # Another metric was watched then.
        (measured([0.1], "recall_at_1")[0], measured([0.1]), 1000),
    ],
)
def test_without_a_start_nothing_is_said_of_it(start, history, images):
    assert beginning.check_start(history, start, "map_at_r", images, ADVICE, 900) is None


def on_test(**values):
    return {name: {"map_at_r": value, "recall_at_1": 0.5} for name, value in values.items()}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"features": 0.3, "untrained": 0.35, "trained": 0.4}, "ok"),
        # The start was kept.
        ({"features": 0.3, "untrained": 0.4, "trained": 0.4}, "ok"),
        ({"features": 0.3, "untrained": 0.41, "trained": 0.4}, "look"),
        ({"features": 0.41, "untrained": 0.3, "trained": 0.4}, "wrong"),
        ({"features": 0.41, "untrained": 0.42, "trained": 0.4}, "wrong"),
        ({"raw_pixels": 0.9, "untrained": 0.3, "trained": 0.4}, "ok"),
        ({"raw_pixels": 0.9, "untrained": 0.5, "trained": 0.4}, "look"),
    ],
)
def test_trained_against_the_features_and_the_start(values, expected):
    assert beginning.check_features(on_test(**values), ADVICE, 900).level == expected


def test_what_is_said_of_the_features():
    advice = Advice(closed(backbone="resnet50", weights="imagenet"), {})
    values = {"features": 0.41, "untrained": 0.38, "trained": 0.4}
    found = beginning.check_features(on_test(**values), advice, 900)
    assert found.said == (
        "MAP@R on the test classes is 0.400 after training, 0.410 of the features of unit length "
        "and 0.380 of the start, before the first step: training has made it worse than the "
        "features of unit length."
    )
    assert found.advice[0].endswith("--head pca")
    assert any("--frozen" in text for text in found.advice)
    assert dict(found.numbers) == values
    found = beginning.check_features(on_test(untrained=0.38, trained=0.3), advice, 900)
    assert found.said.endswith("training has made it worse than the start.")
    assert not any("--head" in text for text in found.advice)


def test_what_was_not_measured_is_not_judged():
    assert beginning.check_features({}, ADVICE, 900) is None
    assert beginning.check_features(on_test(features=0.3, untrained=0.3), ADVICE, 900) is None
    assert beginning.check_features(on_test(trained=0.3), ADVICE, 900) is None


# The batches


def config(**settings):
    return dataclasses.replace(CONFIG, **settings)


def test_one_positive_is_few_but_for_losses_made_for_it():
    def found(k, loss="margin_discriminate", sizes=(4, 9)):
        run_config = config(images_per_class=k, loss=loss)
        return batch.check_positives(run_config, np.array(sizes), Advice(run_config, {}))

    assert found(2)[:3] == (
        "positives",
        "look",
        "Each image has 1 positive in its batch (images_per_class 2): the margin_discriminate loss "
        "cannot choose among them or weigh them.",
    )
    assert found(2).advice == ("More images of each class in a batch: --images-per-class 4",)
    assert found(2, sizes=(3, 9)).advice == (
        "More images of each class in a batch: --images-per-class 4, with --short-classes drop for "
        "classes of fewer, such as one of 3",
    )
    assert found(3).level == "ok"
    assert found(2, "n_pairs").level == found(2, "proxy_anchor").level == "ok"


@pytest.mark.parametrize(("p", "expected"), [(2, "wrong"), (3, "look"), (7, "look"), (8, "ok")])
def test_classes_of_a_batch(p, expected):
    found = batch.check_classes(
        config(classes_per_batch=p), 9, Advice(config(classes_per_batch=p), {})
    )
    assert found.level == expected
    assert found.said == (
        f"A batch has {p} of the 9 training classes, so that each image has {4 * (p - 1)} "
        f"negatives of {p - 1} class{'es' if p > 2 else ''}."
    )
    assert found.advice == (f"More classes in a batch: --classes-per-batch {min(2 * p, 9)}",)


def test_no_more_classes_than_there_are():
    few = config(classes_per_batch=3)
    found = batch.check_classes(few, 3, Advice(few, {}))
    assert found.advice == (
        "There are no more classes to train on: other images, or data, are needed",
    )


def test_short_classes():
    sizes = np.array([2, 4, 9, 9])
    found = batch.check_short_classes(config(short_classes="repeat"), sizes)
    assert (found.level, found.numbers) == ("look", {"short_classes": 1, "share": 2 / 16})
    assert found.said == (
        "1 of 4 training classes have fewer than 4 images and fill 12% of the batches with copies "
        "of images."
    )
    found = batch.check_short_classes(config(short_classes="drop"), sizes)
    assert (found.level, found.numbers["share"]) == ("ok", 2 / 24)
    assert found.said == (
        "1 of 4 training classes have fewer than 4 images and are left out, 8% of the images."
    )
    assert batch.check_short_classes(CONFIG, np.array([4, 5])).level == "ok"


def test_unequal_classes():
    sizes, names = np.array([10, 10, 10, 80]), ["a", "b", "c", "other"]
    found = batch.check_unequal(config(classes_per_batch=2), sizes, names)
    assert found.level == "look"
    # 40 batches of 2 x 4 over 4 classes: 80 images of each.
    assert found.said == (
        "The largest class, other, has 80 images, 8.0 times the median of 10. Batches take every "
        "class equally often: in the whole run an image of it is used 1.0 times, one of a middle "
        "class 8.0 times."
    )
    assert batch.check_unequal(CONFIG, np.array([10, 30]), names).level == "ok"


# Labels


def clouds(classes=12, images=14, spread=0.3, dim=16, seed=0):
    """Unit vectors around a centre for each class."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(classes, dim)))
    ids = np.repeat(np.arange(classes), images)
    return unit(centres[ids] + spread * rng.normal(size=(len(ids), dim)) / np.sqrt(dim)), ids, rng


def test_exchanged_labels_are_the_surest_suspects():
    embeddings, ids, rng = clouds()
    exchanged = rng.choice(len(ids), 8, replace=False)
    truth, ids = ids, ids.copy()
    ids[exchanged] = (ids[exchanged] + rng.integers(1, 12, 8)) % 12
    found = find_suspects(embeddings, ids)
    assert set(found.order[:8].tolist()) == set(exchanged.tolist())
    assert 7 <= found.counted <= 8
    np.testing.assert_array_equal(found.looks_like[exchanged], truth[exchanged])
    said = labels.check_images(found)
    assert said.level == "wrong"
    assert said.said == (
        f"{found.counted} of 168 images ({found.counted / 168:.1%}) lie so far inside another "
        "class that their labels look wrong, and their nearest images are of that class; 95% of "
        "the images are nearest to the mean of their own class."
    )
    assert said.rule.endswith("there are fewer suspects than wrong labels.")


def test_right_labels_are_no_suspects():
    embeddings, ids, _ = clouds()
    found = find_suspects(embeddings, ids)
    assert found.counted == 0 and found.right == {"all": 1}
    assert labels.check_images(found).level == "ok"
    said = labels.check_classes(found, [f"c{c}" for c in range(12)])
    a, b, apart = found.pairs[0]
    assert (said.level, said.said) == (
        "ok",
        f"No two classes look like one, and none like two; the nearest pair: c{a} and c{b} "
        f"({apart:.1f}).",
    )


def test_hard_classes_with_right_labels_are_few_suspects():
    embeddings, ids, _ = clouds(classes=30, spread=1.2)
    found = find_suspects(embeddings, ids)
    assert 0.5 < found.right["all"] < 0.95
    assert labels.check_images(found).level != "wrong"


def labelled(images, wrong, seed):
    """Embeddings of which some are unlike their class; labels; which of them are wrong."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(60), images)
    far = 0.6 / np.sqrt(rng.gamma(1.5, 1 / 1.5, (len(truth), 1)))
    embeddings = unit(rng.normal(size=(60, 32)))[truth]
    embeddings = unit(embeddings + far * rng.normal(size=embeddings.shape) / np.sqrt(32))
    exchanged = rng.choice(len(truth), round(wrong * len(truth)), replace=False)
    ids = truth.copy()
    ids[exchanged] = (ids[exchanged] + rng.integers(1, 60, len(exchanged))) % 60
    return embeddings, ids, ids != truth


@pytest.mark.parametrize("images", [4, 10, 50])
def test_right_labels_of_images_unlike_their_class(images):
    found = [find_suspects(*labelled(images, 0, seed)[:2]) for seed in range(4)]
    share = sum(f.counted for f in found) / sum(len(f.odds) for f in found)
    alone = sum((f.judged & (f.score >= 2 / 3)).sum() for f in found)
    assert share <= 0.005
    # By the means alone there would be more.
    assert alone > sum(f.counted for f in found)


@pytest.mark.parametrize(
    "images, wrong, precision, recall",
    [(4, 0.05, 0.95, 0.5), (4, 0.2, 0.95, 0.35), (10, 0.05, 0.9, 0.8), (10, 0.2, 0.95, 0.6)]
    + [(50, 0.05, 0.9, 0.8), (50, 0.2, 0.95, 0.6)],
)
def test_wrong_labels_in_small_and_large_classes(images, wrong, precision, recall):
    hits = counted = all_wrong = 0
    for seed in range(3):
        embeddings, ids, is_wrong = labelled(images, wrong, seed)
        found = find_suspects(embeddings, ids)
        hits += (found.is_counted & is_wrong).sum()
        counted += found.counted
        all_wrong += is_wrong.sum()
        said = labels.check_images(found)
        assert (images == 4) == ("The classes are small, 4 images" in said.said)
        assert said.level == ("look" if images == 4 else "wrong")
    assert hits / counted >= precision
    assert hits / all_wrong >= recall


def test_a_network_that_tells_nothing_judges_no_labels():
    rng = np.random.default_rng(0)
    found = find_suspects(unit(rng.normal(size=(120, 8))), np.repeat(np.arange(12), 10))
    assert not found.judges
    said = labels.check_images(found)
    assert (said.level, said.said) == (
        "look",
        f"Only {found.right['all']:.0%} of the images are nearest to the mean of their own class: "
        "the network cannot tell yet which labels are wrong, and no list of suspects is written.",
    )


def test_only_the_side_that_the_network_knows_is_judged():
    embeddings, ids, rng = clouds()
    last = ids >= 8
    embeddings = np.where(last[:, None], unit(rng.normal(size=embeddings.shape)), embeddings)
    sides = ["train"] * 8 + ["validation"] * 4
    found = find_suspects(embeddings, ids, sides)
    np.testing.assert_array_equal(found.judged, ~last)
    everything = found._replace(
        score=np.ones(len(ids)), near_own=np.zeros(len(ids)), near_other=np.full(len(ids), 5)
    )
    assert everything.counted == 112
    assert not last[found.order].any() and found.scattered == found.one_class == []
    assert labels.check_images(found).said == (
        "0 of 112 images (0.0%) lie so far inside another class that their labels look wrong, and "
        f"their nearest images are of that class; 100% of the training images and "
        f"{found.right['validation']:.0%} of the validation images "
        "are nearest to the mean of their own class. Labels of the validation images are not "
        "judged, below 30%. The network knows its training images by heart, wrong labels too, so "
        "hardly any of them can be seen."
    )


@pytest.mark.parametrize(
    "train, validation, by_heart",
    [(1.0, 0.6, True), (0.99, 0.79, True), (0.97, 0.5, False), (1.0, 0.81, False)]
    + [(1.0, None, False), (None, 0.5, False)],
)
def test_labels_known_by_heart_are_no_good_sign(train, validation, by_heart):
    embeddings, ids, _ = clouds()
    right = {"train": train, "validation": validation}
    right = {side: share for side, share in right.items() if share is not None}
    suspects = find_suspects(embeddings, ids)._replace(right=right)
    said = labels.check_images(suspects)
    assert said.level == ("look" if by_heart else "ok")
    assert ("by heart" in said.said) == by_heart
    assert any("Train with folds" in line for line in said.advice) == by_heart
    # Who has trained with folds is not told to.
    of_fold = " ".join(labels.check_images(suspects, is_fold=True).advice)
    assert "Train with folds" not in of_fold
    assert ("the other folds" in of_fold) == by_heart


def test_a_network_is_less_sure_of_what_it_knows_less():
    embeddings, ids, rng = clouds(classes=20, images=20)
    unsure = ids >= 10
    embeddings[unsure] = unit(embeddings[unsure] + 0.4 * rng.normal(size=(200, 16)))
    together = find_suspects(embeddings, ids).odds
    apart = find_suspects(embeddings, ids, ["train"] * 10 + ["validation"] * 10).odds
    assert (np.abs(apart) < np.abs(together))[unsure].all()
    assert (np.abs(apart) > np.abs(together))[~unsure].all()


def test_an_image_does_not_vouch_for_itself():
    embeddings = np.array([[0.0], [0.1], [1.0], [1.1], [1.05]])
    found = find_suspects(embeddings, np.array([0, 0, 1, 1, 0]))
    assert found.looks_like[4] == 1 and found.odds[4] > 0


def test_an_image_alone_in_its_class_is_no_suspect():
    embeddings = np.array([[0.0], [0.1], [1.0], [1.1], [0.05]])
    found = find_suspects(embeddings, np.array([0, 0, 1, 1, 2]))
    assert found.score[4] < 1e-9 and 4 not in found.order


def test_equal_embeddings_are_no_error():
    found = find_suspects(np.ones((20, 4)), np.repeat(np.arange(5), 4))
    assert not found.judges and found.counted == 0


def test_one_class_under_two_names_and_two_under_one():
    embeddings, ids, _ = clouds(images=24)
    ids = ids.copy()
    ids[np.flatnonzero(ids == 3)[::2]] = 12
    ids[ids == 7] = 6
    ids[ids == 12] = 7
    found = find_suspects(embeddings, ids)
    assert [pair[:2] for pair in found.one_class] == [(3, 7)]
    assert 0.3 < found.one_class[0][2] < 3
    assert found.two_classes == [6]
    said = labels.check_classes(found, [f"c{c}" for c in range(12)])
    assert (said.level, len(said.advice)) == ("look", 2)
    assert said.said == (
        f"1 pair of classes may be one under two names: c3 and c7 ({found.pairs[0][2]:.1f}); "
        "1 class may be two under one name: c6."
    )
    members = np.flatnonzero(ids == 6)
    parts = {tuple(part) for part in found.parts[6]}
    assert parts == {tuple(members[:24]), tuple(members[24:])}


def test_some_odd_images_are_no_second_class():
    embeddings, ids, _ = clouds(images=24)
    odd = np.flatnonzero(ids == 2)[:2]
    embeddings = embeddings.copy()
    # Off, but nearer to their own class than to any other.
    embeddings[odd] += 0.8 * np.linalg.svd(embeddings)[2][-1]
    assert find_suspects(embeddings, ids).counted == 0
    first = two_clumps(embeddings[ids == 2])
    assert {first[:2].all(), first[2:].all()} == {True, False}
    assert find_suspects(embeddings, ids).two_classes == []


def test_a_class_that_is_a_remainder_is_scattered():
    embeddings, ids, rng = clouds()
    embeddings, ids = embeddings.copy(), ids.copy()
    others = rng.choice(np.flatnonzero(ids != 0), 14, replace=False)
    embeddings[ids == 0] = unit(embeddings[others] + 0.01)
    found = find_suspects(embeddings, ids)
    assert found.scattered == [0]
    assert "1 class scattered among others" in labels.check_classes(found, ["x"] * 12).said


# What to do


def test_every_flag_of_the_advice_is_one_of_train():
    known = cli._parser().flags_of("train")
    seen = set()
    for settings in (
        {"backbone": "resnet50", "weights": "imagenet", "batch_norm": "train"},
        {"backbone": "resnet50", "short_classes": "repeat", "schedule": "step"},
        {"backbone": "resnet50", "weights": "imagenet", "frozen": True, "image_size": 64},
        {"backbone": "none", "dataset": "npz", "data_dir": "x", "classes_per_batch": 2},
        {"loss_args": {"form": "hardest"}},
        {"loss": "triplet", "loss_args": {"mining": "hard"}},
    ):
        run_config = closed(**settings)
        advice = Advice(run_config, examine.loss_settings(run_config, 9))
        found = [
            *(f() for f in (advice.lower_rate, advice.other_rate, advice.softer, advice.clip)),
            *(f() for f in (advice.pooling, advice.pretrained, advice.other_head)),
            advice.better_than_the_start(9),
            advice.more_images(2),
            *(advice.longer("runs/x"), advice.more_classes(9), advice.against_overfitting()),
        ]
        found += [batch.check_short_classes(run_config, np.array([2, 9])).advice]
        text = " ".join(" ".join(part) for part in found)
        seen |= set(re.findall(r"--[a-z-]+", text))
        for arguments in re.findall(r"--loss-args '([^']*)'", text):
            changed = dataclasses.replace(run_config, loss_args=json.loads(arguments))
            examine.loss_settings(changed, 9)
    assert seen <= set(known)
    assert {"--loss-args", "--pooling", "--weights", "--batch-norm", "--clip-norm"} <= seen
    assert {"--frozen", "--head"} <= seen


def test_features_alone_get_no_advice_about_a_network():
    features = Advice(TrainConfig(backbone="none", dataset="npz", data_dir="x"), {})
    assert features.pooling() == features.pretrained() == []
    assert "--augment" not in " ".join(features.against_overfitting())


# A run


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A finished run on features, of which three training labels were exchanged."""
    folder = tmp_path_factory.mktemp("doctor")
    embeddings, ids, _ = clouds(classes=16, images=10)
    ids = ids.copy()
    ids[[5, 25, 45]] = [1, 3, 5]
    names = np.array([f"c{c:02d}" for c in range(16)])
    np.savez(folder / "f.npz", features=embeddings.astype(np.float32), labels=names[ids])
    settings = {"dataset": "npz", "data_dir": str(folder / "f.npz"), "backbone": "none"}
    settings |= {"classes_per_batch": 4, "validation": 0.25, "tensorboard": False}
    settings |= {"epochs": 2, "steps_per_epoch": 4, "clustering": False}
    run_config = TrainConfig(**settings)
    run = Run.create(run_config, folder, "run")
    train(run_config, run, report=lambda line: None)
    return run


def copied(run, folder):
    return Run(shutil.copytree(run.folder, folder / "run"))


def test_a_run_on_features(features, tmp_path, capsys):
    run = copied(features, tmp_path)
    assert cli.main(["doctor", str(run.folder)]) == 0
    said = capsys.readouterr().out
    assert "labels look wrong" in " ".join(said.split())
    names = {path.name for path in (run.folder / "doctor").iterdir()}
    assert names == {"report.txt", "suspects.csv", "classes.csv", "distances.png"}
    report = (run.folder / "doctor" / "report.txt").read_text(encoding="utf-8")
    assert report.rstrip("\n") in said
    with open(run.folder / "doctor" / "suspects.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        *("path", "class", "looks_like", "score", "near_own", "near_other", "class_images"),
        "split",
    ]
    first = {(row["path"], row["class"], row["looks_like"]) for row in table[:3]}
    assert first == {
        ("feature 5", "c01", "c00"),
        ("feature 25", "c03", "c02"),
        ("feature 45", "c05", "c04"),
    }
    with open(run.folder / "doctor" / "classes.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    kept = run.read_json("classes.json")
    assert {row["class"] for row in table} == {*kept["train"], *kept["validation"]}
    assert {row["class"] for row in table if row["split"] == "validation"} == {*kept["validation"]}


def test_the_start_of_a_run_is_found(features, tmp_path):
    run = copied(features, tmp_path)
    state = run.read_json("resume/state.json")
    found = {finding.name: finding for finding in doctor.diagnose(run).findings}
    assert found["start"].numbers["start"] == state["start"]["val_map_at_r"]
    metrics = run.read_json("metrics.json")
    assert found["features"].numbers["features"] == metrics["features"]["map_at_r"]
    state["start"]["val_map_at_r"] = 1.0
    run.write_json("resume/state.json", state)
    metrics["features"]["map_at_r"], metrics["trained"]["map_at_r"] = 0.5, 0.4
    run.write_json("metrics.json", metrics)
    found = {finding.name: finding for finding in doctor.diagnose(run).findings}
    assert found["features"].level == "wrong"
    # An old run has no start.
    del state["start"]
    run.write_json("resume/state.json", state)
    assert "start" not in {finding.name for finding in doctor.diagnose(run).findings}


def test_json_is_all_of_the_output(features, tmp_path, capsys):
    run = copied(features, tmp_path)
    assert cli.main(["doctor", str(run.folder), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "Embed training and validation" in captured.err
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert by_name["labels of images"]["numbers"]["judged"] == 80
    assert by_name["stuck loss"]["numbers"]["collapsed_loss"] == pytest.approx(
        0.2 + math.log(3 * 12) / 20, rel=1e-2
    )
    levels = [finding["level"] for finding in found["findings"]]
    assert levels == sorted(levels, key=("wrong", "look", "ok").index)
    assert [path.rsplit("/", 1)[1] for path in found["files"]][-1] == "report.txt"


def test_a_run_without_a_model(features, tmp_path):
    run = copied(features, tmp_path)
    (run.folder / "doctor").mkdir()
    (run.folder / "doctor" / "suspects.csv").touch()
    run.model.unlink()
    found = doctor.diagnose(run)
    assert found.notes == [
        f"{run.folder} has no model.keras, which is kept after the first epoch: collapse and "
        "labels were not looked at."
    ]
    assert {"loss", "positives", "finished"} <= {finding.name for finding in found.findings}
    # What an earlier diagnosis said of another model is gone.
    assert [path.name for path in (run.folder / "doctor").iterdir()] == ["report.txt"]
    (run.folder / "history.csv").unlink()
    names = {finding.name for finding in doctor.diagnose(run).findings}
    batches = {"positives", "classes", "short classes", "unequal classes", "identical images"}
    assert names == {*batches, "features", "finished"}


def test_an_older_run_folder(features, tmp_path):
    run = copied(features, tmp_path)
    old = run.read_json("config.json")
    for key in ("folds", "fold", "monitor"):
        del old[key]
    old["version"] = "0.1.1"
    run.write_json("config.json", old)
    (run.folder / "classes.json").unlink()
    shutil.rmtree(run.folder / "resume")
    assert not doctor.diagnose(run).notes


def test_embeddings_that_are_no_numbers(features, tmp_path, monkeypatch):
    run = copied(features, tmp_path)
    broken = np.full((80, 64), np.nan, np.float32)
    monkeypatch.setattr(examine, "embeddings_of", lambda *_: broken)
    (found,) = [f for f in doctor.diagnose(run).findings if f.name == "collapse"]
    assert (found.level, found.said) == (
        "wrong",
        "The network gives 80 of 80 images no finite embedding.",
    )


def message(run):
    with pytest.raises(ValueError) as raised:
        doctor.diagnose(run)
    return str(raised.value)


def test_messages(features, tmp_path):
    run = copied(features, tmp_path)
    settings = run.read_json("config.json")
    (run.folder / "history.csv").write_text("epoch,loss\n1,much\n")
    assert message(run) == (
        f"{run.folder / 'history.csv'} must be what `mdl-tf train` writes. Received: could not "
        "convert string to float: 'much'"
    )
    (run.folder / "history.csv").unlink()
    gone = str(tmp_path / "gone.npz")
    run.write_json("config.json", {**settings, "data_dir": gone})
    assert gone in message(run)
    run.write_json("config.json", {**settings, "folds": 2, "validation": 0.1})
    assert message(run) == (
        f"The run must be of one network; of a run with folds name one, such as "
        f"{run.folder / 'fold-1'}. Received: {run.folder}, a run of 2 folds"
    )
    with pytest.raises(ConfigError, match="must be split as it was when the run began"):
        run.write_json("config.json", {**settings, "validation": 0.5})
        doctor.diagnose(run)


def test_a_folder_that_cannot_be_written(features, tmp_path):
    run = copied(features, tmp_path)
    (run.folder / "doctor").touch()
    assert message(run).startswith("The run folder must be writable. Received: ")


def test_a_run_on_images_has_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_ROWS", 2)
    run_config = closed(**SMALL)
    run = Run.create(run_config, tmp_path)
    # Of digits an untrained network finds enough.
    build_model(run_config).save(run.model)
    found = doctor.diagnose(run)
    names = {path.name for path in found.files}
    assert names >= {"suspects.png", "suspects.csv", "distances.png", "report.txt"}
    data = examine.read_data(run, run_config)
    assert data.images.num_classes == 5 and len(data.training_names) == 3
    assert data.file_of(0) == "image 0"
    found = {"one_class": [], "two_classes": [], "parts": {4: (np.arange(9), np.arange(9, 12))}}
    assert pictures.draw_classes(SimpleNamespace(**found), data.images) is None
    found |= {"one_class": [(0, 1, 1.0)], "two_classes": [4]}
    figure = pictures.draw_classes(SimpleNamespace(**found), data.images)
    titles = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert titles == [
        *("one class?\n0", "one class?\n1"),
        *("two classes?\n4\npart 1", "two classes?\n4\npart 2"),
    ]


def test_long_and_unprintable_names_are_shortened_and_cleaned():
    names = ("007.Acura Integra Type R Hatchback 2001", "tab\tred\x1b[31m")
    images = ImageSet("cars", np.array([0, 0, 1, 1]), names, images=np.zeros((4, 9, 9), np.uint8))
    suspected = SimpleNamespace(one_class=[(0, 1, 1.0)], two_classes=[], parts={})
    figure = pictures.draw_classes(suspected, images)
    titles = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert titles == ["one class?\n007.Acura ...chback 2001", "one class?\ntab red\\x1b[31m"]


def test_findings_share_no_numbers():
    finding = Finding("a", "ok", "All is well.")
    with pytest.raises(TypeError):
        finding.numbers["a"] = 1
    assert json.loads(doctor.Diagnosis([finding], [], []).to_json())["findings"][0] == {
        **{"name": "a", "level": "ok", "said": "All is well.", "rule": ""},
        **{"advice": [], "numbers": {}},
    }
