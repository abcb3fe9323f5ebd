"""Time, memory and recall of the index, by kind: a million clustered vectors, or features.

    python tests/benchmarks/benchmark_index.py                          # 1,000,000 x 128
    python tests/benchmarks/benchmark_index.py --count 100000 --kinds exact ivf
    python tests/benchmarks/benchmark_index.py --features features.npz
    python tests/benchmarks/benchmark_index.py --server postgresql://user@host/db --count 100000

The index is filled once; each kind is then made, and opened in a process of its own, which is what
a search after a restart costs. Clustered vectors: 4 a vector and class centre on average of 250,000
classes, unit length; queries are further vectors of these classes. Memory is what the process holds
beyond the imports: its own, and the pages of files that it has mapped, which the system may take
back. Recall is of the 10 nearest of the 100 queries, against exact search.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest.mock
from pathlib import Path

import numpy as np
from machine import machine

ROOT = Path(__file__).resolve().parents[2]
QUERIES, K = 100, 10


def clustered(count, width):
    """Vectors, and queries of the same classes."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(2, count // 250), width), dtype=np.float32)

    def draw(number):
        # A class is some three times as wide as its neighbours are far in part of the numbers.
        vectors = centres[rng.integers(0, len(centres), number)]
        vectors = vectors + 0.7 * rng.standard_normal((number, width), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return np.concatenate([draw(2**16) for _ in range(-(-count // 2**16))])[:count], draw(QUERIES)


def data(options):
    if options.features is None:
        return clustered(options.count, options.width)
    with np.load(options.features) as file:
        key = "features" if "features" in file else "embeddings"
        vectors = file[key].astype(np.float32)
    is_query = np.arange(len(vectors)) % (len(vectors) // QUERIES) == 0
    return vectors[~is_query], vectors[is_query][:QUERIES]


def held():
    """Bytes of memory of this process: its own, and of mapped files."""
    text = Path("/proc/self/status").read_text()
    sizes = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in text.splitlines()
        if line.startswith("Rss")
    }
    return np.array([sizes["RssAnon"], sizes["RssFile"]])


def measure_open(path, queries):
    """What a new process pays: opening, the first query, one more, a hundred, memory."""
    from mdl_tf.index import Index

    # Packages are loaded before, as a server has them.
    Index.build(None, np.eye(4)).search(np.eye(4))
    if list(Path(path).glob("*.faiss")):
        import faiss  # noqa: F401
    before, times = held(), {}
    queries = np.load(queries)

    def timed(name, call):
        start = time.perf_counter()
        result = call()
        times[name] = time.perf_counter() - start
        return result

    index = timed("open", lambda: Index.open(path))
    timed("first query", lambda: index.search(queries[:1], K))
    start = time.perf_counter()
    for i in range(20):
        index.search(queries[i : i + 1], K)
    times["one query"] = (time.perf_counter() - start) / 20
    hits = timed("a hundred", lambda: index.search(queries, K))
    own, mapped = (held() - before).tolist()
    names = [[hit.name for hit in row] for row in hits]
    return {**times, "own memory": own, "mapped": mapped, "names": names}


def in_a_new_process(path, queries):
    code = (
        "import json, sys; import benchmark_index as b;"
        f"print(json.dumps(b.measure_open({str(path)!r}, {str(queries)!r})))"
    )
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment))


def measure_kind(index, kind, path, queries, truth):
    from mdl_tf.index.approximate import Approximate

    row, build = {"kind": kind}, Approximate.build

    def timed(*arguments):
        start = time.perf_counter()
        made = build(*arguments)
        row["train and fill"] = time.perf_counter() - start
        return made

    with unittest.mock.patch.object(Approximate, "build", timed):
        start = time.perf_counter()
        told = index.set_kind(kind)
        row["all with recall"] = time.perf_counter() - start
    row["settings"], row["told recall"] = told.settings, told.recall
    row["file"] = sum(file.stat().st_size for file in path.glob("*.faiss"))
    row |= in_a_new_process(path, queries)
    names = row.pop("names")
    truth = truth or names
    pairs = zip(truth, names, strict=True)
    row["recall@10"] = float(np.mean([len(set(a) & set(b)) / K for a, b in pairs]))
    new, names = np.load(queries), [f"new {i}" for i in range(QUERIES)]
    for what, call in (
        ("add 100", lambda: index.add(new, names=names)),
        ("remove 100", lambda: index.remove(names)),
    ):
        start = time.perf_counter()
        call()
        row[what] = time.perf_counter() - start
    print(json.dumps(row), flush=True)
    return row, truth


def measure_folder(options, folder):
    from mdl_tf.index import Index

    vectors, new = data(options)
    queries, path = folder / "queries.npy", folder / "i.index"
    np.save(queries, new)
    index = Index.create(path, None)
    start = time.perf_counter()
    index.add(vectors)
    result = {"vectors": vectors.shape, "fill": time.perf_counter() - start, "kinds": []}
    result["rows"] = (path / "rows.sqlite").stat().st_size
    truth = None
    for kind in options.kinds:
        row, truth = measure_kind(index, kind, path, queries, truth)
        result["kinds"].append(row)
    return result


def measure_server(options):
    from mdl_tf.index import Index

    vectors, new = data(options)
    index = Index.connect(options.server, name="benchmark")
    start = time.perf_counter()
    index.add(vectors)
    result = {"vectors": vectors.shape, "fill": time.perf_counter() - start, "kinds": []}
    truth = None
    for kind in options.kinds:
        row = {"kind": kind}
        start = time.perf_counter()
        told = index.set_kind(kind)
        row["all with recall"] = time.perf_counter() - start
        row["settings"], row["told recall"] = told.settings, told.recall
        index.search(new[:1], K)
        start = time.perf_counter()
        names = [[hit.name for hit in index.search(q[None], K)[0]] for q in new[:20]]
        row["one query"] = (time.perf_counter() - start) / 20
        truth = truth or names
        pairs = zip(truth, names, strict=True)
        row["recall@10"] = float(np.mean([len(set(a) & set(b)) / K for a, b in pairs]))
        for what, call in (
            ("add 100", lambda: index.add(new, names=[f"new {i}" for i in range(QUERIES)])),
            ("remove 100", lambda: index.remove([f"new {i}" for i in range(QUERIES)])),
        ):
            start = time.perf_counter()
            call()
            row[what] = time.perf_counter() - start
        print(json.dumps(row), flush=True)
        result["kinds"].append(row)
    index.delete()
    return result


def main():
    parser = argparse.ArgumentParser(description="The index by kind.")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--features", help=".npz file with features or embeddings")
    parser.add_argument("--server", help="a PostgreSQL server with pgvector")
    parser.add_argument("--kinds", nargs="+", default=["exact", "flat", "ivf", "hnsw", "pq"])
    parser.add_argument("-o", "--output", help="JSON file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="benchmark-index-"))
    try:
        told = {"machine": machine()}
        told |= measure_server(options) if options.server else measure_folder(options, folder)
        told["machine after"] = machine()
    finally:
        shutil.rmtree(folder)
    print(json.dumps(told, indent=1))
    if options.output:
        Path(options.output).write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
