"""The Keras side of every loss: settings, exact labels, weights of its own.

A loss function returns `(B,)`, so that Keras reduces it and applies `sample_weight`: a scalar would
be rescaled silently.
"""

import inspect
import numbers

import keras
import tensorflow as tf
from keras import ops

from mdl_tf.losses.checks import check_batch, class_indices
from mdl_tf.losses.pairs import local_ids

REDUCTIONS = ("sum_over_batch_size", "mean", "sum")


class MetricLoss(keras.losses.Loss):
    """Base of all losses: a loss function and its settings as a `keras.losses.Loss`.

    Keras casts `y_true` to the loss's float type before `call`, where class ids above 2^24 merge.
    So `__call__` replaces the labels first: by ids of the batch's own classes in a loss that
    compares the images of a batch with each other, by checked class indices in one that has
    weights for each class (`num_classes`).

    Under a distribution strategy each replica compares the images of its own share of the batch.

    A subclass names its `function(labels, embeddings, [weights,] **settings)`, checks the settings
    in `check`, and says in `weight_specs` which weights it has.

    Args:
        settings: the keyword arguments of the function, as Python numbers and strings.
        num_classes: C of a loss whose labels are class indices. Defaults to `None`, labels are any
            integers.
        reduction: `"sum_over_batch_size"` or `"mean"` (the loss) or `"sum"` (B times the loss).
            Defaults to `"sum_over_batch_size"`.
        name: name of the loss. Defaults to that of the function.
        dtype: `"float32"` or `"float64"`, the type of the computation. Defaults to float32, or
            float64 where that is `keras.config.floatx()`; models may be in half precision.
        **unknown: nothing else is taken.

    Raises:
        ValueError: if `reduction`, `dtype` or a setting is not allowed.
        TypeError: for an argument that is not known, with the ones that are.
    """

    function = None

    def __init__(
        self,
        settings,
        *,
        num_classes=None,
        reduction="sum_over_batch_size",
        name=None,
        dtype=None,
        **unknown,
    ):
        for key in unknown:
            parameters = inspect.signature(type(self)).parameters.values()
            known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
            raise TypeError(
                f"{type(self).__name__} has no argument `{key}`. "
                f"Known: {', '.join([*known, 'reduction', 'name', 'dtype'])}"
            )
        if reduction not in REDUCTIONS:
            # It would log the mean and train on the sum.
            raise ValueError(
                f"`reduction` must be one of {REDUCTIONS}; `{self.function.__name__}` gives the "
                f"losses of the anchors. Received: reduction={reduction!r}"
            )
        if dtype is None:
            dtype = "float64" if keras.config.floatx() == "float64" else "float32"
        dtype = keras.backend.standardize_dtype(getattr(dtype, "compute_dtype", dtype))
        if dtype not in ("float32", "float64"):
            raise ValueError(
                "`dtype` must be 'float32' or 'float64': distances lose their digits in half "
                f"precision. Received: dtype={dtype!r}"
            )
        self.check(**settings)
        super().__init__(name=name or self.function.__name__, reduction=reduction, dtype=dtype)
        self.num_classes = None if num_classes is None else int(num_classes)
        self.settings = {key: _plain(value) for key, value in settings.items()}
        self._weights = None

    @staticmethod
    def check(**settings):
        """Raise a `ValueError` for a setting that is not allowed."""

    def weight_specs(self, embedding_dim):
        """The weights of the loss's own.

        Args:
            embedding_dim: D of the embeddings.

        Returns:
            A dict from the name of each weight to its shape and initializer; empty if none.
        """
        return {}

    @property
    def has_weights(self):
        return bool(self.weight_specs(1))

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
                f"{type(self).__name__} has weights of its own, which `compile` alone would never "
                "train or save. Write: model = mdl_tf.training_model.MetricModel(embedder, "
                f"{self!r}); model.compile(optimizer)"
            )
        return self._weights or {}

    def __repr__(self):
        """As a user would write it again: the arguments that are not the defaults."""
        parameters = inspect.signature(type(self).__init__).parameters
        config = self.get_config()
        defaults = {key: parameter.default for key, parameter in parameters.items()}
        defaults.update(reduction=REDUCTIONS[0], name=self.function.__name__, dtype="float32")
        given = [
            f"{key}={config[key]!r}"
            for key, default in defaults.items()
            if key in config and config[key] != default
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    def __call__(self, y_true, y_pred, sample_weight=None):
        labels, _ = check_batch(y_true, y_pred)
        if self.num_classes is None:
            labels = local_ids(labels)
        elif tf.executing_eagerly():
            labels, _ = class_indices(labels, self.num_classes)
        else:
            # The function checks them; what is out of range stays so, and float32 holds it.
            labels = ops.clip(labels, -1, self.num_classes)
        return super().__call__(labels, y_pred, sample_weight=sample_weight)

    def call(self, y_true, y_pred):
        return self.compute(ops.cast(y_true, "int32"), y_pred)

    def compute(self, labels, embeddings):
        """The loss of each anchor, `(B,), (B, D) -> (B,)`."""
        weights = {key: ops.convert_to_tensor(value) for key, value in self.weights.items()}
        return type(self).function(labels, embeddings, **{**self.settings, **weights})

    def get_config(self):
        classes = {} if self.num_classes is None else {"num_classes": self.num_classes}
        own = {"name": self.name, "reduction": self.reduction, "dtype": self.dtype}
        return {**own, **classes, **self.settings}

    def __setattr__(self, name, value):
        if name in self.__dict__.get("settings", {}):
            # A compiled step would go on with the old value.
            raise AttributeError(f"`{name}` is fixed; make a new {type(self).__name__} instead.")
        super().__setattr__(name, value)

    def __getattr__(self, name):
        # Settings read as attributes: `loss.margin`.
        settings = self.__dict__.get("settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _plain(value):
    """A number of NumPy's as one of Python's, which JSON knows."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)
