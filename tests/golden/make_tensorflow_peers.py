"""Write `tensorflow_peers.npz`: losses of TensorFlow Addons and TensorFlow Similarity.

For everyone who comes from one of those libraries: which of our losses, with which settings, is
exactly theirs. `tests/test_tensorflow_peers_golden.py` compares ours with the numbers of this file.

TensorFlow Addons 0.23.0 does not import on today's TensorFlow, and importing TensorFlow Similarity
0.17.1 takes a dozen packages that its losses never use. So only the modules of the losses are
taken out of the wheels and run as they are, unchanged; the packages around them are empty
stand-ins, and so are the type aliases and the type checker that Addons imports.

Run it with any Python that has TensorFlow and NumPy, after `pip download --no-deps` of both wheels:

    python tests/golden/make_tensorflow_peers.py tensorflow_addons-0.23.0-*.whl \\
        tensorflow_similarity-0.17.1-*.whl

The npz holds the batches (`NAME_labels`, `NAME_embeddings`), each value and its gradient with
respect to the embeddings, versions and digests of the wheels, and in `cases` a JSON list:

    kind          "same": equal on every batch with a positive pair and two classes.
                  "factor": equal after multiplication by `factor`.
                  "condition": equal on batches that fulfil `note`.
                  "different": not equal, for the reason in `note`.
    theirs        the call, and what it was applied to if not to the embeddings of the batch.
    loss          name of our function.
    batch         name of the batch.
    settings      all settings of our function. For "different", of the closest one.
    factor        number by which our loss is multiplied to give theirs.
    value_key, gradient_key     names of arrays in the npz. "different" has no gradient.
    note          a condition or reason, in words.
"""

import argparse
import hashlib
import importlib
import json
import sys
import tempfile
import types
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

OUTPUT = Path(__file__).with_name("tensorflow_peers.npz")

DIM = 8
# name: images per class, seed, length of the vectors (1: unit, None: as drawn).
BATCHES = {
    "balanced_unit": ((3, 3, 3, 3, 3), 2993, 1),
    "balanced_raw": ((3, 3, 3, 3, 3), 2764, None),
    "pairs_unit": ((2, 2, 2, 2, 2, 2), 2977, 1),
    "pairs_raw": ((2, 2, 2, 2, 2, 2), 2337, None),
    # N-pair loss: two rounds, of three and of two anchors.
    "rounds_raw": ((5, 4, 2), 5, None),
    "uneven_unit": ((4, 3, 2, 2), 2984, 1),
    "uneven_raw": ((4, 3, 2, 2), 1850, None),
    # One image has no positive.
    "single_unit": ((4, 3, 2, 1), 1984, 1),
    "single_raw": ((4, 3, 2, 1), 2989, None),
    # No positives, no negatives.
    "distinct_unit": ((1, 1, 1, 1, 1, 1), 10, 1),
    "one_class_unit": ((6,), 11, 1),
}
# Tight classes, whose terms are inactive, and loose ones that reach into others.
SPREADS = (0.4, 1.5, 0.4, 0.8, 1.5, 0.4)

VALID = "every image has a positive and a negative in the batch"
PAIRS = "two images of each class"


def draw(sizes, seed, length):
    """Labels `(B,)` that are not consecutive, and embeddings `(B, DIM)`, shuffled."""
    rng = np.random.Generator(np.random.PCG64(seed))
    of_class = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.normal(size=(len(sizes), DIM))
    embeddings = centres[of_class]
    embeddings += np.take(SPREADS, of_class)[:, None] * rng.normal(size=embeddings.shape)
    if length is not None:
        embeddings *= length / np.linalg.norm(embeddings, axis=1, keepdims=True)
    order = rng.permutation(len(of_class))
    labels = np.array([7, 3, 11, 5, 2, 13])[of_class]
    return labels[order].astype("int32"), embeddings[order].astype("float32")


def stand_in(name, path=None, **attributes):
    """A module of our own under another library's name; with a path, files are found there."""
    module = types.ModuleType(name)
    if path is not None:
        module.__path__ = [str(path)]
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module


def load_addons(folder):
    """The loss modules of an unpacked TensorFlow Addons, as one namespace."""
    package = folder / "tensorflow_addons"
    for name in ("", ".losses", ".utils"):
        # The packages' own `__init__` would import all of Addons.
        stand_in(f"tensorflow_addons{name}", package / name.removeprefix("."))
    aliases = dict.fromkeys(("Number", "TensorLike", "FloatTensorLike"), object)
    stand_in("tensorflow_addons.utils.types", **aliases)
    stand_in("typeguard", typechecked=lambda function: function)
    found = {}
    for name in ("metric_learning", "contrastive", "lifted", "npairs", "triplet"):
        found |= vars(importlib.import_module(f"tensorflow_addons.losses.{name}"))
    return types.SimpleNamespace(**found)


def load_similarity(folder):
    """`tensorflow_similarity.losses` of an unpacked wheel."""
    stand_in("tensorflow_similarity", folder / "tensorflow_similarity")
    return importlib.import_module("tensorflow_similarity.losses")


def called(name, arguments):
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def rounds(labels):
    """Per round of the N-pair loss: the rows of its anchors and of their positives."""
    rows = [np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())]
    found = []
    for first in range(0, max(map(len, rows)) - 1, 2):
        pairs = [r[first : first + 2] for r in rows if len(r) >= first + 2]
        if len(pairs) > 1:
            found.append(np.transpose(pairs))
    return found


class Peers:
    """Their losses, each as (text, function of labels and embeddings that gives a scalar)."""

    def __init__(self, addons, similarity):
        self.addons, self.similarity = addons, similarity

    def contrastive(self, distance, **arguments):
        """It takes distances of pairs that the user forms: here all pairs of the batch, once."""

        def compute(labels, x):
            if distance == "cosine":
                distances = self.addons.angular_distance(x)
            else:
                distances = self.addons.pairwise_distance(x)
            pairs = np.argwhere(np.triu(np.ones((len(labels),) * 2), 1))
            same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
            values = self.addons.contrastive_loss(same, tf.gather_nd(distances, pairs), **arguments)
            return tf.reduce_mean(values)

        text = called("tfa.losses.contrastive_loss", arguments)
        return f"{text} of the {distance} distances of all pairs", compute

    def n_pairs(self, name="npairs_loss"):
        """It takes the products of anchors and positives, here of the images in batch order."""

        def compute(labels, x):
            total, count = 0.0, 0
            for anchors, positives in rounds(labels):
                products = tf.matmul(tf.gather(x, anchors), tf.gather(x, positives), False, True)
                classes = labels[anchors]
                if name == "npairs_multilabel_loss":
                    classes = np.eye(len(classes), dtype="int32")
                total += len(anchors) * getattr(self.addons, name)(classes, products)
                count += len(anchors)
            return total / count

        return f"tfa.losses.{name} of anchors times positives, mean over all anchors", compute

    def of_addons(self, name, **arguments):
        function = getattr(self.addons, name)

        def compute(labels, x):
            return function(labels, x, **arguments)

        return called(f"tfa.losses.{name}", arguments), compute

    def of_similarity(self, name, **arguments):
        # Keras 3 no longer knows their default, the reduction "auto".
        loss = getattr(self.similarity, name)(reduction="sum_over_batch_size", **arguments)
        return called(f"tfsim.losses.{name}", arguments), loss

    def of_two_views(self, name, **arguments):
        """Of the two images of each class as two arguments, without labels."""
        loss = getattr(self.similarity, name)(reduction="sum_over_batch_size", **arguments)

        def compute(labels, x):
            ((first, second),) = rounds(labels)
            return loss(tf.gather(x, first), tf.gather(x, second))

        return (
            f"{called(f'tfsim.losses.{name}', arguments)} of the two images of each class",
            compute,
        )


def normalized(theirs):
    """A loss that expects unit vectors, behind the normalisation that a model would end in.

    Our losses of cosines normalise themselves, so their gradients have no part along the
    embedding; nor do theirs behind this, and not otherwise.
    """
    text, compute = theirs
    return f"{text} after l2_normalize", lambda labels, x: compute(
        labels, tf.math.l2_normalize(x, axis=1)
    )


def cases(peers):
    """Every comparison: kind, theirs, our loss, its settings, batches, factor, note."""
    tfa, tfsim = peers.of_addons, peers.of_similarity
    result = []

    def add(kind, theirs, loss, settings, batches, factor=1.0, note=""):
        for batch in batches.split():
            result.append((kind, theirs, loss, settings, batch, float(factor), note))

    def triplet(margin, mining, distance, soft=False):
        return {"margin": margin, "mining": mining, "distance": distance, "soft": soft}

    def contrastive(margin, distance):
        return {
            "positive_margin": 0.0,
            "negative_margin": margin,
            "squared": True,
            "average": "pairs",
            "distance": distance,
        }

    def lifted(margin):
        return {"margin": margin, "distance": "euclidean"}

    def multi_similarity(alpha, beta, base, mining_margin):
        return {"alpha": alpha, "beta": beta, "base": base, "mining_margin": mining_margin}

    def sup_con(temperature):
        return {"temperature": temperature, "denominator": "all"}

    # TensorFlow Addons.
    for margin, batches in (
        (1.0, "balanced_unit uneven_unit single_unit"),
        (2.0, "balanced_raw"),
    ):
        add(
            "same",
            peers.contrastive("euclidean", margin=margin),
            "contrastive_loss",
            contrastive(margin, "euclidean"),
            batches,
        )
    add(
        "same",
        peers.contrastive("cosine", margin=0.8),
        "contrastive_loss",
        contrastive(0.8, "cosine"),
        "balanced_raw",
    )
    for margin, batches in (
        (1.0, "balanced_unit uneven_raw single_unit"),
        (0.2, "balanced_raw uneven_unit"),
    ):
        add(
            "same",
            tfa("lifted_struct_loss", margin=margin),
            "lifted_structure_loss",
            lifted(margin),
            batches,
        )
    add("same", peers.n_pairs(), "n_pairs_loss", {"l2": 0.0}, "pairs_unit pairs_raw")
    add("same", peers.n_pairs(), "n_pairs_loss", {"l2": 0.0}, "rounds_raw uneven_raw")
    add(
        "same",
        peers.n_pairs("npairs_multilabel_loss"),
        "n_pairs_loss",
        {"l2": 0.0},
        "pairs_raw",
        note="each image has one label",
    )
    names = {"L2": "euclidean", "squared-L2": "squared_euclidean", "angular": "cosine"}
    for metric, margin, batches in (
        ("L2", 1.0, "balanced_unit uneven_unit single_unit"),
        ("L2", 0.2, "balanced_unit pairs_unit"),
        ("squared-L2", 1.0, "balanced_unit uneven_unit"),
        ("squared-L2", 0.2, "balanced_unit uneven_unit single_unit"),
        ("angular", 0.2, "balanced_raw single_raw"),
    ):
        add(
            "same",
            tfa("triplet_semihard_loss", margin=margin, distance_metric=metric),
            "triplet_loss",
            triplet(margin, "semi_hard", names[metric]),
            batches,
        )
    add(
        "factor",
        normalized(tfa("triplet_semihard_loss", margin=0.4, distance_metric="squared-L2")),
        "triplet_loss",
        triplet(0.2, "semi_hard", "cosine"),
        "balanced_raw uneven_raw",
        2.0,
        "the squared distance of unit vectors is twice the cosine distance",
    )
    for metric, margin, soft, batches in (
        ("L2", 1.0, False, "balanced_unit pairs_unit"),
        ("L2", 0.2, False, "balanced_unit uneven_unit"),
        ("squared-L2", 1.0, False, "balanced_unit"),
        ("squared-L2", 0.2, False, "balanced_unit uneven_unit"),
        ("angular", 0.2, False, "balanced_raw"),
        ("L2", 1.0, True, "balanced_unit uneven_unit"),
        ("squared-L2", 0.2, True, "balanced_unit pairs_unit"),
    ):
        add(
            "condition",
            tfa("triplet_hard_loss", margin=margin, soft=soft, distance_metric=metric),
            "triplet_loss",
            # Their soft form ignores the margin.
            triplet(0.0 if soft else margin, "hard", names[metric], soft),
            batches,
            note=VALID,
        )

    # TensorFlow Similarity.
    def mined(positive, negative, margin, distance):
        return tfsim(
            "TripletLoss",
            distance=distance,
            positive_mining_strategy=positive,
            negative_mining_strategy=negative,
            margin=margin,
        )

    for distance, margin, batches in (
        ("cosine", 0.2, "balanced_raw uneven_raw"),
        ("cosine", 1.0, "balanced_raw"),
        ("cosine", None, "balanced_raw uneven_raw"),
        ("euclidean", 0.2, "balanced_unit uneven_unit"),
        ("euclidean", None, "balanced_unit"),
        ("squared_euclidean", 0.2, "balanced_unit"),
        ("squared_euclidean", 1.0, "uneven_unit"),
    ):
        theirs = mined("hard", "hard", margin, distance)
        add(
            "condition",
            normalized(theirs) if distance == "cosine" else theirs,
            "triplet_loss",
            triplet(margin or 0.0, "hard", distance, margin is None),
            batches,
            note=VALID,
        )
    for distance, margin, batches in (
        ("cosine", 0.2, "pairs_raw"),
        ("euclidean", 0.2, "pairs_unit"),
        ("squared_euclidean", 1.0, "pairs_unit"),
    ):
        theirs = mined("hard", "semi-hard", margin, distance)
        add(
            "condition",
            normalized(theirs) if distance == "cosine" else theirs,
            "triplet_loss",
            triplet(margin, "semi_hard", distance),
            batches,
            note=PAIRS,
        )
    for arguments, ours in (
        ({}, multi_similarity(2.0, 40.0, 0.5, 0.1)),
        (
            {"alpha": 3.0, "beta": 20.0, "epsilon": 0.3, "lmda": 0.7},
            multi_similarity(3.0, 20.0, 0.7, 0.3),
        ),
        ({"lmda": 0.5, "center": 0.9}, multi_similarity(2.0, 40.0, 0.6, 0.1)),
    ):
        theirs = normalized(tfsim("MultiSimilarityLoss", **arguments))
        loss = "multi_similarity_loss"
        add("condition", theirs, loss, ours, "balanced_raw uneven_raw", note=VALID)
        note = "the share of the images that have a positive and a negative"
        add("factor", theirs, loss, ours, "single_raw", 9 / 10, note)
    for distance, temperature, ours in (
        ("cosine", 0.5, 0.5),
        ("cosine", 0.2, 0.2),
        ("sql2", 1.0, 0.5),
    ):
        add(
            "condition",
            normalized(
                tfsim("SoftNearestNeighborLoss", distance=distance, temperature=temperature)
            ),
            "sup_con_loss",
            sup_con(ours),
            "pairs_raw",
            note=PAIRS,
        )
    for temperature in (0.2, 0.5):
        add(
            "factor",
            peers.of_two_views("SimCLRLoss", temperature=temperature),
            "sup_con_loss",
            sup_con(temperature),
            "pairs_raw pairs_unit",
            2.0,
            f"{PAIRS}; they add the losses of both directions",
        )

    # What has no equal, beside the closest of ours.
    hard = tfa("triplet_hard_loss", margin=1.0, soft=False, distance_metric="L2")
    semi_hard = tfa("triplet_semihard_loss", margin=1.0, distance_metric="L2")
    triplets = mined("hard", "hard", 1.0, "euclidean")
    add(
        "different",
        hard,
        "triplet_loss",
        triplet(1.0, "hard", "euclidean"),
        "single_unit distinct_unit one_class_unit",
        note="an image without positives counts with a positive at distance 0, one without "
        "negatives with the margin",
    )
    add(
        "different",
        semi_hard,
        "triplet_loss",
        triplet(1.0, "semi_hard", "euclidean"),
        "distinct_unit one_class_unit",
        note="NaN without positive pairs; without negatives margin plus distance of the pair",
    )
    add(
        "different",
        tfa("lifted_struct_loss", margin=1.0),
        "lifted_structure_loss",
        lifted(1.0),
        "distinct_unit one_class_unit",
        note="NaN without positive pairs, and without negatives",
    )
    add(
        "different",
        triplets,
        "triplet_loss",
        triplet(1.0, "hard", "euclidean"),
        "single_unit distinct_unit one_class_unit",
        note="an image without positives counts with a positive at distance 0, one without "
        "negatives with its farthest positive as the negative",
    )
    add(
        "different",
        mined("hard", "semi-hard", 0.2, "euclidean"),
        "triplet_loss",
        triplet(0.2, "semi_hard", "euclidean"),
        "balanced_unit",
        note="each image counts once, with its farthest positive, not once for each positive",
    )
    add(
        "different",
        normalized(tfsim("TripletLoss")),
        "triplet_loss",
        triplet(0.0, "hard", "cosine", True),
        "balanced_raw pairs_raw",
        note="their default, a soft margin with semi-hard negatives, is not among ours",
    )
    add(
        "different",
        normalized(tfsim("TripletLoss", positive_mining_strategy="easy", margin=0.2)),
        "triplet_loss",
        triplet(0.2, "semi_hard", "cosine"),
        "balanced_raw",
        note="nearest positives are not among ours",
    )
    for margin in (0.2, None):
        add(
            "different",
            normalized(tfsim("PNLoss", negative_mining_strategy="hard", margin=margin)),
            "triplet_loss",
            triplet(margin or 0.0, "hard", "cosine", margin is None),
            "balanced_raw pairs_raw",
            note="also counts the distance of the positive to the negative, if it is smaller",
        )
    for gamma, margin in ((80.0, 0.4), (16.0, 0.25)):
        add(
            "different",
            normalized(tfsim("CircleLoss", gamma=gamma, margin=margin)),
            "circle_loss",
            {"gamma": gamma, "margin": margin},
            "balanced_raw",
            note="log((1 + P)(1 + N)) where the paper has log(1 + P N), for the sums P and N of "
            "exponentials; and their weights have a gradient",
        )
    add(
        "different",
        normalized(tfsim("SoftNearestNeighborLoss", distance="cosine", temperature=0.5)),
        "sup_con_loss",
        sup_con(0.5),
        "balanced_raw",
        note="the logarithm of the sum over positives, ours is the mean of the logarithms",
    )
    add(
        "different",
        peers.of_two_views("MultiNegativesRankLoss", scale=1.0),
        "n_pairs_loss",
        {"l2": 0.0},
        "pairs_unit",
        note="log(1 + sum), ours log(sum), of the exponentials of the products, times `scale` "
        "in theirs",
    )
    return result


def evaluate(compute, labels, embeddings):
    """Value and gradient, both float32."""
    x = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = compute(labels, x)
    return np.float32(value), tf.convert_to_tensor(tape.gradient(value, x)).numpy()


def check_no_kink(text, compute, labels, embeddings, gradient):
    """Refuse a batch so close to a jump of the gradient that rounding could decide the side."""
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(4):
        noise = 2e-5 * rng.normal(size=embeddings.shape).astype("float32")
        _, moved = evaluate(compute, labels, embeddings + noise)
        if np.abs(moved - gradient).max() > 2e-3 * np.abs(gradient).max():
            raise RuntimeError(f"gradient jumps near the batch: {text}")


def compute_all(peers):
    """All batches, values, gradients, and the list of cases."""
    arrays, listed = {}, []
    for name, recipe in BATCHES.items():
        arrays[f"{name}_labels"], arrays[f"{name}_embeddings"] = draw(*recipe)
    for kind, (text, function), loss, settings, batch, factor, note in cases(peers):
        number = len(listed)
        labels, embeddings = arrays[f"{batch}_labels"], arrays[f"{batch}_embeddings"]
        value, gradient = evaluate(function, labels, embeddings)
        entry = {
            "kind": kind,
            "theirs": text,
            "loss": loss,
            "batch": batch,
            "settings": settings,
            "factor": factor,
            "value_key": f"value_{number}",
            "gradient_key": None,
            "note": note,
        }
        arrays[entry["value_key"]] = value
        if kind != "different":
            if not (np.isfinite(value) and np.isfinite(gradient).all() and gradient.any()):
                raise RuntimeError(f"not finite, or nothing active: {text}, {batch}")
            check_no_kink(f"{text}, {batch}", function, labels, embeddings, gradient)
            entry["gradient_key"] = f"gradient_{number}"
            arrays[entry["gradient_key"]] = gradient
        listed.append(entry)
    arrays["cases"] = np.array(json.dumps(listed))
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("addons", type=Path, help="wheel of tensorflow_addons")
    parser.add_argument("similarity", type=Path, help="wheel of tensorflow_similarity")
    wheels = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for wheel in (wheels.addons, wheels.similarity):
            zipfile.ZipFile(wheel).extractall(folder)
        # TensorFlow reads the sources again when it traces a function: keep them until the end.
        peers = Peers(load_addons(Path(folder)), load_similarity(Path(folder)))
        arrays = compute_all(peers)
    for name, wheel in vars(wheels).items():
        arrays[f"{name}_version"] = np.array(wheel.name.split("-")[1])
        arrays[f"{name}_sha256"] = np.array(hashlib.sha256(wheel.read_bytes()).hexdigest())
    for module in (tf, keras, np):
        arrays[f"{module.__name__}_version"] = np.array(module.__version__)
    np.savez_compressed(OUTPUT, **arrays)
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size} bytes, {len(json.loads(str(arrays['cases'])))}")


if __name__ == "__main__":
    main()
