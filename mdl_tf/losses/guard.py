"""The decorator of every loss function: it leaves the formula to the body.

What the anchors are compared with is settled here: each other, under a distribution strategy the
images of all replicas, or what the caller says.
"""

import functools
import inspect

import keras
import tensorflow as tf
from keras import ops

from mdl_tf.losses import references as refs
from mdl_tf.losses.checks import check_batch, check_weights, class_indices, nan_unless_finite
from mdl_tf.losses.tile_size import check_tile, choose_tile
from mdl_tf.losses.tiles import by_tiles


def guard(check, *, weights=None, alone=False, has_tiles=None):
    """Refuse settings, labels and embeddings that cannot be, and let divergence show in the loss.

    The formula gets labels `(B,)` and embeddings `(B, D)` as `check_batch` returns them. Its losses
    become NaN if an input is not finite. With `weights` its labels are class indices, int32, -1
    where one is out of range and no error could be raised; that image's loss becomes NaN.

    Args:
        check: a function of the settings that raises a `ValueError` for one that is not allowed. It
            is an attribute of the decorated function.
        weights: axes of the vectors of each class, `"(C, D)"` or `"(C, K, D)"`, which the formula
            takes as its third argument. Defaults to `None`, no such argument.
        alone: whether the loss of an image does not depend on the other images of its batch.
            Defaults to `False`.
        has_tiles: a function of the settings: whether the formula itself works on tiles of as many
            anchors as its argument `tile` says. Defaults to `None`: it never does, and is called
            for each tile.

    Returns:
        A decorator for a function `(labels, embeddings, [weights,] *, settings) -> (B,)`. The
        decorated function takes `references` too. A formula that has such an argument gets a
        `References`, and returns the losses of its anchors; from one that has not the whole batch
        is asked, and the losses of the anchors are taken out.
    """

    def decorate(formula):
        signature = inspect.signature(formula)
        is_by_rows = "references" in signature.parameters
        takes_tile = "tile" in signature.parameters

        @functools.wraps(formula)
        def guarded(*arguments, references=None, **keywords):
            try:
                bound = signature.bind(*arguments, **keywords)
            except TypeError as error:
                raise TypeError(f"{formula.__name__}() {error}") from None
            bound.apply_defaults()
            settings = bound.kwargs
            settings.pop("references", None)
            tile = check_tile(settings.pop("tile", None))
            check(**settings)
            labels, embeddings = check_batch(*bound.args[:2])
            if references is None and not alone:
                references = refs.gather(labels, embeddings)
            is_whole = not (alone or is_by_rows or references is None)
            if is_whole:
                # Every anchor, on every replica: its losses are not sums over rows.
                labels, embeddings = references.labels, references.embeddings
            elif is_by_rows:
                settings["references"] = references or refs.of_batch(labels, embeddings)
            seen = [embeddings]
            if is_by_rows and references is not None:
                seen = [references.embeddings]
            if is_by_rows and takes_tile:
                own_tiles = has_tiles is not None and has_tiles(settings)
                losses = _compute_rows(formula, labels, embeddings, settings, tile, own_tiles)
            elif weights is None:
                losses = formula(labels, embeddings, **settings)
            else:
                name, vectors = list(bound.arguments)[2], bound.args[2]
                vectors = check_weights(name, vectors, embeddings, weights)
                labels, refused = class_indices(labels, vectors.shape[0])
                losses = formula(labels, embeddings, vectors, **settings)
                losses = losses + ops.cast(refused, embeddings.dtype)
                seen.append(vectors)
            losses = losses + nan_unless_finite(*seen)
            return references.take_own(losses) if is_whole else losses

        guarded.check = check
        guarded.alone = alone
        # `tf.function` would pass on the formula itself, unguarded, for a loss among its arguments.
        del guarded.__wrapped__
        guarded.__signature__ = signature
        return guarded

    return decorate


def _compute_rows(formula, labels, embeddings, settings, tile, own_tiles):
    """The losses of anchors, at once or a tile of them at a time."""
    references = settings.pop("references")

    tile = choose_tile(tile, embeddings, references.embeddings)
    if tile is None or own_tiles:
        return formula(labels, embeddings, references=references, tile=tile, **settings)
    # Such as a boundary that is learned: tiles want to know what has a gradient.
    tensors = {
        name: tf.convert_to_tensor(value)
        for name, value in settings.items()
        if isinstance(value, tf.Tensor | tf.Variable | keras.Variable)
    }

    def compute_tile(labels, embeddings, references, *weights):
        more = dict(zip(tensors, weights, strict=True))
        return formula(labels, embeddings, references=references, tile=None, **{**settings, **more})

    weights = list(tensors.values())
    return by_tiles(compute_tile, labels, embeddings, references, weights, tile)
