"""Who calls a loss: what Keras does not tell it, seen in the frames of the call.

This is private in Keras. Where another version calls otherwise, nothing is seen and nothing is
said; `tests/losses/test_calling.py` then fails and names the version.
"""

import sys

import keras
import tensorflow as tf

_DEEPEST = 12  # frames from a loss to the training step


def find_training_model():
    """The model whose `train_step` runs or is traced, or `None`.

    Returns:
        A `keras.Model`, or `None` outside of a training step.
    """
    for frame in _frames():
        model = frame.f_locals.get("self")
        if frame.f_code.co_name == "train_step" and isinstance(model, keras.Model):
            return model
    return None


def refuse_what_fails(model=None):
    """Refuse what Keras cannot do with several replicas, before it fails without saying why.

    Args:
        model: what is compiled. Defaults to `None`: the model that a loss is called for.

    Raises:
        ValueError: for `jit_compile=True` and for several steps an execution.
    """
    if model is None and tf.distribute.has_strategy():
        model = _find_model()
    if model is None or model.distribute_strategy.num_replicas_in_sync == 1:
        return
    if getattr(model, "jit_compile", False) is True:
        raise ValueError(
            "`jit_compile` must be False with several replicas: XLA cannot compile their step. "
            "Received: jit_compile=True"
        )
    steps = getattr(model, "steps_per_execution", 1) or 1
    if steps > 1:
        raise ValueError(
            "`steps_per_execution` must be 1 with several replicas: Keras cannot run more. "
            f"Received: steps_per_execution={steps}"
        )


def find_unused_losses(loss):
    """The other losses of a list that `compile` was given for one output, and drops.

    Args:
        loss: the loss that is called.

    Returns:
        The list, if `loss` is one of several for an output that is no list; else `None`.
    """
    for frame in _frames():
        compiled = frame.f_locals.get("self")
        losses = getattr(compiled, "_user_loss", None)
        if losses is None:
            continue
        several = isinstance(losses, list | tuple) and sum(each is not None for each in losses) > 1
        one_output = not isinstance(frame.f_locals.get("y_pred"), list | tuple | dict)
        is_one_of_them = several and any(each is loss for each in losses)
        return losses if is_one_of_them and one_output else None
    return None


def _find_model():
    """The model that a loss is called for, in training, evaluation or before; or `None`."""
    for frame in _frames():
        model = frame.f_locals.get("self")
        if isinstance(model, keras.Model):
            return model
    return None


def _frames():
    """The frames outside of this module, nearest first."""
    frame = sys._getframe(2)
    for _ in range(_DEEPEST):
        if frame is None:
            return
        yield frame
        frame = frame.f_back
