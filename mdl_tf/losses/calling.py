"""Who calls a loss: what Keras does not tell it, seen in the frames of the call.

This is private in Keras. Where another version calls otherwise, nothing is seen and nothing is
said; `tests/losses/test_calling.py` then fails and names the version.
"""

import sys

import keras

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


def _frames():
    """The frames outside of this module, nearest first."""
    frame = sys._getframe(2)
    for _ in range(_DEEPEST):
        if frame is None:
            return
        yield frame
        frame = frame.f_back
