"""Every loss on several replicas: the weights and logs of one device with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import replica_table
from helpers.loss_rows import ROWS

TESTS = Path(__file__).parent.parent
# One that separates by rows, one that does not, one with proxies; an uneven and a nearly empty
# batch, weights, a sum, and labels beyond 2^32 are in all of them.
FEW = ["margin_discriminate", "sum of losses", replica_table.BY_HAND]
# What a model, an optimizer or a batch may be beside the usual.
VARIANTS = [f"margin_discriminate | {variant}" for variant in replica_table.OPTIONS]
VARIANTS += [f"proxy_anchor | {variant}" for variant in ("adam", "sum", "nothing", "eager")]
VARIANTS += ["sum of losses in compile", "sum of losses", "triplet-all | nothing"]
ADAM = [f"{row} | adam" for row in ROWS]


def compare(replicas, cases):
    """Differences of each case, measured in a process of its own."""
    paths = [str(TESTS), str(TESTS.parent)]
    done = subprocess.run(
        [sys.executable, replica_table.__file__, str(replicas), *cases],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(replicas, cases):
    report = compare(replicas, cases)
    assert set(report) == set(cases)
    for case, differences in report.items():
        assert differences["moved"] > 1e-4, (case, differences)
        # Loss scaling ends in half precision.
        most = 1e-3 if case.endswith("| mixed") else 1e-5
        assert differences["weights"] < most, (case, replicas, differences)
        assert differences["logs"] < most, (case, replicas, differences)
    return report


@pytest.mark.slow
def test_a_few_losses_on_two_replicas():
    report = check(2, FEW)
    assert {"arc_face_loss", "triplet_loss"} < set(report["sum of losses"]["keys"])
    assert "anchors_that_count" in report["margin_discriminate"]["keys"]


@pytest.mark.longest
@pytest.mark.parametrize("replicas", [2, 4])
def test_every_loss(replicas):
    check(replicas, list(ROWS))


@pytest.mark.longest
@pytest.mark.parametrize("replicas", [2, 4])
def test_every_loss_with_adam(replicas):
    check(replicas, ADAM)


@pytest.mark.longest
@pytest.mark.parametrize("replicas", [2, 4])
def test_other_models_batches_and_precisions(replicas):
    check(replicas, VARIANTS)
