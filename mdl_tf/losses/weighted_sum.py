"""A sum of losses as one loss: Keras trains only the first of a list for one output."""

import itertools
import threading

import keras
import tensorflow as tf
from keras import ops

from mdl_tf.checks import check_number
from mdl_tf.losses.anchors import KEY
from mdl_tf.losses.base import MetricLoss

_FORM = "[(TripletLoss(), 1.0), (ArcFaceLoss(98), 0.5)]"


@keras.saving.register_keras_serializable(package="mdl_tf")
class WeightedSum(MetricLoss):
    """A weighted sum of losses of this library, as one loss.

        loss = sum of weight * loss over the parts

    With weights of its own (proxies, a learned boundary) it needs a `MetricModel`, which trains,
    saves and loads those of all parts, and has each part in the logs without its weight. Without a
    `MetricModel` the parts are in the logs by `compile(loss=loss, metrics=loss.part_metrics())`.

    Args:
        losses: pairs of a loss of `mdl_tf.losses` and its weight, a number of at least 0; a loss
            alone has the weight 1. The losses keep their settings; `reduction` and `dtype` are
            those of the sum. Losses with classes must have the same `num_classes`, and the labels
            are then class indices for all parts.
        **options: `reduction`, `name`, `dtype`, as in `MetricLoss`.

    Attributes:
        parts: a dict from the name of each part, its key in the logs, to its loss; equal names are
            numbered: `triplet_loss`, `triplet_loss_2`.
        factors: the weights, in the same order.

    Raises:
        ValueError: for what is no loss of this library, another sum, a weight that is no such
            number or all weights 0, a part with a `reduction` of its own, or different
            `num_classes`.

    Example:

    >>> loss = WeightedSum([(TripletLoss(), 1.0), (ArcFaceLoss(train.num_classes), 0.5)])
    >>> model = MetricModel(embedder, loss)
    >>> model.compile("adam")
    """

    function = None
    gap = 0.0

    def __init__(self, losses, **options):
        pairs = _read_pairs(losses)
        for loss, _ in pairs:
            if loss.reduction == "sum" != options.get("reduction"):
                raise ValueError(
                    "`losses` must have no `reduction` of their own: give it to the sum, "
                    f"WeightedSum({_FORM}, reduction='sum'). Received: {loss!r}"
                )
        classes = {loss.num_classes for loss, _ in pairs} - {None}
        if len(classes) > 1:
            raise ValueError(
                "`losses` must have the same `num_classes`: they see the same labels. "
                f"Received: num_classes={' and '.join(map(str, sorted(classes)))}"
            )
        options.setdefault("name", "weighted_sum")
        options.setdefault("dtype", _one_dtype(pairs))
        # Losses of its own: the same objects may be in another sum or model.
        copies = [type(loss).from_config(loss.get_config()) for loss, _ in pairs]
        self.parts = dict(zip(_number_names([loss.name for loss in copies]), copies, strict=True))
        self.factors = tuple(float(factor) for _, factor in pairs)
        super().__init__({}, num_classes=classes.pop() if classes else None, **options)
        self._fixed += ("parts", "factors")
        self._latest = {}

    @classmethod
    def check(cls, **settings):
        """The parts have checked their own settings."""

    @property
    def compares_images(self):
        return any(loss.compares_images for loss in self.parts.values())

    @property
    def has_weights(self):
        return any(loss.has_weights for loss in self.parts.values())

    def weight_specs(self, embedding_dim):
        specs = {}
        for part, loss in self.parts.items():
            for weight, spec in loss.weight_specs(embedding_dim).items():
                specs[self._weight_name(part, weight)] = spec
        return specs

    def first_weights(self, embeddings, labels, seed=0):
        values = {}
        for part, loss in self.parts.items():
            for weight, value in loss.first_weights(embeddings, labels, seed).items():
                values[self._weight_name(part, weight)] = value
        return values

    def attach(self, weights):
        super().attach(weights)
        for part, loss in self.parts.items():
            names = loss.weight_specs(1)
            loss.attach({name: weights[self._weight_name(part, name)] for name in names})

    def _weight_name(self, part, weight):
        """The name of a part's weight: its own, or with the part's where several parts have it."""
        owners = [loss for loss in self.parts.values() if weight in loss.weight_specs(1)]
        return weight if len(owners) == 1 else f"{part}_{weight}"

    def compute(self, labels, embeddings, references=None):
        """As `MetricLoss.compute`."""
        self.weights  # noqa: B018 - raises the error that shows the sum, not a part
        values = [loss.compute(labels, embeddings, references) for loss in self.parts.values()]
        # Each replica has a thread of its own.
        self._latest[threading.get_ident()] = values, references
        return sum(factor * value for value, factor in zip(values, self.factors, strict=True))

    def check_memory(self):
        for loss in self.parts.values():
            if loss.compares_images or not self.compares_images:
                loss.check_memory()

    @property
    def needs_others(self):
        return any(loss.needs_others for loss in self.parts.values())

    def take_parts(self, sample_weight=None):
        """What the parts made of the last batch, for the logs of whoever called the loss.

        Args:
            sample_weight: weights of the anchors, as the loss got them. Defaults to `None`.

        Returns:
            The losses of the parts, scalars, without the weights of the parts.
        """
        latest, references = self._latest.pop(threading.get_ident(), ((), None))
        return [self._reduce(values, sample_weight, references) for values in latest]

    def _reduce(self, values, sample_weight, references):
        """The loss of a batch out of those of its anchors, of which a replica may have a share."""
        if references is None:
            return reduce_weighted_values(values, sample_weight, self.reduction)
        total = references.total(reduce_weighted_values(values, sample_weight, "sum"))
        anchors = ops.cast(ops.maximum(references.anchors, 1), total.dtype)
        return total if self.reduction == "sum" else total / anchors

    def part_metrics(self):
        """A Keras metric for each part: its mean over the batches, without its weight.

        Each computes its loss once more.

        Returns:
            A list for `compile(metrics=...)`.
        """
        return [PartLoss(loss, name=name) for name, loss in self.parts.items()]

    def get_config(self):
        losses = [
            [keras.saving.serialize_keras_object(loss), factor]
            for loss, factor in zip(self.parts.values(), self.factors, strict=True)
        ]
        return {
            "losses": losses,
            "name": self.name,
            "reduction": self.reduction,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config):
        losses = [
            (keras.saving.deserialize_keras_object(loss), factor)
            for loss, factor in config["losses"]
        ]
        return cls(**{**config, "losses": losses})

    def __repr__(self):
        pairs = zip(self.parts.values(), self.factors, strict=True)
        return f"WeightedSum([{', '.join(f'({loss!r}, {factor})' for loss, factor in pairs)}])"


def reduce_weighted_values(values, sample_weight, reduction):
    """The loss of a batch out of the losses of its anchors, as Keras reduces it.

    Args:
        values: `(B,)`.
        sample_weight: `(B,)` or `(B, 1)`, or `None`.
        reduction: `"sum"`, or another for the mean.

    Returns:
        A scalar.
    """
    if sample_weight is not None:
        values = values * ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype)
    return ops.sum(values) if reduction == "sum" else ops.mean(values)


@keras.saving.register_keras_serializable(package="mdl_tf")
class PartLoss(keras.metrics.Mean):
    """A loss as a metric: its mean over the batches of an epoch.

    Args:
        loss: a loss of `mdl_tf.losses`, attached to its weights if it has any.
        name: key of the logs. Defaults to `None`, that of the loss.
        dtype: of the result. Defaults to that of Keras's metrics.
    """

    def __init__(self, loss, name=None, dtype=None):
        super().__init__(name=name or loss.name, dtype=dtype)
        self.loss = loss

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch.

        Args:
            y_true: labels, integers `(B,)` or `(B, 1)`.
            y_pred: embeddings `(B, D)`.
            sample_weight: weights of the anchors. Defaults to `None`.
        """
        value = self.loss(y_true, y_pred, sample_weight=sample_weight)
        if tf.distribute.has_strategy():
            # A loss comes divided by the replicas, whose parts add up.
            value = value * tf.distribute.get_strategy().num_replicas_in_sync
        # As Keras weighs the loss of an epoch: by the images of each batch.
        return super().update_state(ops.broadcast_to(value, (ops.shape(y_pred)[0],)))

    def get_config(self):
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def _read_pairs(losses):
    if isinstance(losses, MetricLoss) or not isinstance(losses, list | tuple) or not losses:
        raise ValueError(
            f"`losses` must be a list of pairs of a loss and its weight, such as {_FORM}. "
            f"Received: losses={losses!r}"
        )
    pairs = []
    for entry in losses:
        is_pair = isinstance(entry, list | tuple) and len(entry) == 2
        loss, factor = entry if is_pair else (entry, 1.0)
        if not isinstance(loss, MetricLoss) or isinstance(loss, WeightedSum):
            raise ValueError(
                "`losses` must be losses of `mdl_tf.losses`, made with their settings, and no "
                f"sums: {_FORM}. Received: {entry!r}"
            )
        check_number(f"weight of {loss!r}", factor, least=0)
        pairs.append((loss, factor))
    if not any(factor for _, factor in pairs):
        raise ValueError(
            f"`losses` must have a weight above 0 among them. Received: losses={losses!r}"
        )
    return pairs


def _one_dtype(pairs):
    dtypes = {loss.dtype for loss, _ in pairs}
    return "float64" if "float64" in dtypes else "float32"


def _number_names(names):
    """Names of the parts, which are keys of the logs: equal ones are numbered."""
    numbered = []
    for name in names:
        if name in ("loss", KEY):
            raise ValueError(
                f"`losses` must have no `name` that is another key of the logs. Received: {name!r}"
            )
        numbers = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
        numbered.append(next(each for each in numbers if each not in numbered))
    return numbered
