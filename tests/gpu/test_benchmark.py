"""The command for whoever has a GPU runs, here on what there is."""

import subprocess
import sys

import pytest
from helpers import ROOT


@pytest.mark.longest
def test_quick_benchmark_prints_every_table():
    script = ROOT / "tests" / "benchmarks" / "benchmark_gpu.py"
    done = subprocess.run([sys.executable, script, "--quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for title in (
        "Losses, B = 64",
        "Our loss, dense and in tiles",
        "Training steps",
        "A whole training",
    ):
        assert f"## {title}" in done.stdout
    assert "| `margin_discriminate` |" in done.stdout
    assert "nan" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("All in ")
