"""Everything that wants a GPU, as one Markdown table, in less than ten minutes.

    python tests/benchmarks/benchmark_gpu.py            # on a machine with a GPU
    python tests/benchmarks/benchmark_gpu.py --quick    # on any: small sizes, to see that it works

Every loss in float32 with TensorFloat-32 off and on, of embeddings in half precision, as a graph
and under XLA; our loss dense and in tiles; training steps of Inception-BN and EfficientNet-Lite; a
whole small training, with the caches. Send the table to the project, or put it into
`tests/benchmarks/README.md`.

XLA compiles for minutes, so the parts of the tables are spread over processes that share the GPU;
while one of them takes a time, the others may compile, and compute nothing.
"""

import argparse
import contextlib
import functools
import io
import multiprocessing
import os
import platform
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Several processes share its memory.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

import keras
import numpy as np
import tensorflow as tf
from machine import machine

from mdl_tf import backbones
from mdl_tf.embedding import embedding_model
from mdl_tf.losses import LOSSES
from mdl_tf.losses.class_base import ClassLoss

# name: dtype of the embeddings, TensorFloat-32.
PRECISIONS = {
    "float32": ("float32", False),
    "TF32": ("float32", True),
    "bfloat16": ("bfloat16", True),
    "float16": ("float16", True),
}
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
# Held while a time is taken, by one process at a time.
alone = contextlib.nullcontext()


def device():
    """The accelerator in words."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"no GPU: {machine()}"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"{len(gpus)} x {details.get('device_name', 'GPU')}, on {machine()}"


def memory_peak(function, *arguments):
    """Megabytes at most in use on the GPU while a function runs; `None` without a GPU."""
    if not tf.config.list_physical_devices("GPU"):
        function(*arguments)
        return None
    tf.config.experimental.reset_memory_stats("GPU:0")
    before = tf.config.experimental.get_memory_info("GPU:0")["current"]
    function(*arguments)
    return (tf.config.experimental.get_memory_info("GPU:0")["peak"] - before) / 2**20


def median_of(seconds, function, *arguments):
    """Median milliseconds of a call, in a block of so many seconds."""
    function(*arguments)  # compiles
    with alone:
        function(*arguments)
        times, end = [], time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            began = time.perf_counter()
            function(*arguments)
            times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def table(title, head, rows):
    """Print a Markdown table."""
    print(f"\n## {title}\n")
    print(f"| {' | '.join(head)} |")
    print("|" + "---|" * len(head), flush=True)
    for row in rows:
        print(f"| {' | '.join(_cell(value) for value in row)} |", flush=True)


def _cell(value):
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return "-" if value is None else str(value)


def make_step(name, size, dim, jit, **settings):
    """A function of labels and embeddings to the loss and its gradient."""
    classes = size // 4
    by_class = {"num_classes": classes} if issubclass(LOSSES[name], ClassLoss) else {}
    loss = LOSSES[name](**by_class, **settings)
    keras.utils.set_random_seed(0)
    loss.attach(
        {
            key: tf.Variable(initializer(shape))
            for key, (shape, initializer) in loss.weight_specs(dim).items()
        }
    )

    def step(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(labels, x)
        return value, tape.gradient(value, x)

    return tf.function(step, jit_compile=jit, autograph=False)


def call_step(step, labels, x):
    """Run a step and wait for it."""
    step(labels, x)[0].numpy()


def make_batch(size, dim):
    """Labels, and unit vectors near the centres of their classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(size) // 4
    x = rng.normal(size=(size // 4, dim))[labels] + rng.normal(size=(size, dim))
    return tf.constant(labels), (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def loss_row(name, size, dim, seconds):
    """Times of a loss, and how far loss and gradient are from float64 on the processor."""
    labels, x = make_batch(size, dim)
    with tf.device("CPU"):
        exact, slope = make_step(name, size, dim, False, dtype="float64")(
            labels, tf.constant(x, tf.float64)
        )
    row = [f"`{name}`"]
    for dtype, tf32 in PRECISIONS.values():
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        batch = labels, tf.cast(x, dtype)
        for jit in (False, True):
            step = make_step(name, size, dim, jit)
            row.append(median_of(seconds, call_step, step, *batch))
            value, gradient = step(*batch)
        off = np.abs(tf.cast(gradient, tf.float64) - slope).max() / np.abs(slope).max()
        row.append(f"{abs(float(value) / float(exact) - 1):.0e}, {off:.0e}")
    return [row]


def tile_rows(size, tile, dim, seconds):
    """Our loss, dense or in tiles."""
    tf.config.experimental.enable_tensor_float_32_execution(True)
    labels, x = make_batch(size, dim)
    x, rows = tf.constant(x), []
    for jit in (False, True):
        step = make_step("margin_discriminate", size, dim, jit, tile=tile)
        try:
            peak = memory_peak(call_step, step, labels, x)
            spent = median_of(seconds, call_step, step, labels, x)
        except (tf.errors.ResourceExhaustedError, tf.errors.InternalError) as error:
            # XLA says it of a kernel for which no memory is left, too.
            spent, peak = type(error).__name__, None
        form = "dense" if tile is None else f"tile={tile}"
        rows.append([f"{size:,}", form, "XLA" if jit else "graph", spent, peak])
    return rows


def network_rows(name, side, policy, batch, seconds):
    """Training steps a second of a network, in one precision."""
    images = tf.constant(
        np.random.default_rng(0).integers(0, 256, (batch, side, side, 3)).astype(np.float32)
    )
    labels, rows = tf.constant(np.arange(batch) // 4), []
    for jit in (False, True):
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(0)
        try:
            model = embedding_model(*backbones.build(name, (side, side, 3)), embedding_dim=64)
            loss = LOSSES["margin_discriminate"]()
            model.compile(keras.optimizers.SGD(1e-3), loss=loss, jit_compile=jit)
        finally:
            keras.config.set_dtype_policy("float32")

        def step(model=model):
            return float(np.ravel(model.train_on_batch(images, labels))[0])

        milliseconds = median_of(seconds, step)
        rows.append(
            [
                f"{name}, {side} x {side}",
                policy,
                "XLA" if jit else "graph",
                1e3 / milliseconds,
                batch * 1e3 / milliseconds,
                "finite" if np.isfinite(step()) else "NOT FINITE",
            ]
        )
    return rows


def training_row(cache, policy, quick):
    """A whole run of the command line's own function."""
    from mdl_tf.config import TrainConfig
    from mdl_tf.runs import Run, train

    config = TrainConfig(
        dataset="digits" if quick else "glyphs",
        backbone="conv4",
        image_size=16 if quick else 32,
        epochs=1 if quick else 2,
        steps_per_epoch=3 if quick else 45,
        classes_per_batch=2 if quick else 32,
        cache=cache,
        policy=policy,
        clustering=False,
        tensorboard=False,
    )
    with alone, tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = Run.create(config, f"{folder}/run")
        # Progress lines would cut the table.
        with contextlib.redirect_stdout(io.StringIO()):
            results = train(config, run, report=lambda line: None)
        spent = time.perf_counter() - began
    recalls = [results[name]["recall_at_1"] for name in ("untrained", "trained")]
    return [[config.dataset, cache, policy, spent, *recalls]]


def plan(quick):
    """The tables: title, head, and the calls that give their rows, each to run in any process."""
    seconds, size = (0.01, 64) if quick else (0.2, 2048)
    head = ["loss"]
    for name in PRECISIONS:
        head += [f"{name}, graph ms", "XLA ms", "off: loss, gradient"]
    names = ("margin_discriminate", "proxy_anchor") if quick else LOSSES
    losses = [functools.partial(loss_row, name, size, 128, seconds) for name in names]
    tiles = [
        functools.partial(tile_rows, size, tile, 128, seconds)
        for size in ((256,) if quick else (2048, 8192, 32768))
        for tile in ((None, 64) if quick else (None, 256, 1024))
    ]
    cases = [("inception_bn", 224), ("inception_bn", 64), ("efficientnet_lite0", 224)]
    batch = 8 if quick else 128
    networks = [
        functools.partial(network_rows, name, side, policy, batch, 5 * seconds)
        for name, side in ([("conv4", 16)] if quick else cases)
        for policy in (POLICIES[:1] if quick else POLICIES)
    ]
    trainings = [("ram", "float32")]
    if not quick:
        trainings = [
            ("none", "float32"),
            *trainings,
            ("ram", "mixed_bfloat16"),
            ("disk", "float32"),
        ]
    return [
        (f"Losses, B = {size}, D = 128", head, losses),
        ("Our loss, dense and in tiles", ["B", "form", "mode", "ms", "MB"], tiles),
        (
            f"Training steps, B = {batch}",
            ["network", "policy", "mode", "steps a second", "images a second", "loss"],
            networks,
        ),
        (
            "A whole training",
            ["data", "cache", "policy", "seconds", "Recall@1, untrained", "trained"],
            [functools.partial(training_row, *settings, quick) for settings in trainings],
        ),
    ]


def share(lock):
    """Begin a process that takes its times with this lock."""
    global alone
    alone = lock


def call(part):
    """The rows of a part."""
    return part()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", help="tables whose title has this")
    parser.add_argument("--processes", type=int, help="[1 with --quick, else one for two cores]")
    args = parser.parse_args()
    processes = args.processes or (1 if args.quick else max(1, os.cpu_count() // 2))
    began = time.perf_counter()
    print(f"# {device()}\n")
    print(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, Python "
        f"{platform.python_version()}{', quick: no figure counts' if args.quick else ''}"
    )
    with contextlib.ExitStack() as stack:
        run = map
        if processes > 1:
            # A process that has used a GPU cannot be forked.
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(context.Pool(processes, share, (context.Lock(),)))
            run = pool.imap
        # All are begun before the first is waited for.
        tables = [
            (title, head, run(call, parts))
            for title, head, parts in plan(args.quick)
            if (args.only or "") in title
        ]
        for title, head, parts in tables:
            table(title, head, (row for rows in parts for row in rows))
    print(f"\nAll in {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
