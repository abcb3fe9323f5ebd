"""A sum of losses: its value, its parts in the logs, its weights, and what cannot be summed."""

import keras
import numpy as np
import pytest

from mdl_tf import load_model
from mdl_tf.losses import (
    ArcFaceLoss,
    ContrastiveLoss,
    MarginLoss,
    MetricModel,
    ProxyNCALoss,
    SoftTripleLoss,
    TripletLoss,
    WeightedSum,
)
from mdl_tf.optimizers import Adam

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype(np.float32)
Y = np.arange(48) % 4
PAIRS = [
    (TripletLoss(), 1.0),
    (ArcFaceLoss(4), 0.5),
    (ProxyNCALoss(4), 0.25),
    (SoftTripleLoss(4, centers_per_class=2), 0.1),
    (MarginLoss(learn_beta=True), 2),
    TripletLoss(mining="all"),
]
NAMES = [
    *("triplet_loss", "arc_face_loss", "proxy_nca_loss", "soft_triple_loss", "margin_loss"),
    "triplet_loss_2",
]
FACTORS = [1.0, 0.5, 0.25, 0.1, 2.0, 1.0]


def embedder(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((5,))
    return keras.Model(inputs, keras.layers.Dense(3, name="embedding", dtype="float32")(inputs))


def model_of(pairs, seed=0, **options):
    model = MetricModel(embedder(seed), WeightedSum(pairs))
    model.compile(Adam(0.01, learning_rate_factors={"loss_weights": 5}), **options)
    return model


def fit(model, epochs=1, **options):
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, **options).history


@pytest.mark.parametrize("weights", [None, np.linspace(0, 1, 16), np.linspace(0, 1, 16)[:, None]])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_it_is_the_sum_of_its_parts(reduction, weights):
    embeddings = embedder()(X[:16])
    parts = [TripletLoss(reduction=reduction), ContrastiveLoss(reduction=reduction)]
    expected = sum(
        factor * float(part(Y[:16], embeddings, sample_weight=weights))
        for factor, part in zip((0.3, 2.0), parts, strict=True)
    )
    loss = WeightedSum([(TripletLoss(), 0.3), (ContrastiveLoss(), 2)], reduction=reduction)
    assert float(loss(Y[:16], embeddings, sample_weight=weights)) == pytest.approx(expected)
    found = [float(value) for value in loss.take_parts(weights)]
    assert 0.3 * found[0] + 2 * found[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"jit_compile": True}, marks=pytest.mark.longest), {"run_eagerly": True}],
)
def test_each_part_is_in_the_logs_and_every_weight_learns(options):
    model = model_of(PAIRS, **options)
    before = {weight.path: weight.numpy() for weight in model.loss_weights.weights}
    assert sorted(path.split("/")[-1] for path in before) == [
        *("arc_face_loss_proxies", "boundary", "centers", "proxy_nca_loss_proxies")
    ]
    history = fit(model, 2)
    assert set(history) == {"loss", "anchors_that_count", *NAMES}
    total = sum(f * np.array(history[name]) for f, name in zip(FACTORS, NAMES, strict=True))
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    for weight in model.loss_weights.weights:
        assert np.abs(weight.numpy() - before[weight.path]).max() > 0.01, weight.path


@pytest.mark.longest
def test_goes_on_after_saving_and_loading(tmp_path):
    model = model_of(PAIRS)
    fit(model, 3)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert repr(again.metric_loss) == repr(model.metric_loss)
    assert again.metric_loss.get_config() == model.metric_loss.get_config()
    found, expected = fit(again, 2), fit(model, 2)
    for key in expected:
        assert found[key] == pytest.approx(expected[key], rel=1e-4), key


@pytest.mark.longest
def test_backup_and_restore_goes_on(tmp_path):
    expected = fit(model_of(PAIRS), 4)["loss"]
    backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    fit(model_of(PAIRS), 2, callbacks=[backup])
    found = fit(model_of(PAIRS, seed=7), 4, callbacks=[backup])["loss"]
    assert len(found) == 2
    assert found == pytest.approx(expected[2:], rel=1e-4)


def test_without_weights_plain_compile_is_enough(tmp_path):
    loss = WeightedSum([(TripletLoss(), 1.0), (ContrastiveLoss(), 0.5)])
    model = embedder()
    model.compile("adam", loss, metrics=loss.part_metrics())
    history = fit(model)
    total = np.array(history["triplet_loss"]) + 0.5 * np.array(history["contrastive_loss"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    assert set(fit(load_model(tmp_path / "model.keras"))) == set(history)


def test_proxies_begin_at_the_means_of_their_classes():
    model = model_of([(TripletLoss(), 1.0), (ArcFaceLoss(4), 0.5)])
    embeddings = model.predict(X, verbose=0)
    model.begin_at(embeddings, Y)
    [proxies] = [w.numpy() for w in model.loss_weights.weights]
    for label in range(4):
        mean = embeddings[Y == label].mean(axis=0)
        np.testing.assert_allclose(proxies[label], mean / np.linalg.norm(mean), atol=1e-5)


def test_parts_are_copies_and_the_settings_fixed():
    part = ArcFaceLoss(4)
    loss = WeightedSum([(part, 1.0)])
    assert part not in loss.parts.values()
    with pytest.raises(AttributeError, match="`factors` is fixed; make a new WeightedSum"):
        loss.factors = (2.0,)


SUM = WeightedSum([(TripletLoss(), 1.0)])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (TripletLoss(), "`losses` must be a list of pairs of a loss and its weight"),
        ([], "must be a list of pairs"),
        ({TripletLoss(): 1.0}, "must be a list of pairs"),
        ("triplet", "must be a list of pairs"),
        ([("triplet", 1.0)], "must be losses of `mdl_tf.losses`, made with their settings"),
        ([(TripletLoss, 1.0)], "must be losses of `mdl_tf.losses`, made with their settings"),
        ([(keras.losses.MeanSquaredError(), 1.0)], "must be losses of `mdl_tf.losses`"),
        ([(1.0, TripletLoss())], "must be losses of `mdl_tf.losses`"),
        ([(SUM, 1.0)], "no sums"),
        ([(TripletLoss(), -1)], "`weight of TripletLoss()` must be a number, at least 0"),
        ([(TripletLoss(), float("nan"))], "must be a number, at least 0"),
        ([(TripletLoss(), "1")], "must be a number, at least 0"),
        ([(TripletLoss(), 0)], "must have a weight above 0 among them"),
        ([ArcFaceLoss(4), ArcFaceLoss(5)], "the same `num_classes`: they see the same labels"),
        ([TripletLoss(reduction="sum")], "`reduction` of their own: give it to the sum"),
        ([TripletLoss(name="loss")], "`name` that is another key of the logs"),
    ],
)
def test_what_cannot_be_summed(losses, message):
    with pytest.raises(ValueError) as raised:
        WeightedSum(losses)
    assert message in str(raised.value)


def test_the_error_shows_what_to_write():
    model = embedder()
    model.compile("adam", WeightedSum([(TripletLoss(), 1.0), (ArcFaceLoss(4), 0.5)]))
    with pytest.raises(
        ValueError, match="MetricModel.embedder, WeightedSum...TripletLoss.., 1.0., "
    ):
        fit(model)
    with pytest.raises(ValueError, match=r"make it with loss=WeightedSum\(\[\(TripletLoss"):
        model_of(PAIRS).compile("adam", loss=[TripletLoss(), ArcFaceLoss(4)])
    with pytest.raises(ValueError, match="class indices"):
        model_of(PAIRS, run_eagerly=True).fit(X, Y + 1, verbose=0)
