"""Kinds of search: exact, or approximate with a recall that was measured."""

import math
from typing import NamedTuple

# Of a folder; the approximate ones need FAISS. `flat` is FAISS's own exhaustive search, in float32.
KINDS = ("exact", "ivf", "hnsw", "pq", "flat")
# Of PostgreSQL with pgvector.
SERVER_KINDS = ("exact", "ivf", "hnsw")
# With fewer there are not enough to learn clusters from, and exact search takes a millisecond.
FEW = 2000


class Kind(NamedTuple):
    """How an index is searched, and how well."""

    name: str  # one of KINDS
    settings: dict = {}  # how it was built, and what a search looks at
    recall: float | None = None  # at 10, against exact; `None`: nothing was built
    queries: int = 0  # vectors of the index that it was measured with, each left out itself
    rows: int = 0  # vectors there were when it was built

    @property
    def is_exact(self):
        """Whether a search is exact, as asked or because there are few vectors."""
        return self.recall is None

    def __str__(self):
        if self.name == "exact":
            return "exact"
        if self.is_exact:
            return f"{self.name}, searched exactly while there are fewer than {FEW:,} vectors"
        settings = ", ".join(f"{name} {value:,}" for name, value in self.settings.items())
        return (
            f"{self.name} ({settings}): recall@10 {self.recall:.3f} against exact search, by "
            f"{self.queries:,} of its {self.rows:,} vectors"
        )


def count_clusters(count):
    """How many clusters to make of some vectors: the power of two next to the root of the count.

    Each query looks at some clusters and at all their vectors, so both should be few.

    Args:
        count: of vectors.
    """
    return 2 ** max(2, round(math.log2(count) / 2))
