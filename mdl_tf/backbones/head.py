"""How this library's published networks end: in maps, in pooled features, or in the classifier."""

from keras import layers

from mdl_tf.checks import check_integer

CLASSES = 1000  # of ImageNet


def check_head(include_top, weights, pooling, classes):
    """Refuse arguments of a network that do not fit together.

    Args:
        include_top: whether it ends in the classifier.
        weights: `None`, `"imagenet"` or a path.
        pooling: `None`, `"avg"` or `"max"`.
        classes: size of the classifier.

    Returns:
        `classes` as a Python integer.

    Raises:
        ValueError: if `pooling` is another one, `classes` no positive integer, or not 1000 for the
            classifier of `"imagenet"`.
    """
    classes = check_integer("classes", classes, least=1)
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"`pooling` must be None, 'avg' or 'max'. Received: pooling={pooling!r}")
    if weights == "imagenet" and include_top and classes != CLASSES:
        raise ValueError(
            f"`classes` must be {CLASSES} for the top of weights='imagenet'. "
            f"Received: classes={classes}"
        )
    return classes


def add_head(x, include_top, pooling, classes, top):
    """What follows the last maps of a network.

    Args:
        x: the maps, `(B, h, w, C)`.
        include_top: whether to end in the mean and a dense layer of logits.
        pooling: without top, `None`, `"avg"` or `"max"`.
        classes: size of the dense layer.
        top: name of the dense layer.

    Returns:
        Logits `(B, classes)`, features `(B, C)`, or the maps as they are.
    """
    if include_top:
        x = layers.GlobalAveragePooling2D(name="global_pool")(x)
        return layers.Dense(classes, name=top)(x)
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name="global_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="global_pool")(x)
    return x
