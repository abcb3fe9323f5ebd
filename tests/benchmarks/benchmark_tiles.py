"""Time and memory of our loss against the batch size, dense and a tile of anchors at a time.

    python tests/benchmarks/benchmark_tiles.py [--sizes 2048 ...] [--loss margin_discriminate]

Each row is a process of its own, and gives processor
seconds of a step and what the steps add to its peak of memory. Writes `tiles.json` and beside it
`tiles.png`. The dense form stops where it would take more than `--most-memory`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from machine import machine

HERE = Path(__file__).parent
DIM = 128
SIZES = [2048, 4096, 8192, 16384, 32768, 65536]
FORMS = ("dense", "tiled", "dense, XLA", "tiled, XLA")


def measure(loss, size, form, tile):
    """Processor seconds of a step, and megabytes added to the peak, of this process."""
    import numpy as np
    import tensorflow as tf

    from mdl_tf.losses import LOSSES

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    x = np.random.default_rng(0).normal(size=(size, DIM)).astype(np.float32)
    x = tf.constant(x / np.linalg.norm(x, axis=1, keepdims=True))
    labels = tf.constant(np.arange(size) // 4)
    loss = LOSSES[loss](tile=None if form.startswith("dense") else tile)

    def step(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(labels, x)
        return value, tape.gradient(value, x)

    step = tf.function(step, jit_compile=form.endswith("XLA"), autograph=False)
    # What a product takes for itself is not the loss's.
    tf.matmul(x[:256], x[:256], transpose_b=True)
    compiled = step.get_concrete_function(labels, x)
    before, seconds = peak(), []
    if form.endswith("XLA"):
        step(labels, x)[0].numpy()  # compiles
    for _ in range(1 if size > 8192 else 5):
        began = time.process_time()
        (step if form.endswith("XLA") else compiled)(labels, x)[0].numpy()
        seconds.append(time.process_time() - began)
    return {"seconds": sorted(seconds)[len(seconds) // 2], "megabytes": peak() - before}


def draw(rows, path):
    """Time a pair and memory against the batch size, as `path`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for form in FORMS:
        of_form = [row for row in rows if row["form"] == form]
        if not of_form:
            continue
        sizes = [row["size"] for row in of_form]
        left.plot(sizes, [row["megabytes"] for row in of_form], "o-", label=form)
        right.plot(
            sizes, [1e9 * row["seconds"] / row["size"] ** 2 for row in of_form], "o-", label=form
        )
    left.set(
        xscale="log", yscale="log", xlabel="batch size", ylabel="megabytes added", title="Memory"
    )
    right.set(
        xscale="log",
        ylim=(0, None),
        xlabel="batch size",
        ylabel="nanoseconds",
        title="Processor time a pair",
    )
    sizes = sorted({row["size"] for row in rows})
    for axes in (left, right):
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS[:3])
    parser.add_argument("--loss", default="margin_discriminate")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument(
        "--most-memory", type=int, default=10000, help="megabytes, of the dense form"
    )
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "FORM"), help=argparse.SUPPRESS)
    parser.add_argument("--redraw", action="store_true", help="the picture alone, from tiles.json")
    options = parser.parse_args()
    if options.one:
        size, form = options.one
        print(json.dumps(measure(options.loss, int(size), form, options.tile)))
        return
    path = HERE / "tiles.json"
    results = json.loads(path.read_text()) if path.exists() else {"rows": []}
    if not options.redraw:
        results.update(machine=machine(), loss=options.loss, dim=DIM, tile=options.tile)
    for size in options.sizes if not options.redraw else []:
        for form in options.forms:
            if form.startswith("dense") and 10 * 4 * size**2 > options.most_memory * 2**20:
                continue
            command = [sys.executable, __file__, "--one", str(size), form]
            command += ["--loss", options.loss, "--tile", str(options.tile)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = {"size": size, "form": form, **json.loads(done.stdout.splitlines()[-1])}
            print(
                f"{size:>6} {form:<12} {row['megabytes']:8.0f} MB {row['seconds']:8.2f} s",
                flush=True,
            )
            others = [r for r in results["rows"] if (r["size"], r["form"]) != (size, form)]
            results["rows"] = sorted(
                [*others, row], key=lambda r: (FORMS.index(r["form"]), r["size"])
            )
            path.write_text(json.dumps(results, indent=1) + "\n")
    draw(results["rows"], HERE / "tiles.png")


if __name__ == "__main__":
    main()
