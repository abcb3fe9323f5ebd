"""Training images a second: our stream, cold and cached, beside a plain `tf.data` map.

The map does the same (read, decode, resize to 256 x 256, crop 224, mirror) in the same order of
files at the same parallelism, without a plan, without checks. It is measured with antialiasing,
which photographs larger than 256 pixels need, and without, which is the same for smaller ones and
faster; our stream takes the one that an image needs. The files are generated photographs of a
megapixel, or those of a folder.

    python tests/benchmarks/benchmark_images.py [FOLDER with a subfolder per class] [--fit]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from machine import machine
from PIL import Image

from mdl_tf import batches, datasets
from mdl_tf.backbones import InceptionBN
from mdl_tf.backbones.inception_bn import preprocess_input
from mdl_tf.embedding import embedding_model
from mdl_tf.losses import MarginDiscriminateLoss

P, K, SIZE, CANVAS = 32, 4, 224, 256
RUNS = 5


def generated(folder, classes=40, images=10):
    """Photographs of 1155 x 866: clouds of several scales, some 250 kB each as JPEG."""
    rng = np.random.default_rng(0)
    for c in range(classes):
        (folder / f"class {c:02d}").mkdir(parents=True)
        for i in range(images):
            picture = np.zeros((866, 1155, 3), np.float32)
            for grain, strength in ((6, 70), (40, 40), (250, 20), (866, 9)):
                small = rng.normal(0, strength, (grain, grain, 3)).astype(np.float32)
                channels = [
                    np.asarray(Image.fromarray(small[..., c]).resize((1155, 866), Image.BICUBIC))
                    for c in range(3)
                ]
                picture += np.stack(channels, axis=-1)
            pixels = (picture + 128).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class {c:02d}" / f"{i}.jpg", quality=90)


def plain_map(image_set, steps, antialias):
    """What one writes by hand."""
    plan = batches.BalancedPlan(image_set.labels, P, K)
    order = np.concatenate([plan.batch(step) for step in range(steps)])
    paths = np.array(image_set.paths)[order]

    def example(path, label):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image = tf.image.resize(image, (CANVAS, CANVAS), antialias=antialias)
        image = tf.image.random_crop(image, (SIZE, SIZE, 3))
        return tf.image.random_flip_left_right(image), label

    stream = tf.data.Dataset.from_tensor_slices((paths, image_set.labels[order]))
    stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return stream.batch(P * K, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def ours(image_set, cache, folder):
    return batches.balanced(
        image_set, P, K, (SIZE, SIZE), "paper", cache=cache, cache_dir=folder / "cache"
    )


def rate(stream, steps):
    """Images a second, without the first two batches, while threads and buffers start."""
    iterator = iter(stream)
    for _ in range(2):
        next(iterator)
    start = time.perf_counter()
    for _ in range(steps - 2):
        next(iterator)
    return (steps - 2) * P * K / (time.perf_counter() - start)


def compare(name, image_set, folder, steps):
    maps = {"antialiased map": True, "plain map": False}
    steps_of = {**dict.fromkeys(maps, steps), "cold": steps, "ram": 4 * steps, "disk": 4 * steps}
    streams = {"cold": ours(image_set, "none", folder)}
    for cache in ("ram", "disk"):
        start = time.perf_counter()
        streams[cache] = ours(image_set, cache, folder)
        print(f"{name}: {cache} filled in {time.perf_counter() - start:.1f} s")
    rates = {key: [] for key in steps_of}
    for _ in range(RUNS):
        for key, count in steps_of.items():
            stream = plain_map(image_set, count, maps[key]) if key in maps else streams[key]
            rates[key].append(rate(stream, count))
    medians = {key: statistics.median(values) for key, values in rates.items()}
    print(f"\n{name}: {len(image_set):,} images, batches of {P} x {K} at {SIZE}, medians of {RUNS}")
    for key, value in medians.items():
        low, high = min(rates[key]), max(rates[key])
        ratios = "  ".join(f"{value / medians[name]:5.2f} of the {name}" for name in maps)
        print(f"  {key:<15} {value:7.0f} images/s ({low:.0f} to {high:.0f})  {ratios}")


class Timed(keras.Model):
    """A model whose `fit` notes the time it waits for the next batch."""

    waited = 0.0

    def make_train_function(self, force=False):
        step = tf.function(self.train_step, reduce_retracing=True)

        def train_function(iterator):
            start = time.perf_counter()
            data = next(iterator)
            self.waited += time.perf_counter() - start
            return {key: float(value) for key, value in step(data).items()}

        self.train_function = train_function


def fit_share(image_set, cache, folder, steps=6):
    """Share of the time of `fit` that is spent waiting for data, after a first epoch of one."""
    embedder = embedding_model(InceptionBN(input_shape=(SIZE, SIZE, 3)), preprocess_input)
    model = Timed(embedder.inputs, embedder.outputs)
    model.compile("adam", MarginDiscriminateLoss())
    stream = batches.balanced(
        image_set, 8, 4, (SIZE, SIZE), "paper", cache=cache, cache_dir=folder / "cache"
    )
    options = {"steps_per_epoch": steps, "verbose": 0, "shuffle": False}
    model.fit(stream, epochs=1, **options)
    model.waited = 0.0
    start = time.perf_counter()
    model.fit(stream, epochs=1, **options)
    return model.waited / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", help="photographs, a subfolder per class")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--fit", action="store_true", help="how long `fit` waits, instead")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if not args.folder:
            generated(work / "photographs")
        sets = {} if args.folder else {"generated": work / "photographs"}
        if args.folder:
            sets[Path(args.folder).parent.name] = Path(args.folder)
        for name, folder in sets.items():
            start = time.perf_counter()
            image_set = datasets.load_all("folder", data_dir=folder)
            print(f"\n{name}: checked in {time.perf_counter() - start:.1f} s")
            if args.fit:
                for cache in ("none", "disk"):
                    share = fit_share(image_set, cache, work / name)
                    print(f"{name}: fit with Inception-BN waits {share:.2%}, cache {cache}")
            else:
                compare(name, image_set, work / name, args.steps)


if __name__ == "__main__":
    main()
