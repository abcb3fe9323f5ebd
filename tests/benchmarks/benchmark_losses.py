"""Forward and backward time and memory of the losses, beside pytorch-metric-learning's.

    python tests/benchmarks/benchmark_losses.py [--batch-sizes 128 512 2048] [--dim 128]
    python tests/benchmarks/benchmark_losses.py --memory

Prints a table of medians of interleaved runs: three products (embeddings with each other, and the
two of the gradient, which no loss can avoid), each loss as a graph and under XLA, and the same loss
of pytorch-metric-learning, with the settings that make it the same, if PyTorch and that library are
installed. `plain eager` is our own loss in the TensorFlow that one writes first. With `--memory` it
prints how much each loss adds to the peak of a fresh process.
"""

import argparse
import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from machine import machine

from mdl_tf.losses import LOSSES
from mdl_tf.losses.class_base import ClassLoss

SETTLING = 0.25  # seconds
# name in the table: loss, settings.
LOSS_ROWS = {
    "margin_discriminate": ("margin_discriminate", {}),
    "contrastive": ("contrastive", {"squared": False}),
    "triplet, all": ("triplet", {"mining": "all"}),
    "triplet, semi-hard": ("triplet", {"mining": "semi_hard"}),
    "triplet, hard": ("triplet", {"mining": "hard"}),
    "lifted_structure": ("lifted_structure", {}),
    "generalized_lifted_structure": ("generalized_lifted_structure", {}),
    "n_pairs": ("n_pairs", {}),
    "angular": ("angular", {}),
    "margin": ("margin", {}),
    "multi_similarity": ("multi_similarity", {}),
    "circle": ("circle", {}),
    "sup_con": ("sup_con", {}),
    "sup_con, negatives (NT-Xent)": ("sup_con", {"denominator": "negatives"}),
    "normalized_softmax": ("normalized_softmax", {}),
    "proxy_nca": ("proxy_nca", {"target_in_denominator": True}),
    "proxy_anchor": ("proxy_anchor", {}),
    "arc_face": ("arc_face", {}),
    "cos_face": ("cos_face", {}),
    "soft_triple": ("soft_triple", {}),
}


def counterparts(classes, dim):
    """The losses of pytorch-metric-learning, by row; empty if it is not installed."""
    if not importlib.util.find_spec("pytorch_metric_learning"):
        return {}
    from pytorch_metric_learning import distances, losses, miners, reducers, regularizers

    plain = distances.LpDistance(normalize_embeddings=False)
    squared = distances.LpDistance(normalize_embeddings=False, power=2)
    dot = distances.DotProductSimilarity(normalize_embeddings=False)
    mean = reducers.MeanReducer()
    return {
        "contrastive": (losses.ContrastiveLoss(0.0, 1.0, distance=plain), None),
        "triplet, all": (losses.TripletMarginLoss(0.2, distance=squared), None),
        "triplet, semi-hard": (
            losses.TripletMarginLoss(0.2, distance=squared),
            miners.TripletMarginMiner(0.2, type_of_triplets="semihard", distance=squared),
        ),
        "triplet, hard": (
            losses.TripletMarginLoss(0.2, distance=squared, reducer=mean),
            miners.BatchHardMiner(distance=squared),
        ),
        "lifted_structure": (losses.LiftedStructureLoss(1, 0, distance=plain), None),
        "generalized_lifted_structure": (
            losses.GeneralizedLiftedStructureLoss(1, 0, distance=plain),
            None,
        ),
        "n_pairs": (
            losses.NPairsLoss(
                distance=dot,
                embedding_regularizer=regularizers.LpRegularizer(power=2),
                embedding_reg_weight=0.001,
            ),
            None,
        ),
        "angular": (losses.AngularLoss(alpha=45), None),
        "margin": (losses.MarginLoss(0.2, 0, 1.2, distance=plain), None),
        "multi_similarity": (
            losses.MultiSimilarityLoss(2, 50, 1),
            miners.MultiSimilarityMiner(epsilon=0.1),
        ),
        "circle": (losses.CircleLoss(m=0.4, gamma=80), None),
        "sup_con": (losses.SupConLoss(temperature=0.1), None),
        "sup_con, negatives (NT-Xent)": (losses.NTXentLoss(temperature=0.1), None),
        "normalized_softmax": (losses.NormalizedSoftmaxLoss(classes, dim, 0.05), None),
        "proxy_nca": (losses.ProxyNCALoss(classes, dim, softmax_scale=9), None),
        "proxy_anchor": (losses.ProxyAnchorLoss(classes, dim, 0.1, 32), None),
        "arc_face": (
            losses.ArcFaceLoss(classes, dim, margin=float(np.degrees(0.5)), scale=64),
            None,
        ),
        "cos_face": (losses.CosFaceLoss(classes, dim, margin=0.35, scale=64), None),
        "soft_triple": (
            losses.SoftTripleLoss(
                classes,
                dim,
                centers_per_class=10,
                la=20,
                gamma=0.1,
                margin=0.01,
                weight_regularizer=regularizers.SparseCentersRegularizer(classes, 10),
                weight_reg_weight=0.2,
            ),
            None,
        ),
    }


def in_torch(loss, miner, labels, x):
    """A function of no arguments: one forward and backward pass."""
    import torch

    labels = torch.from_numpy(labels.numpy())
    x = torch.from_numpy(x.numpy()).requires_grad_()

    def step():
        x.grad = None
        loss.zero_grad(set_to_none=True)
        loss(x, labels, miner(x, labels) if miner else None).backward()
        return x.grad

    return step


def made(row, classes, dim):
    """A loss of ours with variables for the weights that it may have."""
    name, settings = LOSS_ROWS[row]
    by_class = {"num_classes": classes} if issubclass(LOSSES[name], ClassLoss) else {}
    loss = LOSSES[name](**settings, **by_class)
    keras.utils.set_random_seed(0)
    variables = {
        key: tf.Variable(initializer(shape))
        for key, (shape, initializer) in loss.weight_specs(dim).items()
    }
    loss.attach(variables)
    return loss, list(variables.values())


def with_gradient(loss, variables=()):
    def step(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_mean(loss(labels, x))
        return tape.gradient(value, [x, *variables])

    return step


def products(labels, x):
    similarities = tf.matmul(x, x, transpose_b=True)
    return tf.matmul(similarities, x), tf.matmul(similarities, x, transpose_a=True)


def plain_eager(labels, x, margin=0.2, sharpness=20.0):
    """The double sum over positives and negatives, factored, in the obvious TensorFlow."""
    squared = (
        tf.reduce_sum(x**2, 1)[:, None] + tf.reduce_sum(x**2, 1)[None] - 2 * x @ tf.transpose(x)
    )
    distances = tf.sqrt(tf.maximum(squared, 1e-12))
    same = tf.cast(labels[:, None] == labels[None], x.dtype)
    positives, negatives = same - tf.eye(len(labels)), 1 - same
    pull = tf.reduce_sum(positives * tf.exp(sharpness * distances), 1)
    push = tf.reduce_sum(negatives * tf.exp(-sharpness * distances), 1)
    return tf.math.log1p(np.exp(sharpness * margin) * pull * push) / sharpness


def batch(size, dim):
    x = np.random.default_rng(0).normal(size=(size, dim)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return tf.constant(np.repeat(np.arange(size // 4), 4)), tf.constant(x)


def medians(functions, block):
    """Median milliseconds of each, in three rounds of blocks, so that noise meets all alike.

    Blocks and not single steps, and without their beginning: the threads of one library keep
    spinning for a while at the cost of the other.
    """
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(3):
        for name, function in functions.items():
            began = now = time.perf_counter()
            while now < began + block:
                function()[0].numpy()
                before, now = now, time.perf_counter()
                if before > began + SETTLING or now - before > SETTLING:
                    times[name].append(1e3 * (now - before))
    return {name: statistics.median(values) for name, values in times.items()}


def times(rows, size, dim, seconds, largest_peer):
    """Print the table of one batch size."""
    labels, x = batch(size, dim)

    def of(function):
        return lambda: function(labels, x)

    peers = counterparts(size // 4, dim) if size <= largest_peer else {}
    functions = {
        ("three products", "graph"): of(tf.function(products)),
        ("three products", "XLA"): of(tf.function(products, jit_compile=True)),
    }
    if "margin_discriminate" in rows:
        functions["plain eager", "graph"] = of(with_gradient(plain_eager))
    base = medians(functions, seconds)
    print(f"\nB = {size}{'graph ms':>39}{'x products':>12}{'XLA ms':>10}{'x products':>12}", end="")
    print(f"{'PML ms':>10}{'PML/graph':>11}{'PML/XLA':>9}" if peers else "")
    for name in ("three products", "plain eager"):
        if (name, "graph") in base:
            xla = base.get((name, "XLA"))
            print(f"  {name:<32}{base[name, 'graph']:>10.2f}", end="")
            print(f"{'':>12}{xla:>10.2f}" if xla else "")
    for row in rows:
        loss, variables = made(row, size // 4, dim)
        step = with_gradient(loss, variables)
        functions = {
            "graph": of(tf.function(step)),
            "XLA": of(tf.function(step, jit_compile=True)),
        }
        if row in peers:
            step = in_torch(*peers[row], labels, x)
            functions["PML"] = lambda step=step: [step()]
        found = medians(functions, seconds)
        print(f"  {row:<32}", end="")
        for mode in ("graph", "XLA"):
            ratio = found[mode] / base["three products", mode]
            print(f"{found[mode]:>10.2f}{ratio:>12.1f}", end="")
        if row in peers:
            peer = found["PML"]
            print(f"{peer:>10.2f}{peer / found['graph']:>11.1f}{peer / found['XLA']:>9.1f}", end="")
        print(flush=True)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux


def memory_of(row, mode, size, dim):
    """Megabytes that a loss adds to the peak of this process, over the products."""
    labels, x = batch(size, dim)
    products(labels, x)
    before = peak()
    step = tf.function(with_gradient(*made(row, size // 4, dim)), jit_compile=mode == "XLA")
    for _ in range(3):
        step(labels, x)[0].numpy()
    return peak() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=0.6, help="a block of steps, above 0.25")
    parser.add_argument("--rows", nargs="+", choices=list(LOSS_ROWS), default=list(LOSS_ROWS))
    parser.add_argument(
        "--largest-peer", type=int, default=512, help="batch beyond which the peer is left out"
    )
    parser.add_argument("--memory", action="store_true", help="memory at B = 2048 instead of time")
    parser.add_argument("--memory-of", nargs=2, metavar=("ROW", "MODE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(memory_of(*options.memory_of, 2048, options.dim))
        return
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    for name in ("torch", "pytorch_metric_learning"):
        if importlib.util.find_spec(name):
            versions += f", {name} {importlib.import_module(name).__version__}"
    print(
        f"{machine()}, {versions}, Keras {keras.__version__}; D = {options.dim}, 4 images a class"
    )
    if options.memory:
        print(f"\nMegabytes added at B = 2048{'graph':>17}{'XLA':>8}")
        for row in options.rows:
            added = [
                float(
                    subprocess.run(
                        [sys.executable, __file__, "--memory-of", row, mode],
                        capture_output=True,
                        text=True,
                        check=True,
                    ).stdout.split()[-1]
                )
                for mode in ("graph", "XLA")
            ]
            print(f"  {row:<32}{added[0]:>10.0f}{added[1]:>8.0f}", flush=True)
        return
    print("Milliseconds forward + backward.")
    for size in options.batch_sizes:
        times(options.rows, size, options.dim, options.seconds, options.largest_peer)


if __name__ == "__main__":
    main()
