"""What `losses.replica_steps` does that is private in Keras: these tests name the version."""

import inspect

import keras
import pytest
from keras.src.backend.tensorflow import trainer

from mdl_tf.losses.replica_steps import ReplicaSteps

CHANGED = (
    f"Keras {keras.__version__} trains otherwise than `mdl_tf.losses.replica_steps` expects: look "
    "at `backend/tensorflow/trainer.py`, "
)


@pytest.mark.parametrize("name", ["_maybe_symbolic_build", "_make_function", "_symbolic_build"])
def test_the_methods_are_there(name):
    assert hasattr(keras.Model, name), CHANGED + name
    ours = vars(ReplicaSteps).get(name)
    if ours is not None:
        theirs = inspect.signature(getattr(keras.Model, name))
        assert list(inspect.signature(ours).parameters) == list(theirs.parameters), CHANGED + name


def test_keras_still_needs_it():
    """Where Keras mends these itself, ours can go."""
    build = inspect.getsource(trainer.TensorFlowTrainer._maybe_symbolic_build)
    assert '"MEAN"' in build and "for _, _, it in iterator" in build, CHANGED + "the first batch"
    assert 'strategy.reduce("MEAN", v, axis=0)' in inspect.getsource(trainer.reduce_per_replica), (
        CHANGED + "reduce_per_replica"
    )
    assert "self.data_adapter.get_tf_dataset()" in inspect.getsource(trainer.TFEpochIterator)


def test_a_step_goes_through_what_is_wrapped():
    source = inspect.getsource(trainer.TensorFlowTrainer)
    for name in ("train", "test"):
        assert f"self._make_function(self.{name}_step)" in source, CHANGED + "_make_function"
