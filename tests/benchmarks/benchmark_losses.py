"""Forward and backward time of the losses, beside the matrix products they cannot avoid.

    python tests/benchmarks/benchmark_losses.py [--batch-sizes 128 512 2048] [--dim 128]

Prints a table of medians of interleaved runs: three products (embeddings with each other, and the
two of the gradient), each loss as a graph and under XLA, and the same formula in plain eager
TensorFlow as one writes it first. The products are timed in each mode too.
"""

import argparse
import os
import platform
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from machine import machine

from mdl_tf.losses import LOSSES

LOSS_ROWS = {"margin_discriminate": {}}


def with_gradient(loss):
    def step(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_mean(loss(labels, x))
        return value, tape.gradient(value, x)

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


def medians(functions, arguments, seconds):
    """Median milliseconds of each, taking turns so that a noisy machine is noisy for all."""
    for function in functions.values():
        function(*arguments)
    times = {name: [] for name in functions}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or min(map(len, times.values())) < 7:
        for name, function in functions.items():
            start = time.perf_counter()
            function(*arguments)[1].numpy()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10, help="per batch size")
    options = parser.parse_args()
    print(
        f"{machine()}, Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}; D = {options.dim}, 4 images a class; "
        "milliseconds forward + backward, and as a multiple of the three products in the same mode "
        "(eager: graph)"
    )
    for size in options.batch_sizes:
        functions = {
            "three products, graph": tf.function(products),
            "three products, XLA": tf.function(products, jit_compile=True),
            "plain eager": with_gradient(plain_eager),
        }
        for name, settings in LOSS_ROWS.items():
            # Labels go through `__call__` as in `fit`.
            loss = LOSSES[name](**settings)
            functions[f"{name}, graph"] = tf.function(with_gradient(loss))
            functions[f"{name}, XLA"] = tf.function(with_gradient(loss), jit_compile=True)
        found = medians(functions, batch(size, options.dim), options.seconds)
        print(f"\nB = {size}")
        for name, value in found.items():
            mode = "XLA" if name.endswith("XLA") else "graph"
            ratio = value / found[f"three products, {mode}"]
            print(f"  {name:<32}{value:>10.2f} ms{ratio:>8.2f} x")


if __name__ == "__main__":
    main()
