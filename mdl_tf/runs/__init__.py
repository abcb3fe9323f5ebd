"""A training run: its folder, data and network, the loop that trains, what it reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"evaluate": ["evaluate_run"], "folder": ["Run"], "whole": ["train"]},
)
