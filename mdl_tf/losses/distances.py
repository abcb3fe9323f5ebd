"""Pairwise distances, `(N, D), (M, D) -> (N, M)`, in float32 or better whatever comes in.

On GPUs with TensorFloat-32 TensorFlow rounds the factors of float32 products to 10 bits by default;
`tf.config.experimental.enable_tensor_float_32_execution(False)` keeps the digits of close pairs.
"""

from keras import ops

# Of the product, relative to the squared lengths: below it two vectors count as one.
ROUNDING = {"float32": 1e-6, "float64": 1e-15}


def _in_full_precision(a, b):
    a, b = ops.convert_to_tensor(a), ops.convert_to_tensor(b)
    dtype = "float64" if "float64" in (_name(a), _name(b)) else "float32"
    return ops.cast(a, dtype), ops.cast(b, dtype)


def _name(tensor):
    return getattr(tensor.dtype, "name", str(tensor.dtype))


def _squared_and_resolvable(a, b):
    """Squared distances `(N, M)`, and where they rise above the rounding of their own product."""
    a, b = _in_full_precision(a, b)
    # Distances do not change under translation, and close to their centre embeddings keep their
    # digits: those of an untrained or collapsed network lie closer together than to the origin.
    centre = ops.stop_gradient(ops.mean(b, axis=0, keepdims=True))
    a, b = a - centre, b - centre
    a_norms = ops.sum(a * a, axis=1, keepdims=True)  # (N, 1)
    b_norms = ops.sum(b * b, axis=1, keepdims=True)  # (M, 1)
    # |a|^2 + |b|^2 - 2 ab as one product, (N, D + 2) * (D + 2, M) -> (N, M): every pass over a
    # (N, M) matrix that is saved here is saved in the gradient too.
    left = ops.concatenate([-2 * a, a_norms, ops.ones_like(a_norms)], axis=1)
    right = ops.concatenate([b, ops.ones_like(b_norms), b_norms], axis=1)
    squared = ops.matmul(left, ops.transpose(right))
    return squared, squared > ROUNDING[_name(squared)] * (a_norms + ops.transpose(b_norms))


def squared_euclidean(a, b):
    """Squared Euclidean distances.

    Args:
        a: embeddings, shape `(N, D)`, floats.
        b: embeddings, shape `(M, D)`, floats.

    Returns:
        Shape `(N, M)`, not negative; float64 if an input is, else float32. Vectors that the
        rounding of the product cannot tell apart are at distance exactly 0, with gradient 0.
    """
    squared, resolvable = _squared_and_resolvable(a, b)
    return ops.where(resolvable, squared, ops.zeros_like(squared))


def euclidean(a, b):
    """Euclidean distances.

    Args:
        a: embeddings, shape `(N, D)`, floats.
        b: embeddings, shape `(M, D)`, floats.

    Returns:
        Shape `(N, M)`, not negative; float64 if an input is, else float32. Where two vectors
        coincide (up to the rounding of the product, about 0.001 of their distance from the centre
        in float32) the distance is exactly 0 and its gradient, which does not exist, is 0.
    """
    squared, resolvable = _squared_and_resolvable(a, b)
    # The gradient of the root is infinite at 0, and an infinity stays one through a later mask;
    # so the root never sees the 0.
    root = ops.sqrt(ops.where(resolvable, squared, ops.ones_like(squared)))
    return ops.where(resolvable, root, ops.zeros_like(squared))


def cosine(a, b):
    """Cosine distances, one minus the cosine of the angle.

    Args:
        a: embeddings, shape `(N, D)`, floats; of any length, they are normalised here.
        b: embeddings, shape `(M, D)`, floats.

    Returns:
        Shape `(N, M)`, 0 to 2 up to rounding; float64 if an input is, else float32. A zero vector
        is at distance 1 from everything and gets the gradient 0.
    """
    return 1 - cosine_similarity(a, b)


def cosine_similarity(a, b):
    """Cosines of the angles.

    Args:
        a: embeddings, shape `(N, D)`, floats; of any length, they are normalised here.
        b: embeddings, shape `(M, D)`, floats.

    Returns:
        Shape `(N, M)`, -1 to 1 up to rounding; float64 if an input is, else float32. A zero vector
        has the cosine 0 with everything and gets the gradient 0.
    """
    a, b = _in_full_precision(a, b)
    return ops.matmul(unit(a), ops.transpose(unit(b)))


def unit(x):
    """Vectors scaled to unit length.

    Args:
        x: shape `(..., D)`, floats.

    Returns:
        The same shape and type; zero vectors stay zero, with gradient 0.
    """
    squared = ops.sum(x * x, axis=-1, keepdims=True)
    # Below this the reciprocal root, or its gradient, leaves the range of float32.
    nonzero = squared > 1e-24
    return x * ops.where(nonzero, ops.rsqrt(ops.where(nonzero, squared, 1.0)), 0.0)


DISTANCES = {
    "euclidean": euclidean,
    "squared_euclidean": squared_euclidean,
    "cosine": cosine,
}
