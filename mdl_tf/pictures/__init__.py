"""For people: curves, histograms, small images of a set, contact sheets, neighbours as a mosaic."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "sheets": ["contact_sheet"],
        "mosaic": ["NeighborMosaic"],
        "plots": ["distance_histograms", "loss_curve", "neighbor_grid", "recall_curve"],
    },
)
