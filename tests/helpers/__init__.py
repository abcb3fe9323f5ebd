"""What tests share: oracles, batches, small data sets, commands, small runs."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


def slow_but(fast, names, longest=()):
    """Parameters of a test, of which only some run in the lane of a newcomer.

    Args:
        fast: names that do: one of each kind.
        names: all.
        longest: names that run in the longest lane alone. Defaults to none.
    """
    marks = {name: pytest.mark.longest if name in longest else pytest.mark.slow for name in names}
    return [name if name in fast else pytest.param(name, marks=marks[name]) for name in names]
