"""The losses against numbers of another implementation, pytorch-metric-learning (PML) 2.9.

`golden/make_pytorch_metric_learning.py` wrote the numbers, in float64; it says which class and
which arguments of PML make which of our losses. PyTorch is not needed here.
"""

import json

import helpers
import numpy as np
import pytest
import tensorflow as tf

import mdl_tf.losses

GOLDEN = np.load(helpers.GOLDEN / "pytorch_metric_learning.npz")
CASES = json.loads(str(GOLDEN["cases"]))

# What PML's own arguments do not give, by function.
DIFFERENT = {
    "margin_discriminate_loss": "PML has no such loss.",
    "contrastive_loss": (
        "With `squared=True`: PML does not square the hinge; `LpDistance(power=2)` squares the "
        "distance in it, and so measures the margin in squared distance."
    ),
    "triplet_loss": (
        "With `mining='semi_hard'`: PML's `TripletMarginMiner` takes every semi-hard negative "
        "inside the margin, and its `BatchEasyHardMiner` the nearest one for one positive per "
        "anchor; both leave out a pair without one. Equal only if every anchor has one positive "
        "and a negative farther away."
    ),
    "generalized_lifted_structure_loss": (
        "An image alone in its class: PML gives it a term of its negatives alone."
    ),
    "n_pairs_loss": (
        "Beyond two images per class: PML takes the first two of each class and leaves the others "
        "out, where later images make rounds of their own here."
    ),
    "angular_loss": (
        "PML divides anchors and positives by their lengths, but not the negatives, which agrees "
        "only for embeddings of length one."
    ),
    "margin_loss": (
        "With `nu` and a `beta` per class: PML weighs a class by its triplets and divides by the "
        "number of violations, where `nu` multiplies the mean over anchors here."
    ),
    "multi_similarity_loss": (
        "An image alone in its class: PML gives it a term of its negatives alone, or 0 with a "
        "miner, and counts it in the mean."
    ),
    "proxy_nca_loss": (
        "With `target_in_denominator=False`, the form of the paper: PML always sums over all "
        "proxies."
    ),
}


def name_of(case):
    settings = (f"{k}={'array' if isinstance(v, list) else v}" for k, v in case["settings"].items())
    return "-".join([case["loss"], case["batch"], *settings])


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_value_and_gradients(case):
    labels = tf.constant(GOLDEN[f"{case['batch']}_labels"])
    embeddings = tf.constant(GOLDEN[f"{case['batch']}_embeddings"])
    sources = {"gradient": embeddings}
    weights = []
    if case["weights"] is not None:
        weights = [tf.constant(GOLDEN[case["weights"]])]
        sources["weights"] = weights[0]
    settings = {
        key: tf.constant(value, tf.float64) if isinstance(value, list) else value
        for key, value in case["settings"].items()
    }
    for key in case["setting_gradient_keys"]:
        sources[key] = settings[key]

    with tf.GradientTape() as tape:
        for source in sources.values():
            tape.watch(source)
        x = tf.linalg.normalize(embeddings, axis=1)[0] if case["unit"] else embeddings
        losses = getattr(mdl_tf.losses, case["loss"])(labels, x, *weights, **settings)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, sources)

    assert losses.shape == labels.shape
    assert losses.dtype == tf.float64
    np.testing.assert_allclose(loss, GOLDEN[case["value_key"]], rtol=1e-9)
    wanted = {"gradient": GOLDEN[case["gradient_key"]]}
    if weights:
        wanted["weights"] = GOLDEN[case["weight_gradient_key"]]
    for key, stored in case["setting_gradient_keys"].items():
        wanted[key] = GOLDEN[stored]
    assert set(wanted) == set(gradients)
    for key, gradient in wanted.items():
        # PyTorch's softplus is the identity above 20; that costs the circle loss 1e-9 here.
        np.testing.assert_allclose(gradients[key], gradient, rtol=0, atol=1e-8, err_msg=key)


def test_every_loss_is_compared_or_said_to_differ():
    functions = {name for name in mdl_tf.losses.__all__ if name.endswith("_loss")}
    compared = {case["loss"] for case in CASES}
    assert functions == compared | set(DIFFERENT)
    # PML has all losses but our own, at some settings at least.
    assert functions - compared == {"margin_discriminate_loss"}
