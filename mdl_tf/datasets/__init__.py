"""Which images and labels there are, and which classes are for training, validation and test.

>>> train, validation, test = datasets.load("glyphs", validation=0.1)
"""

import lazy_loader

# Lazy, so that the table of data sets can be read without NumPy.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "image_set": ["Collection", "ImageSet", "Problem"],
        "own.export": ["from_dataset"],
        "papers.official": ["download"],
        "reading": ["load", "load_all", "read"],
        "table": ["DATASETS"],
        "usable": ["CorruptImagesError", "check"],
    },
)
