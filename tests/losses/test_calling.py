"""What a loss sees of `compile` and `fit`: private in Keras, so these tests name its version."""

import keras
import numpy as np
import pytest

from mdl_tf.losses import ContrastiveLoss, TripletLoss, calling

X = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
Y = np.arange(8) % 2
CHANGED = (
    f"Keras {keras.__version__} calls a loss otherwise than `mdl_tf.losses.calling` expects: "
    "look at `Trainer.train_step`, `CompileLoss.call` and `CompileLoss._user_loss`"
)


class Spy(TripletLoss):
    """Keeps what it sees."""

    def __call__(self, *arguments, **options):
        self.seen = calling.find_training_model()
        return super().__call__(*arguments, **options)


def network(outputs=1):
    inputs = keras.Input((5,))
    made = [keras.layers.Dense(3, name=f"out_{i}")(inputs) for i in range(outputs)]
    return keras.Model(inputs, made if outputs > 1 else made[0])


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"jit_compile": True}])
def test_the_model_that_trains_is_seen(options):
    model, loss = network(), Spy()
    model.compile("sgd", loss, **options)
    model.evaluate(X, Y, verbose=0)
    assert loss.seen is None, CHANGED
    model.fit(X, Y, verbose=0)
    assert loss.seen is model, CHANGED


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}])
def test_a_list_of_losses_for_one_output_is_refused(options):
    model = network()
    model.compile("sgd", [TripletLoss(), ContrastiveLoss()], **options)
    try:
        model.fit(X, Y, verbose=0)
    except ValueError as error:
        for part in ("trains the first", "WeightedSum([(TripletLoss(), 1.0)", "ContrastiveLoss()"):
            assert part in str(error)
    else:
        pytest.fail(CHANGED)


def test_lists_that_keras_does_train_are_not_refused():
    model = network()
    model.compile("sgd", [TripletLoss()])
    model.fit(X, Y, verbose=0)
    model = network(2)
    model.compile("sgd", [TripletLoss(), ContrastiveLoss()])
    assert "out_1_loss" in model.fit(X, [Y, Y], verbose=0).history


def test_a_lambda_of_two_losses_gets_advice_that_fits():
    model = network()
    one, two = TripletLoss(), ContrastiveLoss()
    model.compile(
        "sgd", lambda labels, embeddings: one(labels, embeddings) + two(labels, embeddings)
    )
    with pytest.raises(ValueError, match=r"for a sum of losses WeightedSum\(\[\(TripletLoss\(\)"):
        model.fit(X, Y, verbose=0)
