"""The studies beside the benchmarks run: nobody else calls them, and what they call may change."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

from mdl_tf.config import TrainConfig
from mdl_tf.runs.data import read_data

FOLDER = ROOT / "tests" / "benchmarks"


@pytest.mark.slow
def test_a_study_trains_what_its_config_leaves_open(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import studies

    config = TrainConfig(
        dataset="digits", backbone="conv4", image_size=16, epochs=2, steps_per_epoch=4,
        validation=0.4, clustering=False, tensorboard=False,
    )  # fmt: skip
    assert config.classes_per_batch is None and config.learning_rate is None
    keep = studies.train(config, read_data(config))
    values = [row["val_map_at_r"] for row in (keep.start, *keep.history)]
    assert len(values) == 3 and np.isfinite(values).all()
    assert values[-1] != values[0]


@pytest.mark.longest
@pytest.mark.parametrize(
    "script, options, results",
    [
        ("study_glyphs.py", ["--steps", "2", "--seeds", "1"], None),
        ("study_shuffled_batches.py", ["--steps", "2", "--seeds", "1"], None),
        (
            "study_first_command.py",
            ["--settings", "backbone=conv4,image_size=16,steps=1,epochs=1", "--seeds", "1"],
            "first_command.json",
        ),
    ],
)
def test_a_study_runs(tmp_path, script, options, results):
    # Scripts write beside themselves.
    folder = shutil.copytree(FOLDER, tmp_path / "benchmarks")
    before = {} if results is None else json.loads((folder / results).read_text())
    done = subprocess.run(
        [sys.executable, folder / script, *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nan" not in done.stdout
    if results is None:
        assert len(done.stdout.splitlines()) >= 5
    else:
        after = json.loads((folder / results).read_text())
        assert len(after) == len(before) + 1 and before.items() <= after.items()
