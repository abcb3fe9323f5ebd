"""Time and memory of groups without labels, by method, and how well they fit the classes.

    python tests/benchmarks/benchmark_groups.py                      # 100,000 x 64, 5,000 classes
    python tests/benchmarks/benchmark_groups.py --n 10000 --hdbscan

Clustered unit vectors: classes of 20 around random centres. Each method has its own process; memory
is the peak of that process, vectors included. Results are added to `groups.json`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import machine

RESULTS = Path(__file__).with_suffix("").with_name("groups.json")
WIDTH, EACH, SPREAD = 64, 20, 0.06
# Pairs of one class are about 0.6 apart, of two about 1.4.
CASES = {
    "near-duplicates within 0.14": ("components", {"threshold": 0.14}),
    "agglomerative up to 0.8": ("linkage", {"threshold": 0.8}),
    "agglomerative up to 1.2": ("linkage", {"threshold": 1.2}),
    "k-means, 100": ("kmeans", {"k": 100}),
    "k-means, 1,000": ("kmeans", {"k": 1000}),
    "k-means, 5,000": ("kmeans", {"k": 5000}),
    "HDBSCAN": ("hdbscan", {"smallest": 5}),
}


def draw(n):
    """Vectors `(n, D)` float32 and their classes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n // EACH, WIDTH))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = rng.integers(0, len(centres), n)
    vectors = centres[labels] + SPREAD * rng.normal(size=(n, WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def measure(case, n):
    """One method on n vectors."""
    from mdl_tf.index import grouping
    from mdl_tf.metrics import nmi

    functions = {
        "components": grouping.find_components,
        "linkage": grouping.group_by_linkage,
        "kmeans": grouping.group_by_k_means,
        "hdbscan": grouping.group_by_density,
    }
    name, options = CASES[case]
    vectors, labels = draw(n)
    import sklearn.cluster  # noqa: F401

    start, cpu = time.perf_counter(), time.process_time()
    try:
        groups = functions[name](vectors, **options)
        told = {"groups": len(np.unique(groups)), "nmi": round(nmi(labels, groups), 3)}
    except grouping.TooMany as error:
        told = {"refused": str(error)}
    return {
        "case": case,
        "n": n,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **told,
        "machine": machine(),
    }


def main():
    """Measure the cases, each in its own process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--hdbscan", action="store_true", help="HDBSCAN alone")
    parser.add_argument("--case")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.n)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    for case in CASES:
        if (case == "HDBSCAN") != args.hdbscan:
            continue
        command = [sys.executable, __file__, "--case", case, "--n", str(args.n)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        print(result, flush=True)
        results = [r for r in results if (r["case"], r["n"]) != (case, args.n)] + [result]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
