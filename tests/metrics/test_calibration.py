"""Thresholds that are settled on some classes keep their rate, and go through a file."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mdl_tf.metrics.calibration import (
    Calibration,
    calibrate,
    describe,
    describe_trial,
    try_thresholds,
)
from mdl_tf.metrics.retrieval import sample_distances
from mdl_tf.metrics.verification import Roc


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(400), 6)
    points = rng.normal(size=(400, 8))[labels] + 0.3 * rng.normal(size=(2400, 8))
    return (points[:1200], labels[:1200]), (points[1200:], labels[1200:])


def test_a_threshold_keeps_its_rate_on_its_classes_and_about_so_on_others(sides):
    calibration = calibrate(*sides[0])
    positive, negative = sample_distances(*sides[0], 1_000_000)
    for far in (0.3, 0.05, 1e-2, 3e-3, 1e-3, 1e-4):
        point = calibration.point(far)
        assert point.far <= far * 1.000001
        assert (negative <= point.threshold).mean() <= point.far
        # The next larger one would be too much, or a twentieth of a factor of ten away.
        assert (negative <= point.threshold).mean() > far / 1.3 - 2 / len(negative)
        assert (positive <= point.threshold).mean() == pytest.approx(point.tar, abs=1e-9)
        assert point.accepted == int(point.far * len(negative) * (1 + 1e-12))
    _, others = sample_distances(*sides[1], 1_000_000)
    assert 0.5 < (others <= calibration.point(1e-2).threshold).mean() / 1e-2 < 2
    assert 0.01 < calibration.eer < 0.1 and calibration.classes == 200


def test_it_goes_through_a_file(sides):
    calibration = calibrate(*sides[0], source="validation")
    again = Calibration.from_json(calibration.to_json())
    assert repr(again) == repr(calibration)
    for mine, kept in zip(calibration.points, again.points, strict=True):
        assert kept == pytest.approx(mine, rel=1e-8)
    assert len(calibration.to_json()) < 10_000
    assert "1 in 100 " in describe(again) and "1 in 10,000 " in describe(again)


def test_what_so_few_pairs_cannot_tell():
    labels = np.repeat(np.arange(10), 2)
    points = np.random.default_rng(0).normal(size=(20, 3))
    calibration = calibrate(points, labels)  # 180 pairs of two classes
    assert calibration.point(0.01).accepted == 1
    with pytest.raises(
        ValueError, match="`far` must be .* at least 0.006: it saw 180 .* far=0.001"
    ):
        calibration.point(1e-3)
    with pytest.raises(ValueError, match="of which there is none"):
        calibrate(np.zeros((20, 3)), labels).point(0.1)
    with pytest.raises(ValueError, match="`labels` must hold .* 0 pairs of one class"):
        calibrate(points, np.arange(20))
    with pytest.raises(ValueError, match="`far` must be .* Received: far=0"):
        calibration.point(0)


@pytest.mark.parametrize("change", ["version", "points", "eer", "text", "list"])
def test_a_damaged_file(sides, change):
    kept = json.loads(calibrate(*sides[0]).to_json())
    if change == "version":
        kept["version"] = 9
    elif change == "points":
        kept["points"][0] = [1]
    elif change == "eer":
        del kept["eer"]
    text = {"text": "{", "list": "[]"}.get(change, json.dumps(kept))
    with pytest.raises(ValueError, match="^The calibration must be one that was kept. Received: "):
        Calibration.from_json(text)


def test_thresholds_tried_on_other_classes(sides):
    calibration = calibrate(*sides[0])
    positive, negative = sample_distances(*sides[1], 1_000_000)
    rows = try_thresholds(calibration, Roc(positive, negative))
    assert [row["far"] for row in rows] == [0.1, 0.01, 1e-3, 1e-4, 1e-5]
    for row in rows:
        assert row["threshold"] == calibration.point(row["far"]).threshold
        assert row["far_here"] == (negative <= row["threshold"]).mean()
        assert row["tar_here"] == (positive <= row["threshold"]).mean()
    text = describe_trial(rows)
    assert f"1 in {1 / rows[1]['far_here']:,.0f}" in text and "1 in 100,000" in text
    assert "none" in describe_trial([{**rows[0], "far_here": 0.0}])


def test_few_classes_are_told(sides):
    assert "So few classes" not in describe(calibrate(*sides[0]))
    few = sides[0][1] < 9
    assert "So few classes" in describe(calibrate(sides[0][0][few], sides[0][1][few]))


def test_the_curve_is_that_of_all_pairs(sides):
    distances = sample_distances(*sides[0], 1_000_000)
    calibration, roc = calibrate(*sides[0]), Roc(*distances)
    for curve in (calibration.curve, roc.sample()):
        same = np.repeat([1, 0], [len(distances[0]), len(distances[1])])
        fpr, tpr, _ = roc_curve(same, -np.concatenate(distances), drop_intermediate=False)
        expected = [tpr[fpr <= far * (1 + 1e-12)].max() for far in curve.far]
        np.testing.assert_allclose(curve.tar, expected, atol=1e-9)
        assert len(curve.far) > 90 and curve.negative_pairs == len(distances[1])
    assert roc.sample().far[0] == 1
