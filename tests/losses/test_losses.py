"""Each loss against plain loops in float64, value and gradient, and the facts of its algebra."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import loss_oracles, oracles
from helpers.batches import mixed_batch

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
        {"margin": 0.3, "distance": "euclidean"},
        {"margin": 0.0, "distance": "squared_euclidean"},
        {"margin": 0.0, "distance": "cosine"},
    ],
    "generalized_lifted_structure": [
        {"margin": 0.3, "distance": "euclidean"},
        {"margin": 0.0, "distance": "squared_euclidean"},
        {"margin": 0.0, "distance": "cosine"},
    ],
    "n_pairs": [{"l2": 0.0}, {"l2": 0.05}],
    "angular": [{"alpha": 45.0}, {"alpha": 36.0}, {"alpha": 60.0}],
    "margin": [
        {"beta": 1.2, "margin": 0.2, "nu": 0.0, "distance": "euclidean"},
        {"beta": 0.9, "margin": 0.1, "nu": 0.3, "distance": "euclidean"},
        {"beta": 0.5, "margin": 0.2, "nu": -0.1, "distance": "cosine"},
        # A boundary for each class.
        {
            "beta": np.array([0.7, 1.1, 0.9, 1.4, 5.0]),
            "margin": 0.2,
            "nu": 0.2,
            "distance": "euclidean",
        },
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
    return str(value) if isinstance(value, str | bool) else ",".join(f"{v}" for v in value.values())


def batch(seed, length=1.0):
    """A mixed batch with class indices, embeddings about that long, and vectors for classes."""
    rng = np.random.default_rng(100 + seed)
    ids, embeddings = mixed_batch(seed)
    _, labels = np.unique(ids, return_inverse=True)
    if seed == 2:
        # Two classes of four: a second round of N-pairs.
        labels = np.repeat([0, 1, 2], [4, 4, 2])[rng.permutation(10)]
    embeddings = length * embeddings * rng.uniform(0.8, 1.25, (10, 1))
    return labels, embeddings, rng.normal(size=(CLASSES, 6)), rng.normal(size=(CLASSES, 3, 6))


def third(name, proxies, centers):
    """What a loss with weights takes as its third argument, in a list; an empty one for others."""
    if name not in CLASS_LOSSES:
        return []
    return [centers if name == "soft_triple" else proxies]


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
    # Unit vectors leave no term of the lifted losses at 0.
    labels, x, proxies, centers = batch(seed, 5.0 if "lifted" in name else 1.0)
    tensors = [x, *third(name, proxies, centers)]
    oracle = getattr(loss_oracles, name)
    found, gradients = value_and_gradients(name, labels, *tensors, **settings)
    assert found.dtype == np.float64
    by_loops = oracle(labels, *tensors, **settings)
    np.testing.assert_allclose(found, by_loops, rtol=1e-9, atol=1e-9)
    if "lifted" in name and settings["distance"] != "cosine" and seed < 2:
        counts = [(labels == own).sum() > 1 for own in labels]
        assert (by_loops[counts] > 0).any() and (by_loops[counts] == 0).any()

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


FIRST = [(name, rows[0]) for name, rows in {**PAIR_LOSSES, **CLASS_LOSSES}.items()]
KINDS = ("contrastive", "proxy_nca", "soft_triple")
each_loss = pytest.mark.parametrize(("name", "settings"), FIRST, ids=label)


def weights_of(name, classes, per_class, dim, seed=0):
    """Such weights, drawn at random."""
    if name not in CLASS_LOSSES:
        return []
    shape = (classes, per_class, dim) if name == "soft_triple" else (classes, dim)
    return [np.random.default_rng(seed).normal(size=shape).astype(np.float32)]


def graphs(graph):
    """A graph and those of the loops in it."""
    yield graph
    for operation in graph.get_operations():
        if "While" in operation.type:
            yield from graphs(graph._get_function(operation.get_attr("body").name).graph)


@pytest.mark.parametrize(
    ("name", "settings"), [*FIRST, *(("triplet", row) for row in PAIR_LOSSES["triplet"][:9:3])]
)
def test_no_tensor_is_larger_than_the_pairs_of_the_batch(name, settings):
    """Whatever the graph and its gradient hold, loops included: nothing has a third axis of B."""
    size, dim, classes = 96, 8, 24
    weights = [tf.constant(w) for w in weights_of(name, classes, 4, dim)]

    def step(labels, x):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            found = getattr(losses, f"{name}_loss")(labels, x, *weights, **settings)
            loss = tf.reduce_mean(found)
        return tape.gradient(loss, [x, *weights])

    graph = (
        tf.function(step, autograph=False)
        .get_concrete_function(
            tf.TensorSpec((size,), tf.int64), tf.TensorSpec((size, dim), tf.float32)
        )
        .graph
    )
    sizes = [
        (tensor.shape.num_elements(), operation.name)
        for part in graphs(graph)
        for operation in part.get_operations()
        for tensor in operation.outputs
        if tensor.shape.is_fully_defined()
    ]
    largest, where = max(sizes)
    assert size * classes <= largest <= size * size, where
    if name == "triplet" and settings["mining"] != "hard":
        assert len(list(graphs(graph))) == 2, "the loop was looked at too"


@each_loss
def test_permuting_the_batch_permutes_the_loss(name, settings):
    labels, x, proxies, centers = batch(0)
    weights = third(name, proxies, centers)
    order = np.random.default_rng(1).permutation(len(labels))
    if name == "n_pairs":
        # Its pairs are made in the order of the batch: images change places with other classes'.
        order = np.argsort(np.argsort(labels[order], kind="stable"), kind="stable")
        order = np.argsort(labels, kind="stable")[order]
    expected, _ = value_and_gradients(name, labels, x, *weights, **settings)
    found, _ = value_and_gradients(name, labels[order], x[order], *weights, **settings)
    assert (order != np.arange(len(labels))).any()
    np.testing.assert_allclose(found, expected[order], rtol=1e-9, atol=1e-12)


@each_loss
def test_ids_that_floats_merge_stay_apart(name, settings):
    """A function gets the ids as they are, where a class replaces them."""
    if name in CLASS_LOSSES:
        return  # class indices, which are small
    labels, x, _, _ = batch(0)
    expected, _ = value_and_gradients(name, labels, x, **settings)
    for offset in (2**24, 2**53, -(2**62)):
        values, _ = value_and_gradients(name, labels + offset, x, **settings)
        np.testing.assert_array_equal(values, expected)


@each_loss
def test_float32_on_a_usual_batch_equals_float64(name, settings):
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(32), 4)
    x = np.repeat(rng.normal(size=(32, 64)), 4, axis=0) + 0.7 * rng.normal(size=(128, 64))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    tensors = [x, *weights_of(name, 40, 3, 64)]
    found = value_and_gradients(name, labels, *tensors, **settings)
    exact = value_and_gradients(name, labels, *[t.astype(np.float64) for t in tensors], **settings)
    assert found[0].dtype == np.float32
    np.testing.assert_allclose(found[0], exact[0], rtol=1e-3, atol=1e-4 * np.abs(exact[0]).max())
    for gradient, expected in zip(found[1], exact[1], strict=True):
        largest = np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-3 * largest)


@each_loss
@pytest.mark.parametrize("length", [1e-6, 30.0, 1e4])
def test_embeddings_of_any_length_give_finite_values_and_gradients(name, settings, length):
    labels, x, proxies, centers = batch(0)
    weights = third(name, proxies, centers)
    tensors = [(length * t).astype(np.float32) for t in (x, *weights)]
    found, gradients = value_and_gradients(name, labels, *tensors, **settings)
    assert np.isfinite(found).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_negative_as_far_as_the_positive_is_not_semi_hard():
    """On a grid of integers, where distances are equal exactly: the next one farther is taken."""
    # Their mean, which the distances subtract, is 0.
    x = np.array([[0, 0], [2, 0], [0, 2], [0, 3], [-2, 0], [0, -5]], dtype="float64")
    labels = np.array([0, 0, 1, 1, 1, 1])
    settings = {"margin": 6.0, "mining": "semi_hard", "distance": "squared_euclidean"}
    found, _ = value_and_gradients("triplet", labels, x, soft=False, **settings)
    expected = loss_oracles.triplet(labels, x, soft=False, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Of the first image: positive at 4, negatives at 4, 9, 4, 25; 6 + 4 - 9 = 1, not 6. The
    # batch has 2 + 4 * 3 positive pairs.
    np.testing.assert_allclose(found[0], 6 / 14 * 1)


@pytest.mark.parametrize(
    ("name", "settings", "jit"),
    [
        *((name, settings, False) for name, settings in FIRST),
        # `guard` adds it to all alike: one loss of each kind, and the others with `--slow`.
        *(
            pytest.param(name, settings, True, marks=() if name in KINDS else pytest.mark.slow)
            for name, settings in FIRST
        ),
    ],
    ids=label,
)
def test_what_is_no_number_is_seen_in_the_loss(name, settings, jit):
    """Else a diverged network would look like one that has learned everything."""
    labels, x, proxies, centers = batch(0)
    weights = third(name, proxies, centers)
    labels = np.where(labels == 3, 2, labels)  # nobody alone, so that everybody counts

    @tf.function(jit_compile=jit, autograph=name in KINDS)
    def mean(x):
        found = getattr(losses, f"{name}_loss")(labels, x, *weights, **settings)
        return tf.reduce_mean(found)

    assert np.isfinite(mean(x))
    for value in (np.nan, np.inf):
        for wrong in (np.full_like(x, value), np.where(np.arange(10)[:, None] == 4, value, x)):
            assert np.isnan(mean(wrong)) or np.isinf(mean(wrong))
    one = x.copy()
    one[4, 2] = np.nan
    assert np.isnan(mean(one))


def test_a_loss_shows_how_it_was_made():
    assert repr(losses.TripletLoss()) == "TripletLoss()"
    loss = losses.ProxyAnchorLoss(10, alpha=16, reduction="sum")
    assert repr(loss) == "ProxyAnchorLoss(num_classes=10, alpha=16, reduction='sum')"
    assert repr(type(loss).from_config(loss.get_config())) == repr(loss)


def test_unknown_arguments_list_the_known_ones():
    with pytest.raises(TypeError) as raised:
        losses.TripletLoss(margn=0.1)
    assert str(raised.value) == (
        "TripletLoss has no argument `margn`. "
        "Known: margin, mining, distance, soft, tile, reduction, name, dtype"
    )
    with pytest.raises(TypeError, match="2 positional arguments but 3 were given"):
        losses.ProxyAnchorLoss(10, 32)  # PML's embedding size would become a margin


def test_hardest_triplets_are_the_hardest_form_of_our_loss():
    labels, x = mixed_batch(1)
    for distance in DISTANCES:
        triplet = losses.triplet_loss(labels, x, margin=0.3, mining="hard", distance=distance)
        ours = losses.margin_discriminate_loss(
            labels, x, margin=0.3, form="hardest", distance=distance
        )
        np.testing.assert_allclose(triplet, ours, rtol=1e-12)


def test_generalized_lifted_structure_is_the_hinge_form_of_our_loss():
    labels, x = mixed_batch(1)
    lifted = losses.generalized_lifted_structure_loss(labels, x, margin=0.5)
    ours = losses.margin_discriminate_loss(labels, x, margin=0.5, form="hinge", sharpness=1.0)
    np.testing.assert_allclose(lifted, ours, rtol=1e-12)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_two_images_a_class_make_sup_con_nt_xent(denominator):
    """SimCLR's loss as its paper has it: each view against the 2N - 2 views of other images."""
    x = np.random.default_rng(5).normal(size=(12, 6))
    labels = np.repeat(np.arange(6), 2)
    found = losses.sup_con_loss(labels, x, temperature=0.5, denominator=denominator).numpy()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for i in range(12):
        likely = np.exp(unit @ unit[i] / 0.5)
        nt_xent = -np.log(likely[i ^ 1] / (likely.sum() - likely[i]))
        np.testing.assert_allclose(found[i], nt_xent, rtol=1e-12)


def test_softmax_losses_without_margin_are_one():
    labels, x, proxies, _ = batch(0)
    expected = losses.normalized_softmax_loss(labels, x, proxies, temperature=0.1)
    for found in (
        losses.cos_face_loss(labels, x, proxies, margin=0.0, scale=10.0),
        losses.arc_face_loss(labels, x, proxies, margin=0.0, scale=10.0),
        losses.soft_triple_loss(labels, x, proxies[:, None], scale=10.0, margin=0.0),
        losses.proxy_nca_loss(labels, x, proxies, scale=5.0, target_in_denominator=True),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_later_images_of_a_class_make_further_rounds_of_n_pairs():
    """Four images of each class are two batches of the paper at once."""
    rng = np.random.default_rng(6)
    labels, x = np.repeat(np.arange(3), 4), rng.normal(size=(12, 5))
    whole = losses.n_pairs_loss(labels, x).numpy().mean()
    rounds = [np.arange(12) % 4 < 2, np.arange(12) % 4 >= 2]
    parts = [losses.n_pairs_loss(labels[part], x[part]).numpy().mean() for part in rounds]
    np.testing.assert_allclose(whole, np.mean(parts), rtol=1e-12)
    assert abs(parts[0] - parts[1]) > 0.01


WRONG = [
    ("contrastive", "positive_margin", -0.1, "a number, at least 0"),
    ("contrastive", "negative_margin", "1", "a number, at least 0"),
    ("contrastive", "squared", 1, "one of (True, False)"),
    ("contrastive", "average", "all", "one of ('active', 'pairs')"),
    ("triplet", "margin", float("nan"), "a number, at least 0"),
    ("triplet", "mining", "easy", "one of ('all', 'semi_hard', 'hard')"),
    (
        "triplet",
        "distance",
        "L2",
        "one of ('euclidean', 'squared_euclidean', 'cosine')",
    ),
    ("lifted_structure", "margin", None, "a number, at least 0"),
    ("generalized_lifted_structure", "margin", -1, "a number, at least 0"),
    ("n_pairs", "l2", -1.0, "a number, at least 0"),
    ("angular", "alpha", 70, "a number, above 0 and below 70, in degrees"),
    ("margin", "beta", 0, "a number, above 0"),
    ("margin", "nu", True, "a number"),
    ("multi_similarity", "alpha", 0, "a number, above 0"),
    ("multi_similarity", "mining_margin", "0.1", "a number"),
    ("circle", "gamma", 0, "a number, above 0"),
    ("sup_con", "temperature", 0, "a number, above 0"),
    ("sup_con", "denominator", "both", "one of ('all', 'negatives')"),
    ("normalized_softmax", "temperature", -1, "a number, above 0"),
    ("normalized_softmax", "num_classes", 1, "an integer, at least 2 and below 16777216"),
    ("proxy_nca", "num_classes", 2.0, "an integer, at least 2 and below 16777216"),
    ("proxy_nca", "num_classes", 2**24, "an integer, at least 2 and below 16777216"),
    ("proxy_nca", "target_in_denominator", "no", "one of (True, False)"),
    ("proxy_anchor", "alpha", 0, "a number, above 0"),
    ("arc_face", "margin", 28.6, "a number, at least 0 and below 3.141, in radians"),
    ("cos_face", "scale", 0, "a number, above 0"),
    ("soft_triple", "centers_per_class", 0, "an integer, at least 1"),
    ("soft_triple", "tau", -0.1, "a number, at least 0"),
]


@pytest.mark.parametrize(("name", "argument", "value", "rule"), WRONG)
def test_impossible_settings_name_argument_rule_and_value(name, argument, value, rule):
    message = f"`{argument}` must be {rule}. Received: {argument}={value!r}"
    classes = {"num_classes": 5} if name in CLASS_LOSSES else {}
    with pytest.raises(ValueError) as raised:
        losses.LOSSES[name](**{**classes, argument: value})
    assert str(raised.value) == message
    if argument in ("num_classes", "centers_per_class"):
        return  # of the class alone
    labels, x, proxies, centers = batch(0)
    weights = third(name, proxies, centers)
    with pytest.raises(ValueError) as raised:
        getattr(losses, f"{name}_loss")(labels, x, *weights, **{argument: value})
    assert str(raised.value) == message


def test_settings_that_contradict_each_other():
    with pytest.raises(ValueError, match="`soft` needs mining='hard'"):
        losses.TripletLoss(mining="all", soft=True)
    with pytest.raises(ValueError, match="`num_classes` needs learn_beta=True"):
        losses.MarginLoss(num_classes=5)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        (
            "proxy_nca",
            np.ones((5, 7)),
            "`proxies` must have a known shape `(C, D)`, C at least 2 and D",
        ),
        ("cos_face", None, "Received: proxies with shape=unknown, embeddings with D=6"),
        ("arc_face", np.ones((1, 6)), "Received: proxies with shape=(1, 6), embeddings with D=6"),
        (
            "soft_triple",
            np.ones((5, 6)),
            "`centers` must have a known shape `(C, K, D)`, C at least",
        ),
    ],
)
def test_weights_that_do_not_fit_the_embeddings(name, weights, message):
    labels, x, _, _ = batch(0)
    with pytest.raises(ValueError) as raised:
        getattr(losses, f"{name}_loss")(labels, x, weights)
    assert message in str(raised.value)
    with pytest.raises(ValueError, match="`beta` must be a number or have shape"):
        losses.margin_loss(labels, x, beta=np.ones((5, 2)))
