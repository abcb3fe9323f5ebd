"""Each loss against plain loops in float64, value and gradient, and the facts of its algebra."""

import loss_oracles
import numpy as np
import oracles
import pytest
import tensorflow as tf
from conftest import mixed_batch

from mdl_tf import losses

DISTANCES = ("euclidean", "squared_euclidean", "cosine")
# name: settings to try. Margins such that some terms are active and some are not.
PAIR_LOSSES = {
    "contrastive": [
        {
            "positive_margin": positive,
            "negative_margin": negative,
            "squared": squared,
            "average": average,
            "distance": distance,
        }
        for positive, negative, squared, average, distance in (
            (0.0, 1.0, True, "active", "euclidean"),
            (0.3, 1.3, False, "active", "euclidean"),
            (0.2, 1.5, True, "pairs", "squared_euclidean"),
            (0.1, 0.9, False, "pairs", "cosine"),
        )
    ],
    "triplet": [
        {"margin": margin, "mining": mining, "distance": distance, "soft": soft}
        for margin in (0.1, 0.4)
        for mining, soft in (("all", False), ("semi_hard", False), ("hard", False), ("hard", True))
        for distance in DISTANCES
    ],
    "lifted_structure": [
        {"margin": 1.0, "distance": "euclidean"},
        {"margin": 0.0, "distance": "squared_euclidean"},
        {"margin": 0.0, "distance": "cosine"},
    ],
    "generalized_lifted_structure": [
        {"margin": 1.0, "distance": "euclidean"},
        {"margin": 0.0, "distance": "squared_euclidean"},
        {"margin": 0.0, "distance": "cosine"},
    ],
    "n_pairs": [{"l2": 0.0}, {"l2": 0.05}],
    "angular": [{"alpha": 45.0}, {"alpha": 36.0}, {"alpha": 60.0}],
    "margin": [
        {"beta": 1.2, "margin": 0.2, "nu": 0.0, "distance": "euclidean"},
        {"beta": 0.9, "margin": 0.1, "nu": 0.3, "distance": "euclidean"},
        {"beta": 0.5, "margin": 0.2, "nu": -0.1, "distance": "cosine"},
    ],
    "multi_similarity": [
        {"alpha": 2.0, "beta": 50.0, "base": base, "mining_margin": mining}
        for base, mining in ((1.0, 0.1), (0.5, 0.3), (0.5, 0.0), (0.5, -0.2), (0.5, None))
    ],
    "circle": [{"margin": 0.4, "gamma": 80.0}, {"margin": 0.25, "gamma": 8.0}],
    "sup_con": [
        {"temperature": temperature, "denominator": denominator}
        for temperature in (0.1, 0.7)
        for denominator in ("all", "negatives")
    ],
}
CLASS_LOSSES = {
    "normalized_softmax": [{"temperature": 0.05}, {"temperature": 1.0}],
    "proxy_nca": [
        {"scale": 9.0, "target_in_denominator": False},
        {"scale": 1.0, "target_in_denominator": True},
    ],
    "proxy_anchor": [{"margin": 0.1, "alpha": 32.0}, {"margin": 0.0, "alpha": 2.0}],
    # The last margin takes some angles beyond pi.
    "arc_face": [{"margin": m, "scale": s} for m, s in ((0.5, 64.0), (0.1, 4.0), (2.0, 4.0))],
    "cos_face": [{"margin": 0.35, "scale": 64.0}, {"margin": 0.1, "scale": 4.0}],
    "soft_triple": [
        {"scale": 20.0, "gamma": 0.1, "margin": 0.01, "tau": 0.2},
        {"scale": 3.0, "gamma": 1.0, "margin": 0.3, "tau": 0.0},
    ],
}
EVERY = [
    (name, settings)
    for table in (PAIR_LOSSES, CLASS_LOSSES)
    for name, rows in table.items()
    for settings in rows
]
# By index of the class; class 4 has no image in the batch.
CLASSES = 5


def label(value):
    return value if isinstance(value, str) else ",".join(f"{v}" for v in value.values())


def batch(seed):
    """A mixed batch with class indices, embeddings about unit length, and vectors for classes."""
    rng = np.random.default_rng(100 + seed)
    ids, embeddings = mixed_batch(seed)
    _, labels = np.unique(ids, return_inverse=True)
    if seed == 2:
        # Two classes of four: a second round of N-pairs.
        labels = np.repeat([0, 1, 2], [4, 4, 2])[rng.permutation(10)]
    embeddings = embeddings * rng.uniform(0.8, 1.25, (10, 1))
    return labels, embeddings, rng.normal(size=(CLASSES, 6)), rng.normal(size=(CLASSES, 3, 6))


def value_and_gradients(name, labels, *tensors, **settings):
    tensors = [tf.constant(x) for x in tensors]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        found = getattr(losses, f"{name}_loss")(labels, *tensors, **settings)
        loss = tf.reduce_mean(found)
    return found.numpy(), [g.numpy() for g in tape.gradient(loss, tensors)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "settings"), EVERY, ids=label)
def test_equals_plain_loops_in_float64(name, settings, seed):
    labels, x, proxies, centers = batch(seed)
    tensors = [x]
    if name in CLASS_LOSSES:
        tensors.append(centers if name == "soft_triple" else proxies)
    oracle = getattr(loss_oracles, name)
    found, gradients = value_and_gradients(name, labels, *tensors, **settings)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, oracle(labels, *tensors, **settings), rtol=1e-9, atol=1e-9)

    constant = {"circle": "weights_from", "multi_similarity": "mined_from"}.get(name)
    fixed = {constant: x} if constant else {}
    for position, gradient in enumerate(gradients):

        def mean(moved, position=position):
            arguments = [*tensors[:position], moved, *tensors[position + 1 :]]
            return oracle(labels, *arguments, **settings, **fixed).mean()

        expected = oracles.gradient(mean, tensors[position])
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=2e-6 * scale)
        assert np.abs(gradient).max() > 1e-6, "a gradient of 0 could hide anything"
