"""Time and memory of `mdl_tf.metrics.evaluate`, without clustering.

    python tests/benchmarks/benchmark_evaluate.py              # Stanford Online Products' size
    python tests/benchmarks/benchmark_evaluate.py --n 8131     # another size, 5 images a class
    python tests/benchmarks/benchmark_evaluate.py --n 200000 --width 64 --repeats 1
    python tests/benchmarks/benchmark_evaluate.py --all        # and few large classes, collapse

Every measurement has its own process: seconds are the median, memory is the highest peak above
what the process held before, embeddings included. Random unit vectors, D = 128 unless said; the
time hardly depends on the values.

Beside it the plain way: blocks of a float32 product, `argpartition` for the 1000 nearest, sort
those, look up labels, on 2048 queries and scaled up. It gives Recall@K to K = 1000 only, breaks
ties by file order, and lets rounding decide. On a busy machine its threaded product suffers more.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import machine

ROOT = Path(__file__).resolve().parents[2]
KS, PEER_QUERIES = (1, 10, 100, 1000), 2048
# name: images, classes
CASES = {
    "CARS196 test": (8131, 98),
    "1,059 classes": (13_000, 1059),
    "10 classes": (60_000, 10),
    "all equal": (20_000, 4000),
}


def data(name, n, classes, width):
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((n, width), dtype=np.float32)
    embeddings /= np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))[:, None]
    if name == "all equal":
        embeddings[:] = embeddings[0]
    return embeddings, rng.permutation(np.arange(n) % classes)


def plain(embeddings, labels, queries, rows=256):
    """Recall@K as it is usually written, for the first `queries` images."""
    k = min(max(KS), len(labels) - 1)
    hits = np.zeros(len(KS))
    for start in range(0, queries, rows):
        block = np.arange(start, min(start + rows, queries))
        similarity = embeddings[block] @ embeddings.T
        similarity[np.arange(len(block)), block] = -np.inf
        nearest = np.argpartition(similarity, -k, axis=1)[:, -k:]
        by_rank = np.argsort(-np.take_along_axis(similarity, nearest, axis=1), axis=1)
        nearest = np.take_along_axis(nearest, by_rank, axis=1)
        right = labels[nearest] == labels[block, None]
        hits += [right[:, :at].any(axis=1).sum() for at in KS]
    return hits / queries


def measure(what, name, n, classes, width):
    """Runs in its own process; returns wall seconds, processor seconds and bytes."""
    embeddings, labels = data(name, n, classes, width)
    if what == "evaluate":
        from mdl_tf.metrics import evaluate
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    scale = 1
    if what == "evaluate":
        evaluate(embeddings, labels, ks=KS)
    else:
        queries = min(PEER_QUERIES, n)
        plain(embeddings, labels, queries)
        scale = n / queries
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    kilo = 1 if sys.platform == "darwin" else 1024
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * kilo
    return wall * scale, processor * scale, memory


def measured(what, repeats, *case):
    code = (
        "import json, sys; import benchmark_evaluate as b;"
        f"print(json.dumps(b.measure({what!r}, *{case!r})))"
    )
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    runs = [
        json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment))
        for _ in range(repeats)
    ]
    wall, processor, memory = zip(*runs, strict=True)
    return statistics.median(wall), statistics.median(processor), max(memory)


def main():
    parser = argparse.ArgumentParser(description="Time and memory of evaluate().")
    parser.add_argument("--n", type=int, default=60_502, help="images, 5 a class")
    parser.add_argument("--width", type=int, default=128, help="numbers an embedding, D")
    parser.add_argument("--all", action="store_true", help="the other cases too")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many runs")
    options = parser.parse_args()
    cases = {"5 a class": (options.n, -(-options.n // 5))} | (CASES if options.all else {})

    print(machine())
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    print(f"{python}, D = {options.width}, K up to {KS[-1]}")
    print(
        f"{'case':14} {'N':>6} {'C':>6} {'s':>7} {'CPU s':>7} {'MB':>6} {'plain s':>8}  plain / s"
    )
    for name, (n, classes) in cases.items():
        wall, processor, memory = measured(
            "evaluate", options.repeats, name, n, classes, options.width
        )
        peer, _, _ = measured("plain", options.repeats, name, n, classes, options.width)
        print(
            f"{name:14} {n:6} {classes:6} {wall:7.1f} {processor:7.1f} {memory / 1e6:6.0f} "
            f"{peer:8.1f} {peer / wall:10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
