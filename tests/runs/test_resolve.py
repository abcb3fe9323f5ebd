"""What a run begins with is what its guide's table says."""

import re

import pytest
from helpers import ROOT

from mdl_tf.config import TrainConfig
from mdl_tf.runs.resolve import resolve

PRETRAINED = {"backbone": "efficientnet_lite0", "weights": "imagenet"}
COLUMNS = {
    "features": {"dataset": "npz", "data_dir": "features.npz", "backbone": "none"},
    "frozen": {"dataset": "folder", "data_dir": "photos", "frozen": True, **PRETRAINED},
    "trained": {"dataset": "folder", "data_dir": "photos", **PRETRAINED},
    "random": {"backbone": "conv4"},
}


def table():
    """From the name of a setting to the cells of its row, without code marks."""
    guide = (ROOT / "mdl_tf" / "runs" / "README.md").read_text(encoding="utf-8")
    part = guide.split("## What a run begins with")[1].split("These are the defaults")[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace("`", "") for cell in row] for row in rows[2:]]
    return {re.sub(r"\[|\].*", "", row[0]): row[1:] for row in rows}


@pytest.mark.parametrize("column", COLUMNS)
def test_the_guide_says_what_a_run_begins_with(column):
    resolved = resolve(TrainConfig(**COLUMNS[column]))
    cells = {name: row[list(COLUMNS).index(column)] for name, row in table().items()}
    assert resolved.head == cells["head"]
    assert resolved.augment == (cells["augment"] or "none")
    rate, _, factor = cells["learning_rate"].partition(", ")
    assert resolved.learning_rate == float(rate)
    factors = {"embedding": float(factor.split()[0])} if factor else {}
    assert resolved.learning_rate_factors == factors
    own = 224  # of EfficientNet-Lite0
    if cells["image_size"]:
        said = cells["image_size"]
        assert resolved.image_size == (own if said == "the network's own" else int(said))


def test_what_is_given_stays():
    given = TrainConfig(**COLUMNS["trained"], learning_rate=0.5, head="pca", augment="flip")
    resolved = resolve(given)
    assert (resolved.learning_rate, resolved.head, resolved.augment) == (0.5, "pca", "flip")
    assert resolved.learning_rate_factors == {"embedding": 3.0}


@pytest.mark.parametrize("factors", [{}, {"proxies": 10.0}])
def test_factors_that_are_given_stay(factors):
    resolved = resolve(TrainConfig(**COLUMNS["trained"], learning_rate_factors=factors))
    assert (resolved.learning_rate, resolved.learning_rate_factors) == (3e-4, factors)
