"""Peak memory and time of a training step against the micro-batch.

    python tests/benchmarks/benchmark_micro_batches.py [--batch 2048] [--micro-batches 0 32 ...]

A small convolutional network at 32 x 32, each row a process of its own; 0 is the plain step. Writes
`micro_batches.json` and, beside it, `micro_batches.png`.
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
SIDE = 32


def measure(batch, micro_batch):
    """Megabytes that steps add to the peak of this process, and processor seconds of a step."""
    import keras
    import numpy as np
    import tensorflow as tf

    from mdl_tf.embedding import set_batch_norm
    from mdl_tf.losses import MarginDiscriminateLoss, MetricModel

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    for channels in (32, 64, 128):
        x = keras.layers.Conv2D(channels, 3, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dense(64)(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(inputs, keras.layers.UnitNormalization()(x))
    set_batch_norm(network, "statistics")
    model = MetricModel(network, MarginDiscriminateLoss(), micro_batch=micro_batch or None)
    model.compile(keras.optimizers.SGD(0.1))
    images = np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 3)).astype(np.float32)
    labels = np.arange(batch) // 4
    images, labels = tf.constant(images), tf.constant(labels)
    model.train_on_batch(images[:8], labels[:8])
    before, began = peak(), time.process_time()
    losses = [float(model.train_on_batch(images, labels)[0]) for _ in range(2)]
    seconds = (time.process_time() - began) / 2
    return {"megabytes": peak() - before, "seconds": seconds, "loss": losses[0]}


def draw(results, path):
    """Memory and time against the micro-batch, as `path`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in results["rows"] if row["micro_batch"]]
    plain = next(row for row in results["rows"] if not row["micro_batch"])
    sizes = [row["micro_batch"] for row in rows]
    figure, both = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axes, key, title, unit in zip(
        both,
        ("megabytes", "seconds"),
        ("Memory", "Processor time"),
        ("megabytes added", "seconds a step"),
        strict=True,
    ):
        axes.plot(sizes, [row[key] for row in rows], "o-", label="micro-batches")
        axes.axhline(plain[key], color="tab:orange", label=f"plain step, B = {results['batch']:,}")
        axes.set(xscale="log", ylim=(0, None), xlabel="micro-batch", ylabel=unit, title=title)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument(
        "--micro-batches", type=int, nargs="+", default=[0, 32, 64, 128, 256, 512, 1024]
    )
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.batch, options.one)))
        return
    results = {"machine": machine(), "batch": options.batch, "rows": []}
    for micro_batch in options.micro_batches:
        command = [
            sys.executable,
            __file__,
            "--batch",
            str(options.batch),
            "--one",
            str(micro_batch),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = {"micro_batch": micro_batch, **json.loads(done.stdout.splitlines()[-1])}
        print(
            f"{micro_batch or 'plain':>6} {row['megabytes']:8.0f} MB {row['seconds']:8.2f} s "
            f"loss {row['loss']:.6f}",
            flush=True,
        )
        results["rows"].append(row)
    (HERE / "micro_batches.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, HERE / "micro_batches.png")


if __name__ == "__main__":
    main()
