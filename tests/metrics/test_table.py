"""The table of metrics: its rows, and what it answers."""

import pkgutil

import numpy as np
import pytest

from mdl_tf.callbacks import RetrievalMetrics
from mdl_tf.metrics import columns, evaluate, scores, table
from mdl_tf.metrics.formulas import Clusters, Distances
from mdl_tf.metrics.table import Metric

POINTS = np.array([0, 1, 3, 4, 6, 9.0])[:, None]
LABELS = np.array([0, 0, 1, 0, 1, 1])


def keys(metrics):
    return [metric.key for metric in metrics]


@pytest.mark.parametrize("metric", table.METRICS, ids=lambda metric: metric.key)
def test_each_row_has_a_function_and_a_sentence(metric):
    function = pkgutil.resolve_name(metric.function)
    assert function.__doc__
    assert metric.explanation.endswith(".") and metric.title
    assert table.find(metric.key.replace("{k}", "3")).explanation.count("{") == 0


def test_keys_and_titles_are_told_once():
    rows = table.rows(ks=(1, 2))
    for names in (keys(rows), [metric.title for metric in rows]):
        assert len(set(names)) == len(names)


def test_results_are_in_the_order_of_the_table():
    points = np.random.default_rng(0).normal(size=(300, 2))
    report = evaluate(points, np.arange(300) % 9, ks=(2, 1), clustering=True, verification=True)
    measured = [metric.key for metric in table.rows(ks=(2, 1)) if metric.source != "distances"]
    assert list(report) == measured
    assert "`recall_at_{k}`" in evaluate.__doc__
    assert all(f"`{key}`" in evaluate.__doc__ for key in measured[2:])


def test_only_what_was_measured_is_computed():
    distances = Distances(np.array([1.0, 2.0]), np.array([]))
    assert scores.compute({"distances": distances}) == {
        "mean_positive_distance": 1.5,
        "mean_negative_distance": 0.0,
    }
    clusters = Clusters(LABELS, LABELS, 2.5)
    assert scores.compute({"clusters": clusters}, ks=(1,)) == {
        "nmi": 1.0,
        "f1": 1.0,
        "kmeans_inertia": 2.5,
    }


def test_what_is_written_while_training():
    plain = RetrievalMetrics((POINTS, LABELS), ks=(1, 5))
    assert plain.keys == [
        *("val_recall_at_1", "val_recall_at_5", "val_r_precision", "val_map_at_r"),
        *("val_strict_discrimination", "val_violated_anchors"),
        *("val_mean_positive_distance", "val_mean_negative_distance"),
    ]
    clustered = RetrievalMetrics((POINTS, LABELS), ks=(1, 5), clustering_every=2)
    assert clustered.keys == [*plain.keys, "val_nmi", "val_f1"]
    verified = RetrievalMetrics((POINTS, LABELS), ks=(1, 5), verification=True)
    tars = [f"val_tar_at_far_1e_{digits}" for digits in (2, 3, 4)]
    assert verified.keys == [*plain.keys, "val_eer", "val_roc_auc", *tars]


def test_who_asks_for_a_few():
    assert table.monitored() == (
        *("recall_at_1", "r_precision", "map_at_r", "strict_discrimination"),
    )
    assert [metric.title for metric in table.rows() if metric.in_epoch_table] == [
        *("Recall@1", "MAP@R", "strict", "pos. dist.", "neg. dist."),
    ]
    assert keys(metric for metric in table.rows() if metric.compared) == [
        *("recall_at_1", "map_at_r", "nmi"),
    ]


def test_a_metric_is_found_by_its_key():
    assert table.find("map_at_r").title == table.title("map_at_r") == "MAP@R"
    metric = table.find("recall_at_1000")
    assert (metric.key, metric.title, metric.k) == ("recall_at_1000", "Recall@1000", 1000)
    assert "the 1000 nearest" in metric.explanation
    for key in ("recall_at_0", "recall_at_01", "recall_at_k", "recall_at_{k}", "map_at_r2", ""):
        assert table.find(key) is None
        assert table.title(key) == key


def test_columns_are_in_order_whatever_the_results():
    results = ["f1", "queries", "recall_at_10", "gap_p50", "r_precision", "unknown", "map_at_r"]
    found = table.find_columns([*results, "recall_at_2"])
    assert keys(found) == ["recall_at_2", "recall_at_10", "map_at_r", "r_precision", "f1"]
    assert table.find_columns([]) == []


def test_results_as_text():
    rows = {
        "raw_pixels": {"recall_at_1": 0.5, "map_at_r": 0.25, "lone_queries": 1200},
        "trained": {"recall_at_1": 0.75, "nmi": 1, "queries": 3},
    }
    assert columns.table(rows).splitlines() == [
        "              Recall@1   MAP@R     NMI",
        "raw pixels       0.500   0.250       -",
        "trained          0.750       -   1.000",
        "1,200 images alone in their class have nothing to find: left out.",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "ranks"}, r"`source` must be one of .*Received: source='ranks'"),
        ({"monitored": True, "larger_is_better": False}, "must have `larger_is_better`.*: a"),
        ({"compared": True, "larger_is_better": None}, "must have `larger_is_better`.*: a"),
        ({"headline": True, "larger_is_better": False}, "must have `larger_is_better`.*: a"),
        ({"monitored": True, "watched": False}, "must be `watched`. Received: a"),
        ({"in_epoch_table": True, "watched": False}, "must be `watched`. Received: a"),
        ({"monitored": True, "source": "clusters"}, "measured on request.* a, of 'clusters'"),
        ({"in_epoch_table": True, "source": "clusters"}, "measured on request.*'clusters'"),
        (
            {"monitored": True, "source": "pairs"},
            "measured on request.*'pairs'",
        ),
    ],
)
def test_rows_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Metric("a", "A", "module:a", "A metric.", **settings)
