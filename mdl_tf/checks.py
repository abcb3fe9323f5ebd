"""Arguments: the choices that there are, and one clear message for what cannot be.

A message names the argument, the rule and the value received. Each list of choices stands here and
nowhere else; losses, metrics and data sets have tables of their own.
"""

import contextlib
import math
import numbers
import os
from pathlib import Path

from mdl_tf.words import shorten

# `TrainConfig.on_corrupt`, `datasets.read`: what happens to files that cannot be used.
ON_CORRUPT = ("error", "skip")
# `TrainConfig.duplicates`, `datasets.read`: what happens to images that are there twice.
DUPLICATES = ("keep", "drop")
# `TrainConfig.split_by`, `datasets.read`: which classes of data without a split are for the test.
SPLITS = ("names", "random")
# `TrainConfig.cache`, `batches`: where decoded images are kept.
CACHES = ("none", "ram", "disk")
# `TrainConfig.short_classes`, `batches.balanced`: classes with fewer images than a batch wants.
SHORT_CLASSES = ("error", "drop", "repeat")
# `TrainConfig.augment`, `batches`: what `images.views.view` makes of an image in training.
AUGMENTATIONS = ("none", "flip", "center", "crop", "paper", "modern")
# `TrainConfig.batch_norm`, `embedding.set_batch_norm`: what batch normalisation does in training.
BATCH_NORMS = ("train", "frozen", "statistics", "synchronized")
# `TrainConfig.pooling`, `embedding.embedding_model`: layers of `keras.layers`, without their rank,
# whose outputs are added.
POOLINGS = {
    "avg": ("GlobalAveragePooling",),
    "max": ("GlobalMaxPooling",),
    "both": ("GlobalAveragePooling", "GlobalMaxPooling"),
}
# `embedding.fit_head`: how an embedding layer is set from features.
HEADS = ("whitened", "pca")
# `TrainConfig.head`: the same, chosen by the network, at random, or as in the run of `start`.
STARTS = ("auto", *HEADS, "random", "kept")
# `search.embed_images`, `index`: the pixels that a network takes; `embedding.units` makes them.
INPUT_RANGES = ("0..255", "0..1", "-1..1")
# `Index.cluster`: how images are put into groups.
GROUPINGS = ("kmeans", "hdbscan", "agglomerative")
# `TrainConfig.optimizer`: classes of `mdl_tf.optimizers`.
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "sgd": "SGD"}
# `TrainConfig.schedule`: the learning rate over a run.
SCHEDULES = ("constant", "step", "cosine")
# `TrainConfig.policy`: precisions of Keras.
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def check_integer(name, value, *, least=None, most=None, below=None):
    """Refuse what is no integer in its range. NumPy's integers are some, `True` is none.

    Args:
        name: of the argument, for the message.
        value: what was received.
        least: smallest value allowed. Defaults to `None`.
        most: largest value allowed. Defaults to `None`.
        below: bound that the value must stay under. Defaults to `None`.

    Returns:
        The value as an `int`.

    Raises:
        ValueError: if it is no integer or out of range.
    """
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if fits and most is None and below is None and value >= 2**63:
        below = 2**63  # NumPy and TensorFlow count in 64 bits
    return int(_in_range(name, value, "an integer", fits, least=least, most=most, below=below))


def check_number(name, value, *, least=None, above=None, below=None, unit=None):
    """Refuse what is no finite number in its range. NumPy's numbers are some, `True` is none.

    Args:
        name: of the argument, for the message.
        value: what was received.
        least: smallest value allowed. Defaults to `None`.
        above: bound that the value must exceed. Defaults to `None`.
        below: bound that the value must stay under. Defaults to `None`.
        unit: what it is measured in, for the message. Defaults to `None`.

    Returns:
        The value.

    Raises:
        ValueError: if it is no number or out of range.
    """
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool) and _is_finite(value)
    return _in_range(
        name, value, "a number", fits, least=least, above=above, below=below, unit=unit
    )


def _is_finite(value):
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def check_choice(name, value, choices):
    """Refuse what is not one of its choices. `1` is not `True`.

    Args:
        name: of the argument, for the message.
        value: what was received.
        choices: the values allowed.

    Returns:
        The value.

    Raises:
        ValueError: if it is another one.
    """
    choices = tuple(choices)
    if not any(value is c or (type(value) is type(c) and value == c) for c in choices):
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={shown(value)}")
    return value


def _in_range(name, value, kind, fits, *, least=None, most=None, above=None, below=None, unit=None):
    bounds = []
    if least is not None:
        bounds.append(f"at least {least}")
        fits = fits and value >= least
    if above is not None:
        bounds.append(f"above {above}")
        fits = fits and value > above
    if most is not None:
        bounds.append(f"at most {most}")
        fits = fits and value <= most
    if below is not None:
        bounds.append(f"below {below}")
        fits = fits and value < below
    if not fits:
        rule = ", ".join([kind, " and ".join(bounds)]) if bounds else kind
        rule = f"{rule}, in {unit}" if unit else rule
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={shown(value)}")
    return value


def shown(value):
    """A value as it may stand in a message: no more of it than tells what it is.

    Args:
        value: anything.
    """
    if isinstance(value, int) and abs(value) >= 10**30:
        return "an integer of more than 30 digits"
    return shorten(repr(value), 200)


def memory_limit():
    """Bytes of memory that this process may have; infinite where nobody says."""
    limits = [float("inf")]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    # Of a container.
    with contextlib.suppress(ValueError, OSError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)
