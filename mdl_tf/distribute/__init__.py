"""Many devices: the same training on several GPUs, and on several machines."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cluster": ["read_cluster"],
        "devices": ["strategy"],
        "workers": ["wait_for_all"],
    },
)
