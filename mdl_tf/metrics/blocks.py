"""Work by blocks: on all cores, and in bounded memory."""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def run_in_threads(work, queries, rows):
    """Runs `work(block)` for blocks of at most `rows` of the `queries`, on all cores."""
    blocks = [queries[start : start + rows] for start in range(0, len(queries), rows)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # NumPy lets go of the interpreter lock, so every core works on its own block, and the product
    # must not start threads of its own: they wait for each other by spinning, ten times slower on
    # a busy machine. threadpoolctl comes with scikit-learn; without it, one block at a time.
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        limit, cores = contextlib.nullcontext(), 1
    else:
        limit = threadpool_limits(limits=1, user_api="blas")
    with limit, ThreadPoolExecutor(cores) as pool:
        for _ in pool.map(work, blocks):
            pass


def measure_distances(a, i, b, j):
    """Euclidean distances of `a[i]` and `b[j]` by differences in float64, (n,)."""
    result = np.empty(len(i))
    step = max(1, 2**20 // a.shape[1])
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        difference = a[i[part]].astype(np.float64) - b[j[part]]
        result[part] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return result
