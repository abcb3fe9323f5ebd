"""How a setting is searched: between two numbers, or among some values. Loads nothing heavy.

A setting at which a paper has something is well inside its range, or the search could not find it.
"""

import math
from typing import NamedTuple


class Range(NamedTuple):
    """A number between two others, evenly or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, share):
        """The number at a share, 0 to 1, of the way, to four digits."""
        if self.log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value:.4g}")


class Choice(NamedTuple):
    """One of some values."""

    values: tuple

    def at(self, share):
        """The value at a share, 0 to 1, of the way."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


class Only(NamedTuple):
    """What is searched where another setting has one value; it is left out where that has not."""

    values: Range | Choice
    name: str  # of the other setting
    value: object

    def at(self, share):
        """As `values`."""
        return self.values.at(share)
