"""MetricModel: an embedder together with a loss that has weights.

Keras neither trains nor saves the variables of a loss that is given to `compile`. Here they belong
to a layer of the model.
"""

import importlib

import keras
from keras import ops

from mdl_tf.checks import check_integer
from mdl_tf.losses.anchors import AnchorsThatCount
from mdl_tf.losses.checks import check_labels
from mdl_tf.losses.cross_batch_memory import CrossBatchMemory
from mdl_tf.losses.replica_steps import ReplicaSteps


class LossWeights(keras.layers.Layer):
    """The weights of a loss as a layer, in float32 under every mixed-precision policy.

    Args:
        specs: a dict from names to shapes and initializers, as `MetricLoss.weight_specs` gives it.
        **options: `name` and others of a Keras layer.
    """

    def __init__(self, specs, **options):
        super().__init__(dtype="float32", **options)
        self.variables_by_name = {
            name: self.add_weight(name=name, shape=shape, initializer=initializer)
            for name, (shape, initializer) in specs.items()
        }
        self.built = True


@keras.saving.register_keras_serializable(package="mdl_tf")
class MetricModel(ReplicaSteps):
    """An embedder and the loss that trains it, with the usual `compile`, `fit`, `save`, `predict`.

    Needed for losses with weights (proxies, a learned boundary), which Keras would neither train
    nor save; it takes every loss of `mdl_tf.losses`. `predict` gives embeddings,
    `embedder` is the model without the loss, for saving and searching. The logs have the share of
    the `AnchorsThatCount`, if the loss compares images, and each part of a `WeightedSum`.

    Args:
        embedder: a built `keras.Model` from images to embeddings `(B, D)`.
        loss: a loss of `mdl_tf.losses`; the model uses a copy of it, `metric_loss`.
        micro_batch: images whose activations are kept at a time in training. The weights are those
            of the whole batch, in the memory of so many images and the time of a second forward
            pass; batch normalisation must be by running statistics
            (`mdl_tf.embedding.set_batch_norm`). Defaults to `None`, the whole batch.
        memory: embeddings of earlier batches that the images of a batch are compared with, too
            (`CrossBatchMemory`), saved with the model. Pass labels as
            `{"labels": labels, "images": numbers}`, with a number for each image of the set: an
            image then is not compared with an earlier embedding of itself. Without numbers only
            negatives come from the memory. Defaults to `0`, none.
        memory_start: steps during which the memory is filled and not used. Defaults to `0`.
        memory_age: steps after which an embedding is no longer used. Defaults to `None`: until
            others take its place.
        **options: `name` of the model.

    Raises:
        ValueError: if the embedder's output is not `(B, D)`, the loss is not of this library,
            `micro_batch` is not at least 1, the loss cannot use a memory, or `compile` is given
            another loss, or meets batch normalisation in training mode beside a `micro_batch`.

    Example:

    >>> loss = ProxyAnchorLoss(num_classes=train.num_classes)
    >>> model = MetricModel(embedder, loss)
    >>> model.compile(Adam(1e-3, learning_rate_factors={"proxies": 10}))
    >>> model.fit(batches, steps_per_epoch=100)
    >>> model.embedder.save("embedder.keras")
    """

    def __init__(
        self,
        embedder,
        loss,
        *,
        micro_batch=None,
        memory=0,
        memory_start=0,
        memory_age=None,
        **options,
    ):
        if isinstance(loss, type) or not hasattr(loss, "weight_specs"):
            raise ValueError(
                "`loss` must be a loss of `mdl_tf.losses`, such as ProxyAnchorLoss(num_classes=98)."
                f" Received: loss={loss!r}"
            )
        try:
            shape = getattr(embedder, "output_shape", None)
        except ValueError:  # what some versions of Keras say of a model that is not built
            shape = None
        if not (isinstance(shape, tuple) and len(shape) == 2 and shape[1]):
            several = isinstance(shape, list | dict) or (shape and isinstance(shape[0], tuple))
            hint = (
                " Of several outputs take one: keras.Model(model.inputs, "
                "model.get_layer('embedding').output)."
            )
            raise ValueError(
                "`embedder` must be a built model with an output of shape `(B, D)`."
                f"{hint if several else ''} Received: an output of shape {shape}"
            )
        if micro_batch is not None:
            micro_batch = check_integer("micro_batch", micro_batch, least=1)
        # The embedder casts its own inputs; a half-precision cast in front would touch the pixels.
        options.setdefault("name", "metric_model")
        options.setdefault("dtype", embedder.dtype_policy)
        super().__init__(autocast=False, **options)
        self.embedder = embedder
        self.micro_batch = micro_batch
        # A copy: the same loss object may go into another model, or into a cell that is run again.
        self.metric_loss = type(loss).from_config(loss.get_config())
        self.loss_weights = LossWeights(loss.weight_specs(shape[1]), name="loss_weights")
        self.metric_loss.attach(self.loss_weights.variables_by_name)
        self.memory = None
        if check_integer("memory", memory, least=0):
            self.metric_loss.check_memory()
            self.memory = CrossBatchMemory(
                memory, shape[1], start=memory_start, age=memory_age, name="memory"
            )
        self.share_metric = AnchorsThatCount() if self.metric_loss.compares_images else None
        parts = getattr(self.metric_loss, "parts", {})
        self.part_metrics = [keras.metrics.Mean(name=name) for name in parts]
        self.built = True

    def begin_at(self, embeddings, labels, seed=0):
        """Let the weights of the loss begin with what the embedder gives, as proxies at the means
        of their classes.

        Args:
            embeddings: of the training set, `(N, D)`.
            labels: class indices of the same images, `(N,)`.
            seed: of what is random in it. Defaults to `0`.
        """
        values = self.metric_loss.first_weights(embeddings, labels, seed)
        for name, value in values.items():
            self.loss_weights.variables_by_name[name].assign(value)

    def call(self, inputs, training=None):
        if training and self.micro_batch is not None:
            return _micro_batches().embed_in_parts(self.embedder, inputs, self.micro_batch)
        return self.embedder(inputs, training=training)

    def compute_output_shape(self, input_shape):
        return self.embedder.compute_output_shape(input_shape)

    @property
    def input_shape(self):
        return self.embedder.input_shape

    @property
    def output_shape(self):
        return self.embedder.output_shape

    def save(self, filepath, *args, **options):
        """As `keras.Model.save`, into a `.keras` file.

        Args:
            filepath: where to.
            *args: those of `keras.Model.save`.
            **options: those of `keras.Model.save`.

        Raises:
            ValueError: for HDF5 (`.h5`), which could not be loaded again.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "`filepath` must end in .keras: an .h5 file of a MetricModel cannot be loaded "
                f"again. Received: filepath={filepath}"
            )
        return super().save(filepath, *args, **options)

    def export(self, filepath, *args, **options):
        """As `keras.Model.export`, of the embedder alone.

        Args:
            filepath: where to.
            *args: those of `keras.Model.export`.
            **options: those of `keras.Model.export`.
        """
        return self.embedder.export(filepath, *args, **options)

    def compile(self, optimizer="rmsprop", *, loss=None, **options):
        """As `keras.Model.compile`, with the loss that the model was made with.

        Args:
            optimizer: an optimizer or its name. Defaults to `"rmsprop"`, as Keras has it.
            loss: leave it out.
            **options: those of `keras.Model.compile`.

        Raises:
            ValueError: if a loss is given.
        """
        if loss is not None and loss is not self.metric_loss:
            several = isinstance(loss, list | tuple | dict)
            hint = (
                " For a sum of losses make it with loss=WeightedSum([(TripletLoss(), 1.0), "
                "(ArcFaceLoss(98), 0.5)])."
            )
            raise ValueError(
                "`loss` is the one that the MetricModel was made with; leave it out of `compile`."
                f"{hint if several else ''} Received: loss={loss!r}"
            )
        if self.micro_batch is not None:
            _micro_batches().refuse_batch_statistics(self.embedder)
        super().compile(optimizer=optimizer, loss=self.metric_loss, **options)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As `keras.Model.compute_loss`; the parts of a `WeightedSum` go into the logs.

        Args:
            x: as Keras has it.
            y: labels `(B,)`.
            y_pred: embeddings `(B, D)`.
            sample_weight: weights of the anchors, or `None`.
            training: whether the model is trained.
        """
        y, images = _take_images(y)
        if self.memory is None or not training:
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        else:
            with self.metric_loss.beside(self.memory, images):
                loss = super().compute_loss(x, y, y_pred, sample_weight, training)
            self.memory.add(check_labels(y), y_pred, images)
        if self.part_metrics:
            size = ops.shape(y_pred)[0]
            losses = self.metric_loss.take_parts(sample_weight)
            for metric, value in zip(self.part_metrics, losses, strict=True):
                metric.update_state(value, sample_weight=size)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As `keras.Model.compute_metrics`, with the share of the anchors that count.

        Args:
            x: as Keras has it.
            y: labels `(B,)`.
            y_pred: embeddings `(B, D)`.
            sample_weight: weights of the anchors, or `None`.
        """
        y, _ = _take_images(y)
        if self.share_metric is not None:
            self.share_metric.update_state(y)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_config(self):
        return {
            "name": self.name,
            # Keras does not keep that of a functional model; loss scaling hangs on it.
            "dtype": self.dtype_policy.name,
            "embedder": keras.saving.serialize_keras_object(self.embedder),
            "loss": keras.saving.serialize_keras_object(self.metric_loss),
            "micro_batch": self.micro_batch,
            **self._memory_config(),
        }

    def _memory_config(self):
        memory = self.memory
        if memory is None:
            return {}
        return {"memory": memory.size, "memory_start": memory.start, "memory_age": memory.age}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
            for key in ("embedder", "loss")
        }
        return cls(**{**config, **parts})

    def get_compile_config(self):
        config = super().get_compile_config()
        return {key: value for key, value in (config or {}).items() if key != "loss"}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)


def _take_images(y):
    """Labels, and the numbers of the images if they are beside them, else `None`."""
    if not isinstance(y, dict):
        return y, None
    if set(y) != {"labels", "images"}:
        raise ValueError(
            "Labels must be integers, or a dict of `labels` and `images`, the numbers of the "
            f"images. Received: a dict of {', '.join(map(str, y))}"
        )
    return y["labels"], ops.reshape(y["images"], (-1,))


def _micro_batches():
    # What trains on many devices or in parts stands above the losses.
    return importlib.import_module("mdl_tf.distribute.micro_batches")
