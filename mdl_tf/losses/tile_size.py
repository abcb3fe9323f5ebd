"""When a loss compares its anchors a tile at a time, and how many anchors a tile has."""

import functools

import tensorflow as tf

from mdl_tf.checks import check_integer, memory_limit

# Matrices of B x M that the dense forms hold at once, forward and backward.
_MATRICES = 10
_SHARE = 1 / 8  # of the memory, beyond which "auto" takes tiles
# GPUs do not tell how much they have; this is an eighth of the smaller ones in use.
_GPU_BYTES = 2 * 2**30
# Anchors of a tile. With fewer, what is done for each reference and tile begins to count.
_LARGEST, _SMALLEST = 256, 32
_PAIRS = 2**24  # in a tile


def check_tile(tile):
    """Refuse what is no `tile`.

    Args:
        tile: `"auto"`, `None`, or an integer.

    Returns:
        The tile, `None` for 0.

    Raises:
        ValueError: if it is anything else.
    """
    if tile is None or (isinstance(tile, str) and tile == "auto"):
        return tile
    try:
        return check_integer("tile", tile, least=0, below=2**31) or None
    except ValueError:
        raise ValueError(
            "`tile` must be 'auto', None or 0 (all anchors at once), or how many anchors are "
            f"compared at a time, an integer. Received: tile={tile!r}"
        ) from None


def choose_tile(tile, anchors, references):
    """How many anchors are compared at a time.

    Args:
        tile: as `check_tile` returns it.
        anchors: a tensor of all anchors, `(B, ...)`.
        references: a tensor of all references, `(M, ...)`.

    Returns:
        An integer, or `None` for all. `"auto"` is `None` where B or M are not known when the
        function is traced: to have both forms and choose at each step would take three times the
        time to trace, and XLA cannot.
    """
    if tile != "auto":
        return tile
    rows, columns = anchors.shape[0], references.shape[0]
    if None in (rows, columns):
        return None
    if _MATRICES * anchors.dtype.size * rows * columns <= memory_budget():
        return None
    return min(_LARGEST, max(_SMALLEST, _PAIRS // columns))


@functools.cache
def memory_budget():
    """Bytes that the dense form of a loss may take before `tile="auto"` takes tiles."""
    budget = min(_SHARE * memory_limit(), 2.0**62)
    return min(budget, _GPU_BYTES) if tf.config.list_physical_devices("GPU") else budget
