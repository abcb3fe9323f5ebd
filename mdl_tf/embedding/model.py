"""From images to embeddings: the model that makes them, and a whole set through it."""

import keras
import numpy as np
from keras import layers

from mdl_tf.checks import POOLINGS, check_integer
from mdl_tf.embedding.outputs import check_output, check_single, embed_batch
from mdl_tf.embedding.reading import count_images, read_batches
from mdl_tf.embedding.units import find_classifier


def embedding_model(
    backbone,
    preprocess=None,
    embedding_dim=64,
    pooling="avg",
    l2_normalize=True,
    name="embedder",
    *,
    normalize_features=False,
):
    """Preprocessing, backbone, pooling, a dense layer, unit length.

    The model takes RGB in 0..255: preprocessing is part of it and saved with it. The dense layer
    and the normalisation are float32 under every mixed-precision policy, since half precision
    loses the small distances.

    Args:
        backbone: a `keras.Model` with one input and one output, from images to maps
            `(B, h, w, c)`, tokens `(B, T, c)` or features `(B, c)`.
        preprocess: a function from RGB in 0..255 to the units of the backbone, in Keras
            operations, such as `preprocess_input` of the backbone's file. Defaults to `None`, the
            backbone takes RGB in 0..255.
        embedding_dim: D, at least 1. Defaults to `64`.
        pooling: `"avg"`, `"max"`, or `"both"`, the sum of the two (Proxy-Anchor), over the maps or
            over all tokens; not used if the backbone ends in features. Defaults to `"avg"`.
        l2_normalize: whether embeddings are scaled to unit length. Defaults to `True`.
        name: name of the model. Defaults to `"embedder"`.
        normalize_features: whether the pooled features are scaled to unit length before the dense
            layer. A learning rate of that layer then means the same for every network; use it with
            `fit_head`. Defaults to `False`.

    Returns:
        A functional `keras.Model`, images `(B, H, W, 3)` to embeddings `(B, D)`.

    Raises:
        ValueError: if `backbone`, `preprocess`, `pooling` or `embedding_dim` is not one of the
            above, or the backbone ends in a classifier.
    """
    if preprocess is not None and not callable(preprocess):
        raise ValueError(
            "`preprocess` must be a function of images, or None. "
            f"Received: preprocess={preprocess!r}"
        )
    if pooling not in POOLINGS:
        raise ValueError(
            f"`pooling` must be one of {tuple(POOLINGS)}. Received: pooling={pooling!r}"
        )
    embedding_dim = check_integer("embedding_dim", embedding_dim, least=1)
    before, after = _ends(backbone)
    classifier = find_classifier(backbone)
    if classifier:
        raise ValueError(
            "`backbone` must end in maps, tokens or features, without a classifier on top: "
            "keras.applications networks need include_top=False; of another model take the layer "
            "before, keras.Model(model.inputs, model.layers[-2].output). Received: a model "
            f"{backbone.name!r} that ends in {classifier}"
        )
    inputs = keras.Input(before[1:], name="image")
    x = preprocess(inputs) if preprocess else inputs
    # Also out of a dict or a list of one.
    [x] = keras.tree.flatten(backbone(x))
    if len(after) > 2:
        x = _pool(x, POOLINGS[pooling], len(after))
    if normalize_features:
        x = layers.UnitNormalization(dtype="float32", name="feature_length")(x)
    x = layers.Dense(embedding_dim, dtype="float32", name="embedding")(x)
    if l2_normalize:
        x = layers.UnitNormalization(dtype="float32", name="unit_length")(x)
    return keras.Model(inputs, x, name=name)


def concatenated(embedders, name="concatenated"):
    """Several embedders as one, with their embeddings one behind the other (Musgrave 2020).

    Embeddings of unit length are divided by the root of their number, so that the whole has unit
    length again; others stay as they are.

    Args:
        embedders: `keras.Model`s that take the same images, `(B, H, W, 3)` to `(B, D)`.
        name: name of the model. Defaults to `"concatenated"`.

    Returns:
        A functional `keras.Model`, `(B, H, W, 3)` to `(B, D1 + D2 + ...)`.

    Raises:
        ValueError: if there are none, they take inputs of different shapes, or one gives no
            embeddings `(B, D)` or several outputs.
    """
    if not isinstance(embedders, list | tuple):
        raise ValueError(
            f"`embedders` must be a list of models. Received: embedders={type(embedders).__name__}"
        )
    for embedder in embedders:
        check_single(embedder, "embedders")
        check_output(embedder)
    shapes = {tuple(embedder.input_shape) for embedder in embedders}
    if len(shapes) != 1:
        raise ValueError(
            "`embedders` must be at least one, all of one input shape. "
            f"Received: {sorted(map(str, shapes)) or 'none'}"
        )
    inputs = keras.Input(shapes.pop()[1:], name="image")
    # Their own names may be the same.
    named = [
        keras.Model(embedder.inputs, embedder.outputs, name=f"embedder_{i}")
        for i, embedder in enumerate(embedders, 1)
    ]
    parts = [keras.tree.flatten(embedder(inputs))[0] for embedder in named]
    x = layers.Concatenate(dtype="float32", name="embedding")(parts) if parts[1:] else parts[0]
    if all(isinstance(embedder.layers[-1], layers.UnitNormalization) for embedder in embedders):
        x = layers.UnitNormalization(dtype="float32", name="unit_length")(x)
    return keras.Model(inputs, x, name=name)


def _pool(x, names, rank):
    """(B, T, c) or (B, h, w, c) -> (B, c), the sum of one or two poolings."""
    kinds = [getattr(layers, f"{name}{rank - 2}D") for name in names]
    if len(kinds) == 1:
        return kinds[0](name="pooling")(x)
    parts = [kind(name=f"pooling_{i}")(x) for i, kind in enumerate(kinds, 1)]
    return layers.Add(name="pooling")(parts)


def _ends(backbone):
    """The shapes of input and output of a backbone that the model can be put around."""
    # Neither is known of a subclassed model, which has none before it is called.
    inputs, outputs = (
        [tuple(tensor.shape) for tensor in getattr(backbone, name, None) or ()]
        for name in ("inputs", "outputs")
    )
    if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0]) not in (2, 3, 4):
        raise ValueError(
            "`backbone` must have one input, and one output of maps (B, h, w, c), tokens "
            f"(B, T, c) or features (B, c). Received: inputs {inputs} and outputs {outputs}"
        )
    return inputs[0], outputs[0]


def embed(model, images, *, output=None, progress=None):
    """The embeddings of a whole set, in its order.

    Args:
        model: a `keras.Model`, images `(B, H, W, 3)` to embeddings `(B, D)`.
        images: batches of (images, labels), perhaps with weights, or of images, such as
            `batches.ordered(test)`; one array `(N, H, W, 3)`, or a pair of arrays with labels
            `(N,)`; RGB in 0..255. Labels are integers, strings or one-hot.
        output: name of the output that is the embedding, of a model with several. Defaults to
            `None`: it has one.
        progress: a function of (images done, images or `None`), called after each batch. Defaults
            to `None`.

    Returns:
        embeddings `(N, D)` float32, and labels `(N,)`, int64 or strings, or `None` if there are
        none.

    Raises:
        ValueError: if `model` is none, there are no images or no end of them, labels are none, or
            the model gives no embeddings `(B, D)`, or several and `output` names none of them.
    """
    if not hasattr(model, "predict_on_batch"):
        raise ValueError(
            "`model` must be a Keras model, such as `load_model` gives. "
            f"Received: model={type(model).__name__}"
        )
    total = len(images) if hasattr(images, "shape") else None
    embeddings, labels, done, size = [], [], 0, 0
    for pixels, batch_labels in read_batches(images):
        count = count_images(pixels)
        # The last batch is filled up and cut: a new shape would compile the whole network again.
        size = max(size, count)
        if count < size:
            pixels = keras.tree.map_structure(
                lambda array, size=size: np.resize(array, (size, *array.shape[1:])), pixels
            )
        embeddings.append(np.asarray(embed_batch(model, pixels, output), np.float32)[:count])
        if batch_labels is not None:
            labels.append(batch_labels)
        done += count
        if progress:
            progress(done, total)
    if not embeddings:
        raise ValueError("`images` must hold at least one image. Received: none")
    return np.concatenate(embeddings), np.concatenate(labels) if labels else None
