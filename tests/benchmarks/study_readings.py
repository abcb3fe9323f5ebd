"""Readings of the abstract against each other, on classes held out of training: which one learns?

The abstract of the paper allows several formulas. Each is trained as a linear layer to unit vectors
on frozen features, with as many draws of its own settings and of the learning rate as the others;
its best draw is then repeated with fresh seeds, and compared with the form that the library has,
seed by seed. Half of the training classes validate the other half and the other way round. The
second half of the data set, the test, is never read.

    python tests/benchmarks/study_readings.py features.npz

writes a line for each reading: MAP@R on the held-out classes with the best draw, its difference to
`smooth`, and the settings. Training is one XLA program, so that a thousand runs take minutes; the
formulas are therefore written here, next to each other, and not taken from the library. `smooth`,
`hinge` and `hardest` are its `MarginDiscriminateLoss`, which a check compares before it begins.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from scipy import stats
from scipy.stats import qmc

from mdl_tf import metrics
from mdl_tf.batches.plan import BalancedPlan
from mdl_tf.losses import margin_discriminate_loss
from mdl_tf.losses.distances import DISTANCES
from mdl_tf.losses.pairs import pair_masks
from mdl_tf.losses.rows import log_sum_exp

DIM, IMAGES_PER_CLASS, STEPS, RISE = 64, 4, 500, 25
M, G, GP, B = ("margin", 0.0, 0.6), ("g", 4.0, 64.0), ("g_pos", 0.5, 32.0), ("boundary", 0.6, 1.3)
# What a reading draws: name, lowest, highest; g's by their logarithm.
READINGS = {
    "smooth": (M, G),
    "smooth, squared": (M, G),
    "smooth, cosine": (M, G),
    "hinge": (M, G),
    "hardest": (M,),
    "mean in the logarithm": (M, G),
    "softer positives": (("margin", -0.6, 0.6), G, GP),
    "softer positives, their mean": (("margin", -0.2, 0.6), G, GP),
    "decoupled": (B, M, G, GP),
    "multi-similarity": (("boundary", 0.0, 1.0), ("g", 8.0, 80.0), ("g_pos", 0.5, 16.0)),
}


def anchor_losses(reading, labels, x, p):
    """The loss of each anchor, `(B,)`; every anchor of a balanced batch counts."""
    kind = {"squared": "squared_euclidean", "cosine": "cosine"}.get(reading.split(", ")[-1])
    kind = "cosine" if reading == "multi-similarity" else kind or "euclidean"
    d = DISTANCES[kind](x, x)
    positives, negatives = pair_masks(labels)
    if reading == "hardest":
        farthest = tf.reduce_max(tf.where(positives, d, -9.0), axis=1)
        return tf.nn.relu(
            p["margin"] + farthest - tf.reduce_min(tf.where(negatives, d, 9.0), axis=1)
        )
    g, g_pos = p["g"], p.get("g_pos", p["g"])
    if reading in ("decoupled", "multi-similarity"):
        # Around a boundary, positives and negatives apart; of similarities 1 - d without a margin.
        half = p.get("margin", 0.0) / 2
        boundary = 1 - p["boundary"] if reading == "multi-similarity" else p["boundary"]
        pull = tf.nn.softplus(log_sum_exp(g_pos * (d - boundary + half), positives)) / g_pos
        return pull + tf.nn.softplus(log_sum_exp(g * (boundary + half - d), negatives)) / g
    far = log_sum_exp(g_pos * d, positives)
    near = log_sum_exp(-g * d, negatives)
    if "mean" in reading:
        far -= tf.math.log(tf.reduce_sum(tf.cast(positives, tf.float32), axis=1))
    if reading == "mean in the logarithm":
        near -= tf.math.log(tf.reduce_sum(tf.cast(negatives, tf.float32), axis=1))
    bound = p["margin"] + far / g_pos + near / g
    return tf.nn.relu(bound) if reading == "hinge" else tf.nn.softplus(g * bound) / g


def program(reading):
    """A function that trains a layer: Adam, a short rise and a cosine."""

    @tf.function(jit_compile=True, reduce_retracing=True)
    def train(x, labels, plan, kernel, rate, settings):
        def step(i, w, m, v):
            with tf.GradientTape() as tape:
                tape.watch(w)
                embeddings = tf.math.l2_normalize(tf.gather(x, plan[i]) @ w, axis=1)
                loss = anchor_losses(reading, tf.gather(labels, plan[i]), embeddings, settings)
                loss = tf.reduce_mean(loss)
            gradient, k = tape.gradient(loss, w), tf.cast(i, tf.float32)
            fall = 0.5 * (1 + tf.cos(np.pi * (k - RISE) / (STEPS - RISE)))
            pace = rate * tf.where(k < RISE, k / RISE, 0.01 + 0.99 * fall)
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            bias = tf.sqrt(1 - 0.999 ** (k + 1)) / (1 - 0.9 ** (k + 1))
            return i + 1, w - pace * bias * m / (tf.sqrt(v) + 1e-7), m, v

        zero = tf.zeros_like(kernel)
        return tf.while_loop(lambda i, *_: i < STEPS, step, (0, kernel, zero, zero))[1]

    return train


def check():
    """The formulas here are those of the library where it has them."""
    x = tf.math.l2_normalize(np.random.default_rng(0).normal(size=(24, 5)).astype("float32"), 1)
    labels = np.repeat(np.arange(6), 4)
    p = {"margin": 0.2, "g": 7.0}
    for reading, options in {
        "smooth": {},
        "smooth, squared": {"distance": "squared_euclidean"},
        "smooth, cosine": {"distance": "cosine"},
        "hinge": {"form": "hinge"},
        "hardest": {"form": "hardest"},
    }.items():
        theirs = margin_discriminate_loss(labels, x, margin=0.2, sharpness=7.0, **options)
        np.testing.assert_allclose(anchor_losses(reading, labels, x, p), theirs, atol=1e-5)


class Halves:
    """The training classes of a file, one half for training and one for validation."""

    def __init__(self, path):
        with np.load(path) as file:
            x, labels = file["features"].astype("float32"), file["labels"]
        _, labels = np.unique(labels, return_inverse=True)
        kept = labels < (labels.max() + 2) // 2
        self._x, self._labels = x[kept], labels[kept].astype("int32")
        order = np.random.default_rng(7).permutation(self._labels.max() + 1)
        self._held_out = np.array_split(order, 2)
        self.classes_per_batch = min(map(len, self._held_out))

    def run(self, train, half, seed, rate, settings):
        """MAP@R on one half with a layer that was trained on the other."""
        held_out = np.isin(self._labels, self._held_out[half])
        x, labels = self._x[~held_out], self._labels[~held_out]
        plan = BalancedPlan(labels, self.classes_per_batch, IMAGES_PER_CLASS, seed=seed)
        plan = np.stack([plan.batch(i) for i in range(STEPS)]).astype("int32")
        most = np.sqrt(6 / (x.shape[1] + DIM))
        kernel = np.random.default_rng(seed).uniform(-most, most, (x.shape[1], DIM))
        settings = {name: np.float32(value) for name, value in settings.items()}
        kernel = train(x, labels, plan, kernel.astype("float32"), np.float32(rate), settings)
        embeddings = self._x[held_out] @ kernel.numpy()
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True) + 1e-12
        return metrics.map_at_r(embeddings, self._labels[held_out])


def drawn(ranges, count):
    """Learning rates and settings, the same learning rates for all."""
    points = qmc.Halton(6, seed=0).random(count)
    for rate, *shares in points:
        settings = {}
        for (name, low, high), share in zip(ranges, shares, strict=False):
            by_log = name in ("g", "g_pos")
            settings[name] = low * (high / low) ** share if by_log else low + share * (high - low)
        yield 1e-4 * 100**rate, settings


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("features", help="an .npz of features (N, F) and labels (N,)")
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sharpness", action="store_true", help="smooth at fixed g, m instead")
    args = parser.parse_args()
    check()
    data = Halves(args.features)
    if args.sharpness:
        return by_sharpness(data, args.seeds)
    smooth = None
    print(f"{'reading':<30}{'search':>8}{'fresh seeds':>13}{'less smooth':>20}   settings")
    for reading, ranges in READINGS.items():
        train = program(reading)
        tried = [
            (np.mean([data.run(train, half, 0, *draw) for half in (0, 1)]), draw)
            for draw in drawn(ranges, args.draws)
        ]
        value, (rate, settings) = max(tried, key=lambda one: one[0])
        found = fresh(data, train, rate, settings, args.seeds)
        smooth = found if smooth is None else smooth
        off = found - smooth
        half = stats.t.ppf(0.975, len(off) - 1) * off.std(ddof=1) / len(off) ** 0.5
        said = ", ".join(f"{name} {number:.3g}" for name, number in settings.items())
        print(
            f"{reading:<30}{value:8.4f}{found.mean():13.4f}{off.mean():+12.4f} ± {half:.4f}   "
            f"rate {rate:.2g}, {said}",
            flush=True,
        )


def fresh(data, train, rate, settings, seeds):
    """MAP@R with seeds that were not searched with, the mean of both halves, `(seeds,)`."""
    return np.array(
        [
            np.mean([data.run(train, half, seed, rate, settings) for half in (0, 1)])
            for seed in range(1, seeds + 1)
        ]
    )


def by_sharpness(data, seeds):
    """The form that the library has, over sharpness and margin, each at its best learning rate."""
    train = program("smooth")
    print(f"{'sharpness':>9}{'margin':>8}{'MAP@R':>9}   rate")
    for g in (4, 5, 7, 10, 14, 20, 32):
        for margin in (0.0, 0.2, 0.5):
            settings = {"margin": margin, "g": g}
            rates = {
                rate: fresh(data, train, rate, settings, seeds).mean()
                for rate in (2.5e-4, 5e-4, 1e-3, 2e-3)
            }
            best = max(rates, key=rates.get)
            print(f"{g:9}{margin:8}{rates[best]:9.4f}   {best}", flush=True)


if __name__ == "__main__":
    main()
