"""What the `fit` around a callback was given, which Keras does not tell its callbacks.

This is private in Keras. Where another version calls otherwise, nothing is seen;
`tests/callbacks/test_fitting.py` then fails and names the version.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

_DEEPEST = 16  # frames from a callback to `fit`
_SAMPLE = 3  # batches of the training data


def find_fit(model):
    """The arguments of the `fit` that runs.

    Args:
        model: the `keras.Model` of the callback.

    Returns:
        A dict of its local names, among them `x`, `y`, `batch_size`, `shuffle`, `validation_data`
        and `callbacks`, a Keras `CallbackList`; empty if it is not seen.
    """
    frame = sys._getframe(1)
    for _ in range(_DEEPEST):
        if frame is None:
            break
        if frame.f_code.co_name == "fit":
            names = frame.f_locals
            if names.get("self") is model and {"x", "validation_data", "callbacks"} <= set(names):
                return names
        frame = frame.f_back
    return {}


def sample_labels(arguments):
    """Labels of some batches as `fit` will make them, of data that can be read twice.

    Args:
        arguments: what `find_fit` returned.

    Yields:
        Integers `(B,)`, a batch at a time; nothing for generators and whatever else may be used up
        or is known to be balanced.
    """
    x, labels = arguments.get("x"), arguments.get("y")
    if isinstance(x, tf.data.Dataset):
        # Of unknown size are those of generators, which may be used up by a look.
        if int(x.cardinality()) == tf.data.UNKNOWN_CARDINALITY or getattr(x, "is_balanced", False):
            return
        batches = x.take(_SAMPLE)
    elif isinstance(x, keras.utils.PyDataset):
        batches = (x[i] for i in range(min(_SAMPLE, x.num_batches or 1)))
    elif labels is not None:
        labels, size = np.asarray(labels), arguments.get("batch_size") or 32
        order = np.arange(len(labels))
        if arguments.get("shuffle"):
            order = np.random.default_rng(0).permutation(order)
        batches = ((None, labels[order[i * size :][:size]]) for i in range(_SAMPLE))
    else:
        return
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            return
        ids = np.asarray(batch[1])
        if ids.dtype.kind not in "iu" or not ids.size:
            return
        yield ids.reshape(-1)
