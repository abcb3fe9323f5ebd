"""What a share of a batch costs, and a training step on one and on two replicas of the CPU.

    python tests/benchmarks/benchmark_replicas.py loss [--batch-size 4096] [--dim 128]
    python tests/benchmarks/benchmark_replicas.py step [--batch-size 128]

`loss`: seconds and peak memory, forward and backward, of the Margin-based Discriminate Loss of
B / r anchors against B images, each r in a fresh process. `step`: seconds of a step of `conv4` at
32 x 32 pixels, with 1 and 2 virtual devices. Prints JSON, which `replicas.json` keeps.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SHARES = (1, 2, 4, 8)
STEPS, SKIPPED = 14, 4


def measure_loss(batch_size, dim, share):
    """Median seconds and added peak memory of one replica's part of the loss."""
    import numpy as np
    import tensorflow as tf

    from mdl_tf.losses import margin_discriminate_loss
    from mdl_tf.losses.references import References

    rng = np.random.default_rng(0)
    labels = tf.constant(np.repeat(np.arange(batch_size // 4), 4), tf.int32)
    vectors = rng.normal(size=(batch_size, dim)).astype(np.float32)
    vectors = tf.constant(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    rows = batch_size // share

    @tf.function
    def part(vectors):
        places = tf.range(rows)
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            references = References(labels, vectors, places, batch_size)
            losses = margin_discriminate_loss(labels[:rows], vectors[:rows], references=references)
            loss = tf.reduce_sum(losses) / batch_size
        return loss, tape.gradient(loss, vectors)

    part.get_concrete_function(tf.TensorSpec(vectors.shape))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        part(vectors)[1].numpy()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "batch_size": batch_size,
        "dim": dim,
        "anchors": rows,
        "seconds": statistics.median(seconds[2:]),
        "megabytes": (peak - before) / 1024,
    }


def measure_step(batch_size, devices):
    """Median seconds of a training step."""
    from mdl_tf import distribute

    strategy = distribute.strategy(devices)
    import keras
    import numpy as np

    from mdl_tf import backbones, batches
    from mdl_tf.datasets import ImageSet
    from mdl_tf.embedding import embedding_model
    from mdl_tf.losses import MarginDiscriminateLoss, MetricModel

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(64), 8)
    images = rng.integers(0, 256, (512, 32, 32, 3), np.uint8)
    names = tuple(map(str, range(64)))
    train = ImageSet("train", labels, names, images=images)
    with strategy.scope():
        embedder = embedding_model(*backbones.build("conv4", (32, 32, 3)))
        model = MetricModel(embedder, MarginDiscriminateLoss())
        model.compile("adam")
    stream = batches.balanced(
        train,
        classes_per_batch=batch_size // 4,
        images_per_class=4,
        image_size=(32, 32),
        strategy=strategy,
    )
    seconds = []

    class Clock(keras.callbacks.Callback):
        """From the end of a step to the end of the next: data are read in between."""

        last = None

        def on_train_batch_end(self, batch, logs=None):
            float(logs["loss"])
            now = time.perf_counter()
            if self.last is not None:
                seconds.append(now - self.last)
            self.last = now

    model.fit(stream, steps_per_epoch=STEPS, verbose=0, shuffle=False, callbacks=[Clock()])
    return {
        "batch_size": batch_size,
        "devices": devices,
        "seconds": statistics.median(seconds[SKIPPED:]),
    }


def main():
    """Measure each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("loss", "step"))
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--case", type=int, help="one case, in this process")
    args = parser.parse_args()
    size = args.batch_size or {"loss": 4096, "step": 128}[args.what]
    if args.case:
        if args.what == "loss":
            report = measure_loss(size, args.dim, args.case)
        else:
            report = measure_step(size, args.case)
        print(json.dumps(report))
        return
    rows = []
    for case in SHARES if args.what == "loss" else (1, 2):
        given = [args.what, "--batch-size", str(size), "--dim", str(args.dim), "--case", str(case)]
        done = subprocess.run(
            [sys.executable, __file__, *given], capture_output=True, text=True, check=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(json.dumps({args.what: rows}, indent=2))


if __name__ == "__main__":
    main()
