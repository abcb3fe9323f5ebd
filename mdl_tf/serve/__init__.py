"""An index as a page and as JSON, on this machine or in a local network."""

import lazy_loader

# Lazy, so that `mdl-tf search` can look for a server without loading one.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "app": ["make_app"],
        "limits": ["Limits"],
        "server": ["serve"],
        "service": ["Service"],
    },
)
