"""Keras optimizers with a learning-rate factor for some layers, and schedules that go on.

Proxies are commonly trained at 100 times the learning rate of the network, a new embedding layer at
10 times. Scaling gradients does not do that: Adam divides the scale out again. Here each update is
made with the learning rate of its variable.
"""

import numbers

import keras

from mdl_tf.words import first_few


class LearningRateFactors:
    """Mixin for any Keras optimizer: `class Lion(LearningRateFactors, keras.optimizers.Lion)`.

    The factor multiplies what `update_step` receives as learning rate, schedules included, so it is
    exact for Adam as for momentum. Weight decay, which Keras applies before that, keeps the plain
    learning rate: a factor does not decay its layer faster, and a factor of 0 not slower.

    Args:
        *args: those of the optimizer.
        learning_rate_factors: a dict from names to factors, at least 0. A name is a part of the
            paths of variables, such as `"embedding"` (a layer), `"proxies"` (a weight),
            `"loss_weights/beta"` (both) or `"kernel"` (all of that name); every variable with it in
            its path gets the factor, others have 1. `variable.path` shows the path; the name of a
            model inside a model is commonly not in it. Defaults to `None`, no factors.
        **options: those of the optimizer.

    Raises:
        ValueError: for factors that are no numbers of at least 0; and when the optimizer meets the
            model, for a name that fits no variable, or two names that fit the same one.
    """

    def __init__(self, *args, learning_rate_factors=None, **options):
        factors = {} if learning_rate_factors is None else learning_rate_factors
        if not isinstance(factors, dict):
            raise ValueError(
                "`learning_rate_factors` must be a dict from names to numbers. "
                f"Received: {factors!r}"
            )
        for name, factor in factors.items():
            number = isinstance(factor, numbers.Real) and not isinstance(factor, bool)
            if not (number and 0 <= factor < float("inf")):
                raise ValueError(
                    "`learning_rate_factors` must be numbers, at least 0. "
                    f"Received: {name!r}: {factor!r}"
                )
        super().__init__(*args, **options)
        self.learning_rate_factors = {str(k): float(v) for k, v in factors.items()}
        self._factor_of_variable = []
        self._is_restored = False

    @classmethod
    def from_config(cls, config, custom_objects=None):
        optimizer = super().from_config(config, custom_objects)
        # A layer that was frozen since has a factor and nothing that learns: the model must load.
        optimizer._is_restored = True
        return optimizer

    def build(self, variables):
        self._factor_of_variable = self._factors(variables)
        super().build(variables)

    def _factors(self, variables):
        """The factor of each variable, in their order."""
        fits = [
            [name for name in self.learning_rate_factors if is_part(name, variable)]
            for variable in variables
        ]
        for variable, names in zip(variables, fits, strict=True):
            if len(names) > 1:
                raise ValueError(
                    "`learning_rate_factors` must have at most one name for each variable. "
                    f"Received: {', '.join(names)} for {variable.path}"
                )
        unused = set(self.learning_rate_factors) - {names[0] for names in fits if names}
        if unused and not self._is_restored:
            # The last ones first: heads and proxies, not the hundred layers of a backbone.
            parts = [part for variable in variables for part in variable.path.split("/")]
            known = list(dict.fromkeys(reversed(parts)))
            raise ValueError(
                "`learning_rate_factors` must have names of layers or weights that are trained. "
                f"Received: {', '.join(sorted(unused))}. Known: {first_few(known, 12)}"
            )
        return [self.learning_rate_factors[names[0]] if names else 1.0 for names in fits]

    def update_step(self, gradient, variable, learning_rate):
        # By index: under a distribution strategy this is one replica's variable, without a path.
        factor = self._factor_of_variable[self._get_variable_index(variable)]
        if factor != 1.0:
            learning_rate = learning_rate * factor
        return super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "learning_rate_factors": self.learning_rate_factors}


def is_part(name, variable):
    """Whether a name of `learning_rate_factors` fits a variable.

    Args:
        name: part of a path, such as `"embedding"` or `"loss_weights/beta"`.
        variable: a `keras.Variable`.
    """
    return f"/{name}/" in f"/{variable.path}/"


@keras.saving.register_keras_serializable(package="mdl_tf")
class FromStep(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule from one of its steps on, for an optimizer that begins in the middle of a run.

    Setting the optimizer's `iterations` instead would have Adam believe that its averages, which
    begin at 0, had filled for that long: its first hundred updates would be three to six times too
    large.

    Args:
        schedule: a `keras.optimizers.schedules.LearningRateSchedule`.
        first_step: the step of it that is the optimizer's first.
    """

    def __init__(self, schedule, first_step):
        self.schedule = schedule
        self.first_step = int(first_step)

    def __call__(self, step):
        return self.schedule(step + self.first_step)

    def get_config(self):
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "first_step": self.first_step}

    @classmethod
    def from_config(cls, config):
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["first_step"])


@keras.saving.register_keras_serializable(package="mdl_tf")
class SGD(LearningRateFactors, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with `learning_rate_factors`, see `LearningRateFactors`."""


@keras.saving.register_keras_serializable(package="mdl_tf")
class RMSprop(LearningRateFactors, keras.optimizers.RMSprop):
    """`keras.optimizers.RMSprop` with `learning_rate_factors`, see `LearningRateFactors`."""


@keras.saving.register_keras_serializable(package="mdl_tf")
class Adam(LearningRateFactors, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with `learning_rate_factors`, see `LearningRateFactors`."""


@keras.saving.register_keras_serializable(package="mdl_tf")
class AdamW(LearningRateFactors, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with `learning_rate_factors`, see `LearningRateFactors`."""
