"""How long one image takes in each exported format, beside Keras; and one `mdl-tf search`.

Networks without trained weights, which take the same time: Conv-4 at 32 pixels, EfficientNet-Lite0
at 224. The search is in an index of 200 pictures, a process for each answer, with and without ONNX
Runtime.

    python tests/benchmarks/benchmark_export.py
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine
from PIL import Image

NETWORKS = {"conv4": 32, "efficientnet_lite0": 224}
FORMATS = ("savedmodel", "onnx", "litert", "openvino")
# Hides ONNX Runtime from a process.
SEARCH = (
    "import sys; hidden = sys.argv.pop(1) == 'keras'\n"
    "if hidden: import importlib.util as u; f = u.find_spec; "
    "u.find_spec = lambda n, *a: None if n == 'onnxruntime' else f(n, *a)\n"
    "from mdl_tf.cli import main; sys.exit(main(sys.argv[1:]))"
)


def measure_ms(function, argument, repeats=30):
    """Median and best of some calls in milliseconds, after two that are not counted."""
    times = []
    for _ in range(repeats + 2):
        begin = time.perf_counter()
        function(argument)
        times.append((time.perf_counter() - begin) * 1e3)
    return {"median ms": round(statistics.median(times[2:]), 2), "best ms": round(min(times), 2)}


def measure_network(name, side, folder):
    """Milliseconds and megabytes of a network in Keras and in each format."""
    import importlib

    from mdl_tf.backbones import build
    from mdl_tf.embedding import embedding_model
    from mdl_tf.export import export
    from mdl_tf.export.formats import FORMATS as known

    backbone, preprocess = build(name, (side, side, 3))
    model = embedding_model(backbone, preprocess, embedding_dim=64)
    model.save(folder / f"{name}.keras")
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    pixels = image.astype(np.float32)
    rows = {
        "keras predict": measure_ms(lambda x: model.predict(x, verbose=0), pixels),
        "keras predict_on_batch": measure_ms(model.predict_on_batch, pixels),
    }
    for to, int8 in [*((to, False) for to in FORMATS), ("litert", True)]:
        path = folder / f"{name}{'-int8' * int8}{known[to].suffix}"
        exported = export(model, to, path, int8=int8, images=folder / "photos")
        function = importlib.import_module(f"mdl_tf.export.{to}").load(path)
        rows[to + " int8" * int8] = {
            **measure_ms(function, image),
            "MB": round(exported.size / 1e6, 1),
            "difference": float(f"{exported.difference:.1e}"),
        }
        print(name, to, rows[to + " int8" * int8], flush=True)
    return rows


def measure_search(model, folder, repeats=5):
    """Seconds of `mdl-tf search INDEX QUERY`, each in a process of its own."""
    from mdl_tf.index import Index
    from mdl_tf.index.embedder import open_embedder

    index = folder / f"{model.stem}.index"
    Index.build(model, folder / "photos").save(index)
    open_embedder(index).prepare()
    command = [str(index), str(folder / "photos" / "7.jpg"), "--picture", str(folder / "s.png")]
    rows = {}
    for way in ("keras", "onnx"):
        times = []
        for _ in range(repeats):
            used, begin = os.times(), time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", SEARCH, way, "search", *command], capture_output=True
            )
            assert done.returncode == 0, done.stderr.decode()
            now = os.times()
            processor = sum(now[2:4]) - sum(used[2:4])
            times.append((time.perf_counter() - begin, processor))
        rows[way] = {
            "seconds": round(min(wall for wall, _ in times), 2),
            "processor": round(min(processor for _, processor in times), 2),
        }
        print(model.stem, way, rows[way], flush=True)
    return rows


def main():
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default=Path(__file__).with_name("export.json"))
    args = parser.parse_args()
    measured = {"machine": machine(), "one image": {}, "search": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "photos").mkdir()
        rng = np.random.default_rng(0)
        for i in range(200):
            small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            small.resize((640, 480), Image.BICUBIC).save(folder / "photos" / f"{i}.jpg")
        for name, side in NETWORKS.items():
            measured["one image"][name] = measure_network(name, side, folder)
            measured["search"][name] = measure_search(folder / f"{name}.keras", folder)
            Path(args.output).write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
