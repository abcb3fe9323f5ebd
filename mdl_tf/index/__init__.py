"""The embeddings in use: an index that grows and answers."""

import lazy_loader

# Lazy, so that a module beside can be read without NumPy.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "changes": ["Changes"],
        "index": ["Index"],
        "kinds": ["Kind"],
        "searching": ["Hit"],
    },
)
