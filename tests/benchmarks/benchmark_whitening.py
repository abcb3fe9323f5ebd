"""Seconds and memory of fitting an embedding layer from the data, by number of features.

    python tests/benchmarks/benchmark_whitening.py

Clustered features, drawn, of 5,000 images in 250 classes; embeddings of 512 numbers. Each size has
its own process. The solver of scikit-learn's LDA that whitens within the classes stands beside it;
it chooses no shrinkage, and finds at most one axis less than there are classes.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from machine import machine

IMAGES, CLASSES, EMBEDDING_DIM = 5000, 250, 512
SIZES = (512, 1280, 2048, 4096)
WAYS = ("shrinkage given", "shrinkage chosen", "LDA")


def draw(size):
    """Features `(N, F)` float32 and labels; a class differs more in some directions than others."""
    rng = np.random.default_rng(0)
    spread = np.linspace(2.0, 0.1, size)
    labels = rng.integers(0, CLASSES, IMAGES)
    centres = rng.normal(size=(CLASSES, size))
    features = centres[labels] + rng.normal(size=(IMAGES, size)) * spread
    return features.astype(np.float32), labels


def fit(way, size):
    """Print the seconds that one way takes, and the peak of memory beyond TensorFlow's own."""
    from mdl_tf.embedding import embedding_model, fit_head

    features, labels = draw(size)
    if way == "LDA":
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        found = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.5)
        work = lambda: found.fit(features, labels)  # noqa: E731
    else:
        import keras

        inputs = keras.Input((size,))
        model = embedding_model(keras.Model(inputs, inputs), embedding_dim=EMBEDDING_DIM)
        shrinkage = 1.0 if way == "shrinkage given" else None
        work = lambda: fit_head(model, features, labels, shrinkage=shrinkage)  # noqa: E731
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{seconds:.2f} {(peak - before) / 1024:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return fit(args.one[0], int(args.one[1]))
    print(machine())
    print(f"{'F':>5}  {'way':16}  seconds  MB")
    for size in args.sizes:
        for way in WAYS:
            command = [sys.executable, __file__, "--one", way, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, peak = done.stdout.split()[-2:]
            print(f"{size:5}  {way:16}  {float(seconds):7.1f}  {peak}", flush=True)


if __name__ == "__main__":
    main()
