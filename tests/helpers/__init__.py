"""What tests share: oracles, batches, small data sets, commands, small runs."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
