"""Retrieval metrics of a set: fractions worked by hand, and what is promised of them."""

import json

import numpy as np
import pytest

from mdl_tf.metrics import (
    evaluate,
    map_at_r,
    r_precision,
    recall_at_k,
    strict_discrimination,
)
from mdl_tf.metrics.retrieval import rank_queries

# Six images of two classes on a line, and a lone one: a a b a b b, c.
LINE = np.array([0, 1, 3, 4, 6, 9, 20.0])[:, None]
CLASSES = np.array([0, 0, 1, 0, 1, 1, 2])
# Classes around each query, nearest first, its own in capitals, R = 2; [] is a tie, negative first.
#   at 0  A b A      hits at ranks 1, 3   R-precision 1/2   AP@R 1/2   gap 3 - 4
#   at 1  A b A      hits at ranks 1, 3               1/2        1/2       2 - 3
#   at 3  a a [a B]  first hit at rank 4              0          0         1 - 6
#   at 4  b b A A    first hit at rank 3              0          0         1 - 4
#   at 6  a B B      hits at ranks 2, 3               1/2        1/4       2 - 3
#   at 9  B a B      hits at ranks 1, 3               1/2        1/2       5 - 6
LINE_RECALL = {1: 3 / 6, 2: 4 / 6, 3: 5 / 6, 4: 6 / 6, 100: 1.0}


def test_fractions_worked_by_hand():
    report = evaluate(LINE, CLASSES, ks=tuple(LINE_RECALL))
    for k, expected in LINE_RECALL.items():
        assert report[f"recall_at_{k}"] == expected
        assert recall_at_k(LINE, CLASSES, k=k) == expected
    assert report["r_precision"] == r_precision(LINE, CLASSES) == (4 * 1 / 2) / 6
    assert report["map_at_r"] == map_at_r(LINE, CLASSES) == (3 * 1 / 2 + 1 / 4) / 6
    assert report["strict_discrimination"] == strict_discrimination(LINE, CLASSES) == 0
    assert report["gap_p50"] == -1
    assert report["gap_p05"] == pytest.approx(np.percentile([-1, -1, -5, -3, -1, -1], 5))
    assert (report["queries"], report["lone_queries"]) == (6, 1)


def test_strict_discrimination_is_full_r_precision():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 60)
    points = rng.normal(size=(6, 4))[labels] + 0.25 * rng.normal(size=(60, 4))
    ranks = rank_queries(points, labels)
    np.testing.assert_array_equal(ranks.strict, ranks.r_precision == 1)
    np.testing.assert_array_equal(ranks.strict, ranks.average_precision_at_r == 1)
    np.testing.assert_array_equal(ranks.strict, ranks.nearest_negative > ranks.farthest_positive)
    assert 0 < strict_discrimination(points, labels) == ranks.strict.mean() < 1


def test_violated_anchors_at_a_margin():
    # Gaps 4 - 1 = 3 at 0, 3 - 1 = 2 at 1, 3 - 2 = 1 at 4, 5 - 2 = 3 at 6.
    points, labels = np.array([[0.0], [1.0], [4.0], [6.0]]), [0, 0, 1, 1]
    for margin, expected in ((0, 0), (0.5, 0), (1.0, 0), (1.5, 1 / 4), (2.5, 2 / 4), (9.0, 1)):
        assert evaluate(points, labels, margin=margin)["violated_anchors"] == expected
    # A tie violates margin 0; queries without a negative violate nothing.
    assert evaluate([[0.0], [1.0], [-1.0]], [0, 0, 1])["violated_anchors"] == 1 / 2
    assert evaluate(points, [0] * 4, margin=9.0)["violated_anchors"] == 0


def test_separate_gallery():
    gallery, gallery_labels = np.array([[0.0], [2.0], [5.0]]), [0, 1, 0]
    queries, labels = np.array([[0.0], [2.5], [9.0]]), [0, 0, 3]
    options = dict(gallery=gallery, gallery_labels=gallery_labels)
    report = evaluate(queries, labels, ks=[1, 2], **options)
    # Query 0: hits at 1 and 3. Query 2.5: negative at 0.5, positives tied at 2.5. 9 is lone.
    assert (report["recall_at_1"], report["recall_at_2"]) == (1 / 2, 1)
    assert recall_at_k(queries, labels, k=1, **options) == 1 / 2
    assert report["r_precision"] == r_precision(queries, labels, **options) == 1 / 2
    assert report["map_at_r"] == map_at_r(queries, labels, **options) == (1 / 2 + 1 / 4) / 2
    assert report["strict_discrimination"] == strict_discrimination(queries, labels, **options) == 0
    assert (report["queries"], report["lone_queries"]) == (2, 1)


def test_report_is_plain_python_in_a_fixed_order():
    report = evaluate(LINE, CLASSES, ks=np.array([1, 2]), clustering=True)
    assert list(json.loads(json.dumps(report))) == [
        "recall_at_1",
        "recall_at_2",
        "r_precision",
        "map_at_r",
        "strict_discrimination",
        "violated_anchors",
        "gap_p05",
        "gap_p50",
        "gap_p95",
        "queries",
        "lone_queries",
        "nmi",
        "f1",
        "kmeans_inertia",
    ]
    assert {type(value) for value in report.values()} == {float, int}
    assert np.isfinite(list(report.values())).all()
    assert "nmi" not in evaluate(LINE, CLASSES)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_collapse_scores_zero():
    report = evaluate(np.full((40, 8), 0.1), np.arange(40) // 4, ks=(1, 36, 37), clustering=True)
    assert report["recall_at_1"] == report["recall_at_36"] == 0
    assert report["recall_at_37"] == 1  # 36 negatives come first
    assert report["r_precision"] == report["map_at_r"] == report["strict_discrimination"] == 0
    assert report["gap_p05"] == report["gap_p95"] == 0
    assert report["nmi"] == 0


def test_queries_without_negatives_have_no_gap():
    one_class = evaluate(LINE, np.zeros(7, int))
    assert one_class["strict_discrimination"] == one_class["map_at_r"] == 1
    assert not any(key.startswith("gap") for key in one_class)


def test_order_of_the_images_changes_nothing():
    rng = np.random.default_rng(1)
    labels, shuffle = rng.integers(0, 30, 200), rng.permutation(200)
    for points in (rng.integers(0, 3, (200, 4)), rng.normal(size=(200, 16)).astype(np.float32)):
        assert evaluate(points, labels) == evaluate(points[shuffle], labels[shuffle])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: evaluate(LINE, np.arange(7)), r"among the other `labels`.*7 queries, all alone"),
        (
            lambda: evaluate(LINE, CLASSES, gallery=LINE, gallery_labels=CLASSES + 9),
            r"`labels` must hold a query whose class occurs in `gallery_labels`",
        ),
        (lambda: evaluate(LINE, CLASSES, ks=5), r"`ks` must be positive integers.*Received: ks=5"),
        (lambda: evaluate(LINE, CLASSES, ks=(0, 1)), r"`ks` must be.*Received: ks=\(0, 1\)"),
        (lambda: evaluate(LINE, CLASSES, ks=(1.0,)), r"`ks` must be.*Received: ks=\(1.0,\)"),
        (lambda: evaluate(LINE, CLASSES, ks=(True,)), r"`ks` must be.*Received: ks=\(True,\)"),
        (lambda: evaluate(LINE, CLASSES, ks="12"), r"`ks` must be.*Received: ks='12'"),
        (
            lambda: evaluate(LINE, CLASSES, margin=-1),
            r"`margin` must be.*, at least 0\..*=-1",
        ),
        (lambda: evaluate(LINE, CLASSES, margin=np.nan), r"`margin` must be.*margin=nan"),
        (lambda: recall_at_k(LINE, CLASSES, k=0), r"`k` must be an integer, at least 1\..*k=0"),
    ],
)
def test_errors_name_argument_rule_and_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
