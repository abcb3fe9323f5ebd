"""The Keras side of every loss: settings, exact labels, weights, and what the library asks of it.

A loss function returns `(B,)`, so that Keras reduces it and applies `sample_weight`: a scalar would
be rescaled silently.
"""

import contextlib
import functools
import inspect
import numbers
import threading
from types import MappingProxyType

import keras
import tensorflow as tf
from keras import ops

from mdl_tf.losses import references as refs
from mdl_tf.losses.anchors import warn_of_few_in, watch_batches
from mdl_tf.losses.calling import find_unused_losses, refuse_what_fails
from mdl_tf.losses.checks import check_batch, check_sample_weight, class_indices
from mdl_tf.losses.pairs import local_ids
from mdl_tf.losses.tile_size import check_tile

OPTIONS = ("reduction", "name", "dtype")
REDUCTIONS = ("sum_over_batch_size", "mean", "sum")


class MetricLoss(keras.losses.Loss):
    """Base of all losses: a loss function and its settings as a `keras.losses.Loss`.

    Keras casts `y_true` to the loss's float type before `call`, where class ids above 2^24 merge.
    So `__call__` replaces the labels first: by ids of the batch's own classes in a loss that
    compares the images of a batch with each other, by checked class indices in one that has
    weights for each class (`num_classes`).

    Under a distribution strategy a loss is that of the whole batch: the images of all replicas are
    gathered, and each replica computes the losses of its own anchors (`mdl_tf.losses.references`).

    A subclass names its `function(labels, embeddings, [weights,] **settings)`, says in
    `weight_specs` which weights it has, and states its facts, class attributes all. One that is in
    `mdl_tf.losses.table` must state the first three:

        search_space    what `mdl-tf compare` searches: a dict from a setting to a `Range` or a
                        `Choice` of `mdl_tf.losses.space`, from what the papers use to somewhat
                        beyond it on both sides; `Only` of one that acts with one value of another.
                        `l2_normalize` is searched if the paper leaves embeddings at any length; the
                        name of the `proxies`, or of what is `learned`, stands for the factor on
                        their learning rate.
        positives       how many positives of an anchor it uses: "several", "one", or "none" of a
                        loss that compares images with proxies.
        gap             the smallest difference between the Euclidean distances to a negative and
                        to a positive that satisfies it, for `val_violated_anchors`; 0 if it asks
                        for their order alone, or for nothing in Euclidean distances.
        proxies         name of the weights that stand for the classes. Defaults to `None`.
        learned         name of other weights that it may have. Defaults to `None`.
        first_draw      what the first draw of a search has in place of the defaults, or beside
                        them. Defaults to nothing.
        weight_arguments    argument of the function that a weight is passed as, where its name is
                        another. Defaults to none.

    Args:
        settings: the arguments of the subclass but `num_classes`, as Python numbers and strings.
            Each becomes an attribute. Nothing can change them: a compiled step would go on with
            the old value.
        num_classes: C of a loss whose labels are class indices. Defaults to `None`, labels are any
            integers.
        reduction: `"sum_over_batch_size"` or `"mean"` (the loss) or `"sum"` (B times the loss).
            Defaults to `"sum_over_batch_size"`.
        name: name of the loss. Defaults to that of the function.
        dtype: `"float32"` or `"float64"`, the type of the computation. Defaults to float32, or
            float64 where that is `keras.config.floatx()`; models may be in half precision.
        tile: anchors that are compared at a time, of losses whose function has that argument.
            Defaults to `"auto"`.
        **unknown: refused.

    Raises:
        ValueError: if `reduction`, `dtype` or a setting is not allowed.
        TypeError: for an unknown argument; the message lists the known ones.
    """

    function = None
    search_space = None
    positives = None
    gap = None
    proxies = None
    learned = None
    first_draw = MappingProxyType({})
    weight_arguments = MappingProxyType({})

    def __init__(
        self,
        settings,
        *,
        num_classes=None,
        reduction="sum_over_batch_size",
        name=None,
        dtype=None,
        tile="auto",
        **unknown,
    ):
        has_tiles = self.function is not None and "tile" in _parameter_names(self.function)
        for key in [*unknown, *(["tile"] if tile != "auto" and not has_tiles else [])]:
            parameters = inspect.signature(type(self)).parameters.values()
            known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
            raise TypeError(
                f"{type(self).__name__} has no argument `{key}`. "
                f"Known: {', '.join([*known, *(['tile'] if has_tiles else []), *OPTIONS])}"
            )
        if reduction not in REDUCTIONS:
            # It would log the mean and train on the sum.
            raise ValueError(
                f"`reduction` must be one of {REDUCTIONS}; the function gives the losses of the "
                f"anchors. Received: reduction={reduction!r}"
            )
        if dtype is None:
            dtype = "float64" if keras.config.floatx() == "float64" else "float32"
        dtype = keras.backend.standardize_dtype(getattr(dtype, "compute_dtype", dtype))
        if dtype not in ("float32", "float64"):
            raise ValueError(
                "`dtype` must be 'float32' or 'float64': distances lose their digits in half "
                f"precision. Received: dtype={dtype!r}"
            )
        self.check(**(self._arguments_among(settings) if settings else {}))
        if has_tiles:
            settings = {**settings, "tile": check_tile(tile)}
        super().__init__(name=name or self.function.__name__, reduction=reduction, dtype=dtype)
        self.num_classes = None if num_classes is None else int(num_classes)
        self._weights = None
        self._memories = {}  # by thread: each replica has one of its own
        for key, value in settings.items():
            setattr(self, key, _as_python(value))
        self._setting_names = tuple(settings)
        self._fixed = ("reduction", "num_classes", *settings)

    @classmethod
    def check(cls, **settings):
        """Raise a `ValueError` for a setting of the function that is not allowed."""
        check = getattr(cls.function, "check", None)  # that of `guard`
        if check is not None:
            check(**settings)

    @property
    def settings(self):
        """The settings by name, read-only."""
        return MappingProxyType({name: getattr(self, name) for name in self._setting_names})

    def weight_specs(self, embedding_dim):
        """The weights that the loss has.

        Args:
            embedding_dim: D of the embeddings.

        Returns:
            A dict from the name of each weight to its shape and initializer; empty if none.
        """
        return {}

    @property
    def has_weights(self):
        return bool(self.weight_specs(1))

    @property
    def compares_images(self):
        """Whether it learns from the images of a batch beside each other, so not from others."""
        return self.positives in ("several", "one")

    def warn_of_batches(self, batches):
        """Warn if few anchors of some batches count, for a training that cannot see it itself.

        Args:
            batches: an iterable of labels, integers `(B,)`; the first ones are looked at.
        """
        if self.compares_images:
            warn_of_few_in(batches, type(self).__name__)

    def first_weights(self, embeddings, labels, seed=0):
        """Values for the weights to begin with, out of the embeddings before training.

        Args:
            embeddings: of the training set, `(N, D)`.
            labels: class indices of the same images, `(N,)`.
            seed: of what is random in them. Defaults to `0`.

        Returns:
            A dict from names of `weight_specs` to arrays; weights that are not in it begin as
            `weight_specs` says.
        """
        return {}

    def attach(self, weights):
        """Let the loss use variables that a model trains and saves; `MetricModel` calls this.

        Args:
            weights: a dict of variables with the names and shapes of `weight_specs`.
        """
        self._weights = dict(weights)

    @property
    def weights(self):
        """The attached variables by name.

        Raises:
            ValueError: if the loss has weights and no model to train them.
        """
        if self._weights is None and self.has_weights:
            raise ValueError(
                f"{type(self).__name__} has weights, which `compile` alone would neither train nor "
                "save. Write: model = mdl_tf.losses.MetricModel(embedder, "
                f"{self!r}); model.compile(optimizer)"
            )
        return self._weights or {}

    def __repr__(self):
        """As a user would write it again: the arguments that are not the defaults."""
        parameters = inspect.signature(type(self).__init__).parameters
        config = self.get_config()
        defaults = {key: parameter.default for key, parameter in parameters.items()}
        defaults.update(
            reduction=REDUCTIONS[0], name=self.function.__name__, dtype="float32", tile="auto"
        )
        given = [
            f"{key}={config[key]!r}"
            for key, default in defaults.items()
            if key in config and config[key] != default
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    def __call__(self, y_true, y_pred, sample_weight=None):
        labels, embeddings = check_batch(y_true, y_pred)
        sample_weight = check_sample_weight(sample_weight, labels)
        if find_unused_losses(self):
            raise ValueError(
                "`compile` trains the first of several losses of one output alone. Give it their "
                "sum: loss=mdl_tf.losses.WeightedSum([(TripletLoss(), 1.0), "
                f"(ArcFaceLoss(98), 0.5)]). Received: loss={list(find_unused_losses(self))}"
            )
        refuse_what_fails()
        if refs.find_replicas() is not None or self._memory is not None:
            embeddings = ops.cast(embeddings, self.dtype)
            return self._call_against_references(labels, embeddings, sample_weight)
        if labels.shape[0] == 0:
            raise ValueError(
                "`embeddings` (`y_pred`) must be of at least one image. "
                f"Received: embeddings with shape={tuple(embeddings.shape)}"
            )
        if self.compares_images:
            watch_batches(self, labels)
        labels = self._small_ids(labels)
        return super().__call__(labels, y_pred, sample_weight=sample_weight)

    def _call_against_references(self, labels, embeddings, sample_weight):
        """The loss of anchors that are a share of a batch, or have a memory beside it."""
        references = refs.gather(labels, embeddings if self.needs_others else None)
        if references is None:
            references = refs.of_batch(labels, embeddings)
        if self.compares_images:
            watch_batches(self, references.labels)
        if self._memory is not None:
            memory, images = self._memory
            references = memory.extend(references, labels, images)
        references = references._replace(labels=self._small_ids(references.labels))
        losses = self.compute(references.take_own(references.labels), embeddings, references)
        if sample_weight is not None:
            losses = losses * ops.cast(ops.reshape(sample_weight, (-1,)), losses.dtype)
        loss = ops.sum(losses)
        if self.reduction != "sum":
            loss = loss / ops.cast(ops.maximum(references.anchors, 1), loss.dtype)
        return references.share_loss(loss)

    def _small_ids(self, labels):
        """Ids of the batch, or checked class indices, that float32 holds."""
        if self.num_classes is None:
            return ops.cast(local_ids(labels), "int32")
        if tf.executing_eagerly():
            return class_indices(labels, self.num_classes)[0]
        # The function checks them; what is out of range stays so.
        return ops.cast(ops.clip(labels, -1, self.num_classes), "int32")

    @contextlib.contextmanager
    def beside(self, memory, images=None):
        """Compare the anchors with a memory, too, inside of the `with` block.

        Args:
            memory: a `CrossBatchMemory`.
            images: numbers of the images of the batch, integers `(B,)`. Defaults to `None`.
        """
        thread = threading.get_ident()
        self._memories[thread] = memory, images
        try:
            yield
        finally:
            del self._memories[thread]

    @property
    def _memory(self):
        return self._memories.get(threading.get_ident())

    def call(self, y_true, y_pred):
        return self.compute(ops.cast(y_true, "int32"), y_pred)

    def compute(self, labels, embeddings, references=None):
        """The loss of each anchor, `(B,), (B, D) -> (B,)`.

        Args:
            labels: small integers, `(B,)`.
            embeddings: `(B, D)`.
            references: the `References` that they are compared with. Defaults to `None`: each
                other.
        """
        weights = {
            self.weight_arguments.get(name, name): ops.convert_to_tensor(value)
            for name, value in self.weights.items()
        }
        arguments = {**self._arguments_among(self.settings), **weights}
        if references is not None:
            arguments["references"] = references
        return type(self).function(labels, embeddings, **arguments)

    def check_memory(self):
        """Raise a `ValueError` if the loss cannot compare images with a memory."""
        if not self.compares_images:
            raise ValueError(
                "`memory` needs a loss that compares images with each other; this one compares "
                f"them with proxies. Received: loss={self!r}"
            )
        if "references" not in _parameter_names(type(self).function):
            raise ValueError(
                "`memory` needs a loss of anchors against single images; the terms of this one are "
                f"of several images of a batch. Received: loss={self!r}"
            )

    @property
    def needs_others(self):
        """Whether the loss of an image depends on the other images of its batch."""
        return not getattr(type(self).function, "alone", False)

    @classmethod
    def _arguments_among(cls, settings):
        """Those of the settings that the function takes; the others are of the class."""
        names = _parameter_names(cls.function)
        return {name: value for name, value in settings.items() if name in names}

    def get_config(self):
        classes = {} if self.num_classes is None else {"num_classes": self.num_classes}
        options = {"name": self.name, "reduction": self.reduction, "dtype": self.dtype}
        return {**options, **classes, **self.settings}

    def __setattr__(self, name, value):
        self._refuse_if_fixed(name)
        super().__setattr__(name, value)

    def __delattr__(self, name):
        self._refuse_if_fixed(name)
        super().__delattr__(name)

    def _refuse_if_fixed(self, name):
        if name in vars(self).get("_fixed", ()):
            raise AttributeError(f"`{name}` is fixed; make a new {type(self).__name__} instead.")


@functools.cache
def _parameter_names(function):
    return frozenset(inspect.signature(function).parameters)


def _as_python(value):
    """A number of NumPy's as one of Python's, which JSON knows."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)
