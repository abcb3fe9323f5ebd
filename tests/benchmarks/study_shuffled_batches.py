"""What a shuffled batch costs: the same network, loss and steps, with and without P x K batches.

`conv4` is trained on glyphs with our loss at 32 x 32, in batches of 128: of 32 classes x 4 images,
and of images drawn at random from the 900 classes, as `Dataset.shuffle` gives them.

    python tests/benchmarks/study_shuffled_batches.py [--steps 250] [--seeds 3]

writes the share of images that have no positive in their batch, and Recall@1 and MAP@R on the test
classes, for each seed and as a mean.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from machine import machine

from mdl_tf import backbones, batches, datasets
from mdl_tf.embedding import embed, embedding_model
from mdl_tf.losses import MarginDiscriminateLoss
from mdl_tf.metrics import evaluate

SIZE, P, K = (32, 32), 32, 4


def shuffled(image_set, seed):
    """Batches of images drawn without looking at their classes."""
    images = np.repeat(image_set.images[..., None], 3, axis=-1).astype(np.float32)
    stream = tf.data.Dataset.from_tensor_slices((images, image_set.labels))
    return stream.shuffle(len(image_set), seed=seed).repeat().batch(P * K)


def lonely(stream, count=50):
    """Share of images without another one of their class in the batch."""
    shares = []
    for _, labels in stream.take(count):
        _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        shares.append((sizes[codes] == 1).mean())
    return np.mean(shares)


def train(image_set, test, kind, seed, steps):
    """Recall@1 and MAP@R on the test classes, and the share of images without a positive."""
    keras.utils.set_random_seed(seed)
    model = embedding_model(*backbones.build("conv4", (*SIZE, 3)), embedding_dim=64)
    model.compile("adam", loss=MarginDiscriminateLoss())
    if kind == "shuffled":
        stream = shuffled(image_set, seed)
    else:
        stream = batches.balanced(image_set, P, K, SIZE, seed=seed)
    model.fit(stream, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)
    report = evaluate(*embed(model, batches.ordered(test, image_size=SIZE)))
    return report["recall_at_1"], report["map_at_r"], lonely(stream)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print(machine())
    image_set, _, test = datasets.load("glyphs")
    for kind in ("P x K", "shuffled"):
        rows = [train(image_set, test, kind, seed, args.steps) for seed in range(args.seeds)]
        for row in (*rows, np.mean(rows, axis=0)):
            recall, map_at_r, share = row
            print(f"{kind:<9} Recall@1 {recall:.3f}  MAP@R {map_at_r:.3f}  no positive {share:.0%}")


if __name__ == "__main__":
    main()
