"""Same or different: the ROC curve of pairs, against scikit-learn and counted by hand."""

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from mdl_tf.metrics import evaluate
from mdl_tf.metrics.verification import Roc


def draw(case):
    rng = np.random.default_rng(0)
    positive, negative = rng.gamma(4, 0.1, 500), rng.gamma(9, 0.1, 3000)
    if case == "ties":
        return np.round(positive, 1), np.round(negative, 1)
    if case == "collapsed":
        return np.zeros(500), np.zeros(3000)
    if case == "apart":
        return positive, 5 + negative
    if case == "upside down":
        return 5 + positive, negative
    return positive, negative


CASES = ("drawn", "ties", "collapsed", "apart", "upside down")


@pytest.mark.parametrize("case", CASES)
def test_the_curve_is_that_of_scikit_learn(case):
    positive, negative = draw(case)
    roc = Roc(positive, negative)
    is_same = np.repeat([1, 0], [len(positive), len(negative)])
    nearness = -np.concatenate([positive, negative])
    far, tar, thresholds = roc_curve(is_same, nearness, drop_intermediate=False)
    ours = roc.curve()
    np.testing.assert_array_equal(ours[0], -thresholds)
    np.testing.assert_allclose(ours[1], far, atol=1e-12)
    np.testing.assert_allclose(ours[2], tar, atol=1e-12)
    assert roc.auc == pytest.approx(roc_auc_score(is_same, nearness), abs=1e-12)
    eer = brentq(lambda x: 1 - x - np.interp(x, far, tar), 0, 1) if case != "apart" else 0
    assert roc.eer == pytest.approx(eer, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("far", [0.3, 1e-2, 1e-3, 4e-4])
def test_a_threshold_keeps_its_rate_and_none_accepts_more(case, far):
    positive, negative = draw(case)
    roc = Roc(positive, negative)
    allowed = [t for t in {0.0, *positive, *negative} if (negative <= t).mean() <= far]
    threshold = roc.threshold_at(far)
    if not allowed:
        assert threshold is None and roc.tar_at(far) == 0
        return
    assert roc.far(threshold) == (negative <= threshold).mean() <= far
    assert roc.tar(threshold) == roc.tar_at(far) == max((positive <= t).mean() for t in allowed)


def test_rounding_of_a_distance_decides_nothing():
    roc = Roc([0.1, 0.2, 0.3], [0.5, 0.7, *np.linspace(1, 2, 8)])
    assert roc.threshold_at(0.1) == pytest.approx((0.5 + 0.7) / 2)
    near = np.nextafter(0.5, 1)
    assert Roc([0.1], [0.3, near, *np.full(8, 2.0)]).threshold_at(0.1) < near
    # Nothing lies below the nearest negative pair that must be refused.
    assert Roc([3.0], [1.0, 1.0]).threshold_at(0.5) == 0.5


def test_what_so_few_pairs_cannot_tell():
    roc = Roc([0.1, 0.2], np.linspace(0.5, 1, 999))
    assert roc.accepted_at(1e-3) == 0 and roc.threshold_at(1e-3) is roc.tar_at(1e-3) is None
    roc = Roc([0.1, 0.2], np.linspace(0.5, 1, 1000))
    assert roc.accepted_at(1e-3) == 1 and roc.tar_at(1e-3) == 1
    assert Roc([0.1], np.linspace(1, 2, 10**6)).accepted_at(1e-6) == 1


def test_as_metrics_of_a_set():
    labels = np.repeat(np.arange(40), 5)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 8))[labels] + 0.4 * rng.normal(size=(200, 8))
    pairs = {True: [], False: []}
    for i, j in itertools.combinations(range(200), 2):
        pairs[labels[i] == labels[j]].append(np.linalg.norm(points[i] - points[j]))
    roc = Roc(pairs[True], pairs[False])
    report = evaluate(points, labels, verification=True)
    assert report["eer"] == pytest.approx(roc.eer, abs=1e-12)
    assert report["roc_auc"] == pytest.approx(roc.auc, abs=1e-12)
    assert report["tar_at_far_1e_3"] == roc.tar_at(1e-3)
    assert (report["positive_pairs"], report["negative_pairs"]) == (400, 19_500)
    assert 0 < report["eer"] < 0.5 * report["tar_at_far_1e_3"]
    assert report["tar_at_far_1e_3"] < report["tar_at_far_1e_2"] < 1
    assert "eer" not in evaluate(points, labels)
    # 1e-4 of 9,450 pairs is none.
    assert "tar_at_far_1e_4" not in evaluate(points[:140], labels[:140], verification=True)
    assert "eer" not in evaluate(points[:5], labels[:5], verification=True)


@pytest.mark.parametrize("wrong", [[], [[0.1]], ["a"], [np.nan], [-0.1], [np.inf], [True]])
@pytest.mark.parametrize("name", ["positive", "negative"])
def test_wrong_distances(name, wrong):
    given = {"positive": [0.1], "negative": [0.2], name: wrong}
    with pytest.raises(ValueError, match=f"^`{name}` must be .*Received: {name}"):
        Roc(**given)


@pytest.mark.parametrize("far", [0, 1, -0.1, np.nan, "a", None])
def test_wrong_rates(far):
    roc = Roc([0.1], [0.2])
    for ask in (roc.accepted_at, roc.threshold_at, roc.tar_at):
        with pytest.raises(ValueError, match="`far` must be .* Received: far="):
            ask(far)
