"""The loss against plain loops, and the facts of its algebra."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers import oracles
from helpers.batches import mixed_batch

from mdl_tf.losses import MarginDiscriminateLoss, margin_discriminate_loss

DISTANCES = ("euclidean", "squared_euclidean", "cosine")
FORMS = ("smooth", "hinge", "hardest")
CASES = list(itertools.product(DISTANCES, FORMS))


def value_and_gradient(labels, embeddings, **settings):
    x = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(x)
        losses = margin_discriminate_loss(labels, x, **settings)
        loss = tf.reduce_mean(losses)
    return losses.numpy(), tape.gradient(loss, x).numpy()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "form"), CASES)
def test_equals_plain_loops_in_float64(kind, form, seed):
    labels, embeddings = mixed_batch(seed)
    if kind == "cosine":
        embeddings = embeddings * np.linspace(0.3, 3, len(labels))[:, None]
    settings = {"margin": 0.2, "sharpness": 7.0, "form": form}
    expected = oracles.per_anchor(
        oracles.margin_discriminate(labels, embeddings, distance_kind=kind, **settings)
    )
    violated = oracles.violations(labels, embeddings, margin=0.2, distance_kind=kind)
    # The batch can tell right from wrong: easy anchors, violated ones, one without a positive.
    assert min(v for v in violated if v is not None) < 0 < max(v for v in violated if v is not None)
    assert None in violated

    losses, gradient = value_and_gradient(labels, embeddings, distance=kind, **settings)
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-9)

    def mean(x):
        values = oracles.margin_discriminate(labels, x, distance_kind=kind, **settings)
        return oracles.per_anchor(values).mean()

    np.testing.assert_allclose(gradient, oracles.gradient(mean, embeddings), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_equals_plain_loops_in_float32_away_from_duplicates(kind, form):
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(8), 4)
    embeddings = rng.normal(size=(8, 16)).repeat(4, axis=0) + 0.7 * rng.normal(size=(32, 16))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    apart = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=2) + 9 * np.eye(32)
    assert apart.min() > 0.1
    settings = {"margin": 0.2, "sharpness": 20.0, "form": form}
    low = embeddings.astype(np.float32)
    expected = oracles.per_anchor(
        oracles.margin_discriminate(labels, low, distance_kind=kind, **settings)
    )
    losses, _ = value_and_gradient(labels, low, distance=kind, **settings)
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("sharpness", [0.5, 5.0, 60.0])
def test_bound_lies_between_violation_and_violation_plus_log_of_pairs(kind, sharpness):
    labels, embeddings = mixed_batch(2)
    # Far above 0 the hinge form is the bound s_i itself.
    margin = 50.0
    scale = len(labels) / 9  # nine of ten anchors count
    hinge, _ = value_and_gradient(
        labels, embeddings, margin=margin, sharpness=sharpness, distance=kind, form="hinge"
    )
    found = oracles.violations(labels, embeddings, margin=margin, distance_kind=kind)
    for i, v in enumerate(found):
        if v is None:
            assert hinge[i] == 0
            continue
        positives = (labels == labels[i]).sum() - 1
        negatives = (labels != labels[i]).sum()
        bound = hinge[i] / scale
        assert v - 1e-9 <= bound <= v + np.log(positives * negatives) / sharpness + 1e-9


@pytest.mark.parametrize("kind", DISTANCES)
def test_zero_hinge_loss_certifies_strict_discrimination(kind):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 3)
    embeddings = np.eye(4)[labels] + 0.01 * rng.normal(size=(12, 4))
    losses, _ = value_and_gradient(
        labels, embeddings, margin=0.1, sharpness=20.0, distance=kind, form="hinge"
    )
    assert (losses == 0).all()
    assert max(oracles.violations(labels, embeddings, margin=0.1, distance_kind=kind)) <= 0


@pytest.mark.parametrize("form", ["smooth", "hinge"])
def test_sharpness_to_infinity_gives_the_hardest_form(form):
    labels, embeddings = mixed_batch(1)
    hardest, _ = value_and_gradient(labels, embeddings, form="hardest")
    sharp, _ = value_and_gradient(labels, embeddings, form=form, sharpness=1e5)
    np.testing.assert_allclose(sharp, hardest, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_on_the_distances_of_an_anchor_sums_to_plus_and_minus_its_share(form):
    """One free distance a pair: every pair of an anchor gets its own coordinate axis.

    With the anchor at 0 and image j at r_j e_j, D_0j = r_j, so d l_0 / d r_j is the gradient on
    the distance.
    """
    radii = np.array([0.9, 0.7, 0.75, 1.1, 0.8])
    labels = np.array([0, 0, 0, 1, 1, 1])
    sharpness, margin = 4.0, 0.2
    x = tf.constant(np.vstack([np.zeros(5), np.diag(radii)]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        anchor = margin_discriminate_loss(labels, x, margin=margin, sharpness=sharpness, form=form)
        anchor = anchor[0]
    on_distances = np.diag(tape.gradient(anchor, x).numpy()[1:])
    on_positives, on_negatives = on_distances[:2], on_distances[2:]
    positives, negatives = radii[:2], radii[2:]
    s = margin + np.log(np.exp(sharpness * positives).sum()) / sharpness
    s += np.log(np.exp(-sharpness * negatives).sum()) / sharpness
    share = 1 / (1 + np.exp(-sharpness * s)) if form == "smooth" else 1.0
    np.testing.assert_allclose(on_positives.sum(), share, rtol=1e-9)
    np.testing.assert_allclose(on_negatives.sum(), -share, rtol=1e-9)
    if form != "hardest":
        assert (on_positives > 0).all(), "every positive is pulled"
        assert (on_negatives < 0).all(), "every negative is pushed"


def test_is_the_n_pair_loss_with_one_positive_no_margin_and_sharpness_one():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(10, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.repeat(np.arange(5), 2)
    losses, _ = value_and_gradient(labels, x, margin=0, sharpness=1, distance="cosine")
    for i in range(10):
        positive = i ^ 1
        others = [j for j in range(10) if labels[j] != labels[i]]
        n_pair = np.log(1 + sum(np.exp(x[i] @ x[j] - x[i] @ x[positive]) for j in others))
        np.testing.assert_allclose(losses[i], n_pair, rtol=1e-12)


def test_is_the_generalized_lifted_structure_loss_as_hinge_with_sharpness_one():
    labels, x = mixed_batch(4)
    keep = labels != 5  # Hermans et al. have no anchors without a positive
    labels, x = labels[keep], x[keep]
    losses, _ = value_and_gradient(labels, x, margin=0.3, sharpness=1, form="hinge")
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    for i in range(len(labels)):
        own = [j for j in range(len(labels)) if labels[j] == labels[i] and j != i]
        others = [j for j in range(len(labels)) if labels[j] != labels[i]]
        lifted = np.log(np.exp(d[i, own]).sum()) + np.log(np.exp(0.3 - d[i, others]).sum())
        np.testing.assert_allclose(losses[i], max(0, lifted), rtol=1e-9)


def test_permuting_the_batch_permutes_the_loss():
    labels, x = mixed_batch(0)
    order = np.random.default_rng(1).permutation(len(labels))
    losses, _ = value_and_gradient(labels, x)
    permuted, _ = value_and_gradient(labels[order], x[order])
    np.testing.assert_allclose(permuted, losses[order], rtol=1e-12)


def test_large_distances_and_sharpness_do_not_overflow():
    labels, x = mixed_batch(0, dtype="float32")
    for kind in DISTANCES:
        losses, gradient = value_and_gradient(labels, 1e4 * x, sharpness=1000.0, distance=kind)
        assert np.isfinite(losses).all()
        assert np.isfinite(gradient).all()


def test_close_embeddings_far_from_the_origin_keep_their_digits():
    """Untrained networks put everything close together; |a|^2 - 2ab + |b|^2 alone loses that."""
    labels, x = mixed_batch(0)
    shifted = (x * 1e-3 + 0.5).astype(np.float32)
    expected = oracles.per_anchor(
        oracles.margin_discriminate(
            labels, shifted, margin=0.0, sharpness=1e4, distance_kind="euclidean", form="smooth"
        )
    )
    losses, _ = value_and_gradient(labels, shifted, margin=0.0, sharpness=1e4)
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": -0.1}, "`margin` must be a number, at least 0. Received: margin=-0.1"),
        ({"margin": "big"}, "`margin` must be a number, at least 0. Received: margin='big'"),
        ({"margin": True}, "`margin` must be a number, at least 0. Received: margin=True"),
        ({"sharpness": 0}, "`sharpness` must be a number, above 0. Received: sharpness=0"),
        (
            {"distance": "manhattan"},
            "`distance` must be one of ('euclidean', 'squared_euclidean', 'cosine'). "
            "Received: distance='manhattan'",
        ),
        (
            {"form": "soft"},
            "`form` must be one of ('smooth', 'hinge', 'hardest'). Received: form='soft'",
        ),
    ],
)
def test_impossible_settings_name_argument_rule_and_value(settings, message):
    labels, x = mixed_batch(0)
    with pytest.raises(ValueError) as raised:
        margin_discriminate_loss(labels, x, **settings)
    assert str(raised.value) == message
    with pytest.raises(ValueError) as raised:
        MarginDiscriminateLoss(**settings)
    assert str(raised.value) == message
