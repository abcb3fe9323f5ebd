"""Losses, each as a function and as a `keras.losses.Loss`. TensorFlow loads with the first used.

`LOSSES` is the table of their names, `MetricLoss` the base of all. The losses that take
`num_classes`, and `MarginLoss(learn_beta=True)`, have weights: `MetricModel(embedder, loss)` trains
and saves them.
"""

import pkgutil

from mdl_tf.losses import table


def __getattr__(name):
    # Not kept here: the table alone says which names there are.
    places = table.locate_public_names()
    if name == "__all__":
        return sorted(places)
    if name not in places:
        raise AttributeError(f"No {__name__} attribute {name}")
    return pkgutil.resolve_name(places[name])


def __dir__():
    return sorted(table.locate_public_names())
