"""Properties that hold for whatever comes in: the right number or a ValueError, never a silent one.

Few and always the same examples; many and new ones with `--slow`.
"""

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from keras import ops

from mdl_tf import batches, losses, metrics
from mdl_tf.config import TrainConfig
from mdl_tf.datasets.own import csv_file

ANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}
LANES = [
    pytest.param(settings(max_examples=30, derandomize=True, database=None, **ANY), id="few"),
    pytest.param(settings(max_examples=200, **ANY), id="many", marks=pytest.mark.longest),
]
LOSSES = (
    *("MarginDiscriminateLoss", "ContrastiveLoss", "TripletLoss", "LiftedStructureLoss"),
    *("GeneralizedLiftedStructureLoss", "NPairsLoss", "AngularLoss", "MarginLoss"),
    *("MultiSimilarityLoss", "CircleLoss", "SupConLoss"),
)
# Anything that a JSON file can hold.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@st.composite
def sets(draw, width=32):
    """Embeddings of some size with ties and, now and then, a NaN or infinity; labels."""
    n = draw(st.integers(2, 12))
    values = st.integers(-2, 2).map(float) | st.floats(-(2.0**100), 2.0**100, width=32)
    rare = st.sampled_from([0.0] * 5 + [math.nan, math.inf])
    x = draw(npst.arrays(f"float{width}", (n, draw(st.integers(1, 4))), elements=values))
    x[draw(st.integers(0, n - 1)), 0] += draw(rare)
    return x, np.array(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)))


def holds(lane, *strategies):
    """A decorator: the property holds for examples of the strategies, so many as the lane has."""
    return lambda function: lane(given(*strategies)(function))()


@pytest.mark.parametrize("lane", LANES)
def test_metrics_are_right_or_an_error(lane):
    @holds(lane, sets())
    def check(example):
        x, labels = example
        others = labels[:, None] == labels
        np.fill_diagonal(others, False)
        if not np.isfinite(x).all() or not others.any():
            with pytest.raises(ValueError, match="`embeddings` must be finite|all alone"):
                metrics.evaluate(x, labels)
            return
        report = metrics.evaluate(x, labels, ks=(1, 3))
        counts = others.any(axis=1)
        assert report["queries"] == counts.sum()
        assert report["lone_queries"] == (~counts).sum()
        shares = [report[key] for key in report if not key.startswith("gap") and "quer" not in key]
        assert all(0 <= share <= 1 for share in shares)
        assert report["recall_at_1"] <= report["recall_at_3"]
        assert report["strict_discrimination"] <= report["map_at_r"] <= report["r_precision"]
        # Another order and another unit change nothing.
        order = np.random.default_rng(0).permutation(len(x))
        again = metrics.evaluate(4 * x[order], labels[order], ks=(1, 3))
        assert [again[key] for key in again if not key.startswith("gap")] == [
            report[key] for key in report if not key.startswith("gap")
        ]


@pytest.mark.parametrize("lane", LANES)
def test_neighbors_are_the_nearest(lane):
    @holds(lane, sets(width=64), st.integers(-1, 4))
    def check(example, k):
        x, _ = example
        if not np.isfinite(x).all() or not 1 <= k <= len(x) - 1:
            with pytest.raises(ValueError, match="`k` must be|must be finite"):
                metrics.nearest_neighbors(x, k=k)
            return
        indices, distances = metrics.nearest_neighbors(x, k=k)
        far = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
        np.fill_diagonal(far, np.inf)
        assert (indices != np.arange(len(x))[:, None]).all()
        assert all(len(set(row)) == k for row in indices.tolist())
        np.testing.assert_allclose(distances, np.take_along_axis(far, indices, axis=1), rtol=1e-12)
        size = np.abs(x).max()
        np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :k], atol=1e-6 * size)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("lane", LANES)
def test_a_loss_is_finite_or_shows_that_its_input_was_not(lane, name):
    loss = getattr(losses, name)()

    @holds(lane, sets())
    def check(example):
        x, labels = example
        with np.errstate(all="ignore"):
            x = x / np.sqrt((x.astype(np.float64) ** 2).sum(axis=1, keepdims=True) + 1e-12)
        value = float(ops.convert_to_numpy(loss(labels, x.astype(np.float32))))
        if np.isfinite(x).all():
            assert math.isfinite(value) and value >= -1e-6
        else:
            assert not math.isfinite(value), value


@pytest.mark.parametrize("lane", LANES)
def test_a_plan_is_balanced_or_an_error(lane):
    sizes = st.lists(st.integers(0, 6), min_size=1, max_size=6)
    short = st.sampled_from(["error", "drop", "repeat"])

    @holds(lane, sizes, st.integers(0, 5), st.integers(0, 5), short, st.integers(0, 50))
    def check(sizes, p, k, short_classes, step):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        try:
            plan = batches.BalancedPlan(labels, p, k, seed=1, short_classes=short_classes)
        except ValueError as error:
            assert "must" in str(error) or "need" in str(error)
            return
        rows = plan.batch(step)
        classes, counts = np.unique(labels[rows], return_counts=True)
        assert (len(classes), set(counts.tolist())) == (p, {k})
        if short_classes != "repeat":
            assert len(set(rows.tolist())) == p * k


@pytest.mark.parametrize("lane", LANES)
def test_a_config_is_kept_or_an_error_that_names_the_field(lane):
    fields = sorted(TrainConfig().to_dict())

    @holds(lane, st.sampled_from(fields), JSON)
    def check(name, value):
        try:
            config = TrainConfig.from_dict({name: value})
        except ValueError as error:
            assert name in str(error) or name.replace("_", "-") in str(error), error
            return
        assert TrainConfig.from_dict(config.to_dict()) == config
        kept = config.to_dict()[name]
        assert kept == value and isinstance(kept, bool) == isinstance(value, bool)


@pytest.mark.parametrize("lane", LANES)
def test_a_table_of_csv_is_read_back_or_an_error(lane, tmp_path):
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)

    @holds(lane, st.lists(st.tuples(text, text), min_size=1, max_size=5))
    def check(rows):
        table = io.StringIO()
        csv.writer(table).writerows([("path", "label"), *rows])
        file = tmp_path / "table.csv"
        file.write_text(table.getvalue(), encoding="utf-8", newline="")
        try:
            collection = csv_file.read(file)
        except ValueError as error:
            assert str(error)
            return
        names = collection.images.class_names
        labels = [names[label] for label in collection.images.labels]
        assert len(labels) == len([row for row in rows if any(row)])
        assert set(labels) <= {row[1].strip() for row in rows}
