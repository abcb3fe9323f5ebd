"""Sharpness, form and distance of our loss for a network that learns from nothing, on glyphs.

`conv4` is trained on 750 classes of characters and measured on the other 250 of the training half;
the test classes are not looked at.

    python tests/benchmarks/study_glyphs.py [--steps 300] [--seed 1]

writes MAP@R and Recall@1 on these 250 classes for each setting.
"""

import argparse
import dataclasses
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from mdl_tf.compare import Comparison, Folder, parse, prepare, trial
from mdl_tf.config import TrainConfig

SETTINGS = (
    *({"sharpness": g} for g in (5.0, 7.0, 10.0, 14.0, 20.0, 32.0)),
    *({"margin": margin} for margin in (0.0, 0.5)),
    {"form": "hinge"},
    {"form": "hardest"},
    # Squared distances of unit vectors are twice the cosine ones.
    *({"distance": "squared_euclidean", "sharpness": g} for g in (7.0, 14.0)),
    *({"distance": "cosine", "sharpness": g} for g in (14.0, 28.0)),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tf.get_logger().setLevel("ERROR")
    config = TrainConfig(
        backbone="conv4",
        image_size=32,
        validation=0.25,
        epochs=2,
        steps_per_epoch=args.steps // 2,
        seed=args.seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        data = prepare.load(Comparison(config, parse("margin_discriminate")), Folder(folder))
        for settings in SETTINGS:
            one = dataclasses.replace(config, loss_args=settings)
            last = trial.train(one, data).record["history"][-1]
            said = " ".join(f"{name}={value}" for name, value in settings.items())
            print(
                f"{said:<45} MAP@R {last['val_map_at_r']:.4f}   "
                f"Recall@1 {last['val_recall_at_1']:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
