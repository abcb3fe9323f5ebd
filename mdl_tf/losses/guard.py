"""The decorator of every loss function: it leaves the formula to the body."""

import functools
import inspect

from keras import ops

from mdl_tf.losses.checks import check_batch, check_weights, class_indices, nan_unless_finite


def guard(check, *, weights=None):
    """Refuse settings, labels and embeddings that cannot be, and let divergence show in the loss.

    The formula gets labels `(B,)` and embeddings `(B, D)` as `check_batch` returns them. Its losses
    become NaN if an input is not finite. With `weights` its labels are class indices, int32, -1
    where one is out of range and no error could be raised; that image's loss becomes NaN.

    Args:
        check: a function of the settings that raises a `ValueError` for one that is not allowed. It
            is an attribute of the decorated function.
        weights: axes of the vectors of each class, `"(C, D)"` or `"(C, K, D)"`, which the formula
            takes as its third argument. Defaults to `None`, no such argument.

    Returns:
        A decorator for a function `(labels, embeddings, [weights,] *, settings) -> (B,)`.
    """

    def decorate(formula):
        signature = inspect.signature(formula)

        @functools.wraps(formula)
        def guarded(*arguments, **keywords):
            try:
                bound = signature.bind(*arguments, **keywords)
            except TypeError as error:
                raise TypeError(f"{formula.__name__}() {error}") from None
            bound.apply_defaults()
            settings = bound.kwargs
            check(**settings)
            labels, embeddings = check_batch(*bound.args[:2])
            if weights is None:
                return formula(labels, embeddings, **settings) + nan_unless_finite(embeddings)
            vectors = check_weights(list(bound.arguments)[2], bound.args[2], embeddings, weights)
            indices, refused = class_indices(labels, vectors.shape[0])
            losses = formula(indices, embeddings, vectors, **settings)
            refused = ops.cast(refused, embeddings.dtype)
            return losses + (refused + nan_unless_finite(embeddings, vectors))

        guarded.check = check
        # `tf.function` would pass on the formula itself, unguarded, for a loss among its arguments.
        del guarded.__wrapped__
        guarded.__signature__ = signature
        return guarded

    return decorate
