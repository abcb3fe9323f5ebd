"""Two and three real processes, workers of one cluster: the weights and logs of one device."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import clusters, worker

TESTS = Path(__file__).parent.parent


def run(folder, workers, devices=1, mode="plain"):
    """Exit code, output and errors of each worker, and what it wrote, if it did."""

    def command(index):
        out = folder / f"{workers}-{index}.npz"
        return [sys.executable, worker.__file__, str(out), str(devices), mode]

    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = clusters.finish(clusters.start(command, workers, env=environment))
    files = [folder / f"{workers}-{index}.npz" for index in range(workers)]
    return done, [dict(np.load(file)) if file.exists() else None for file in files]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one device makes of it."""
    done, [arrays] = run(tmp_path_factory.mktemp("one"), 1)
    assert done[0][0] == 0, done[0][2][-3000:]
    return arrays


def check(done, arrays, one):
    for (code, _, told), given in zip(done, arrays, strict=True):
        assert code == 0, told[-3000:]
        assert set(given) == set(one) and len(one["loss"]) == 2
        for name in one:
            np.testing.assert_allclose(given[name], one[name], atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_workers(one, tmp_path):
    check(*run(tmp_path, 2), one)


@pytest.mark.longest
@pytest.mark.parametrize("workers, devices", [(3, 1), (2, 2)])
def test_three_workers_and_two_with_two_replicas(workers, devices, one, tmp_path):
    check(*run(tmp_path, workers, devices), one)


@pytest.mark.longest
@pytest.mark.parametrize(
    "mode, why",
    [("other", "workers that differ"), ("stream", "must be batches that know their workers")],
)
def test_data_that_would_be_wrong_in_silence(mode, why, tmp_path):
    done, arrays = run(tmp_path, 2, mode=mode)
    for (code, _, told), given in zip(done, arrays, strict=True):
        assert code != 0 and given is None
        assert why in told or "gone" in told or "UNAVAILABLE" in told.upper(), told[-3000:]
    assert any(why in told for _, _, told in done)
