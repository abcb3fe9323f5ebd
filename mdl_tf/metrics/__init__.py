"""Retrieval and clustering metrics of a whole set of embeddings, exact, in NumPy."""

import lazy_loader

# Lazy, so that the table of metrics can be read without NumPy.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clustering": ["cluster", "nmi", "pairwise_f1"],
        "neighbors": ["nearest_neighbors", "prepare"],
        "retrieval": ["sample_distances"],
        "scores": [
            "evaluate",
            "map_at_r",
            "r_precision",
            "recall_at_k",
            "strict_discrimination",
        ],
    },
)
