"""Batch normalisation in training: trained, frozen, with running statistics, or synchronized.

A batch of metric learning holds few classes with several images each, so its mean and variance are
not those of the data; published fine-tuning recipes keep the statistics of the pretrained network.

>>> set_batch_norm(model, "frozen")
>>> model.compile(optimizer="adam", loss=MarginDiscriminateLoss())
"""

import keras

from mdl_tf.checks import BATCH_NORMS


@keras.saving.register_keras_serializable(package="mdl_tf")
class FixedStatistics(keras.layers.BatchNormalization):
    """Batch normalisation by its running statistics, in training, too; scale and shift learn.

    In Keras 3 `backbone(x, training=False)` does not do that: `fit` says `training=True` to every
    layer again.
    """

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def set_batch_norm(model, mode):
    """Choose what every batch normalisation of a model does in training, at any depth.

    The layers that are there are changed, not replaced by others: inside a layer of somebody's own
    no clone of a model would reach them, and weights, names and the model's graph stay. Call it
    before `compile`; a model that is compiled trains on as it was until it is compiled again.

    Keras stores with a model what layers are directly in it or in a model inside it. What is inside
    a layer of your own is built by that layer when the model is loaded, so call this again then;
    a resumed run does.

    Args:
        model: a `keras.Model`, or any layer that holds others.
        mode: `"frozen"`: running statistics, and nothing of the layer changes (`trainable=False`);
            `"statistics"`: running statistics that do not change, while scale and shift learn,
            unless the layer is frozen; loading the model then needs `mdl_tf.load_model`;
            `"train"`: as Keras has it, statistics of the batch, under a distribution strategy of
            each replica's share; it undoes `"statistics"` and `"synchronized"`; a layer that is
            frozen stays so;
            `"synchronized"`: as `"train"`, with the statistics of the whole batch of all replicas,
            as one device has them; on one device the two are the same.

    Raises:
        ValueError: if `mode` is none of these, `model` is no model or layer, it has no batch
            normalisation to freeze, or for `"statistics"` one of another class than Keras's own.
    """
    if mode not in BATCH_NORMS:
        raise ValueError(f"`mode` must be one of {BATCH_NORMS}. Received: mode={mode!r}")
    if not isinstance(model, keras.Layer):
        raise ValueError(
            f"`model` must be a Keras model or layer. Received: model={type(model).__name__}"
        )
    stock = keras.layers.BatchNormalization
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, stock)]
    if not norms and mode not in ("train", "synchronized"):
        raise ValueError(
            "`mode` must be 'train' for a model without batch normalisation. "
            f"Received: mode={mode!r} for model {model.name!r}"
        )
    if mode == "frozen":
        for layer in norms:
            layer.trainable = False
        return
    if mode != "statistics":
        for layer in norms:
            layer.synchronized = mode == "synchronized"
    foreign = [layer for layer in norms if type(layer) not in (stock, FixedStatistics)]
    if foreign and mode == "statistics":
        kind = type(foreign[0])
        raise ValueError(
            "`mode` may be 'statistics' only for keras.layers.BatchNormalization itself. "
            f"Received: a layer {foreign[0].name!r} of {kind.__module__}.{kind.__qualname__}"
        )
    for layer in norms:
        if layer not in foreign:
            layer.__class__ = FixedStatistics if mode == "statistics" else stock
