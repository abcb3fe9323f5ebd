"""A training step in micro-batches: the memory of a small batch, the weights of a large one.

A loss that compares the images of a batch cannot be summed over parts of it. So the embeddings of
all parts are computed first, without what a backward pass needs; the loss gives the gradient on all
of them; and each part is computed again and taken backwards by itself. It costs a second forward
pass.

Source: Gao, Zhang, Han, Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", RepL4NLP 2021 (gradient caching).
"""

import keras
import tensorflow as tf

from mdl_tf.losses.tiles import Tiles


def refuse_batch_statistics(embedder):
    """Refuse batch normalisation that would see a micro-batch in place of the batch.

    Args:
        embedder: a `keras.Model`.

    Raises:
        ValueError: if a layer normalises by the statistics of what it is given in training.
    """
    for layer in embedder._flatten_layers():
        # One that always uses its running statistics has a `call` of its own.
        is_stock = getattr(type(layer), "call", None) is keras.layers.BatchNormalization.call
        if is_stock and layer.trainable:
            raise ValueError(
                "`micro_batch` needs batch normalisation by running statistics; with those of a "
                "micro-batch the weights would not be those of the whole batch. Call "
                "mdl_tf.embedding.set_batch_norm(model, 'statistics') before `compile`, or train "
                f"with --batch-norm statistics. Received: layer {layer.name!r} in training mode"
            )


def embed_in_parts(embedder, inputs, micro_batch):
    """Embeddings of a training batch, whose backward pass computes each part again.

    Dropout and augmentation inside the model draw the same numbers for a part both times.

    Args:
        embedder: a `keras.Model`.
        inputs: the images of the batch, `(B, ...)`.
        micro_batch: how many of them are computed at a time.

    Returns:
        Shape `(B, D)`.

    Raises:
        ValueError: as `refuse_batch_statistics`.
    """
    refuse_batch_statistics(embedder)
    parts = Tiles(tf.shape(tf.nest.flatten(inputs)[0])[0], micro_batch)
    seeds = _find_seeds(embedder)
    drawn = [tf.identity(seed.value) for seed in seeds]
    values = [tf.convert_to_tensor(v.value) for v in embedder.trainable_variables]

    def embed(cut):
        return embedder(tf.nest.map_structure(cut, inputs), training=True)

    @tf.custom_gradient
    def attach(embeddings, *values):
        def gradient(upstream):
            for seed, value in zip(seeds, drawn, strict=True):
                seed.assign(value)

            def go_back(cut):
                with tf.GradientTape() as tape:
                    embeddings = embed(cut)
                gradients = tape.gradient(
                    embeddings,
                    [v.value for v in embedder.trainable_variables],
                    output_gradients=cut(upstream),
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                # Those of a table of embeddings are sparse.
                return [], [tf.convert_to_tensor(each) for each in gradients]

            _, gradients = parts.run(go_back)
            return tf.zeros_like(upstream), *gradients

        return tf.identity(embeddings), gradient

    (embeddings,), _ = parts.run(lambda cut: ([embed(cut)], []))
    # The gradient goes to the weights by way of `values`.
    return attach(tf.stop_gradient(embeddings), *values)


def _find_seeds(model):
    """The states of the random generators of a model: variables that are no weights."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]
