"""A training run: its folder, its data and network, the one loop that trains, and what it reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"folder": ["Run"], "evaluate": ["evaluate_run"]}
)
