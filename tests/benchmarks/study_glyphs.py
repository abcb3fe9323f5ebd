"""Sharpness, margin, form and distance of our loss for a network that learns from nothing: glyphs.

`conv4` is trained on 750 classes of characters and measured on the other 250 of the training half;
the test classes are not looked at.

    python tests/benchmarks/study_glyphs.py [--steps 120] [--seeds 5] [--forms] [--backbone conv4]

writes MAP@R on these 250 classes after each run, and in the end for each sharpness (with `--forms`
for margins, forms and distances) the mean of the seeds and its difference to the default, seed by
seed, with 95 % intervals.
"""

import argparse
import dataclasses
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import studies
import tensorflow as tf

from mdl_tf.compare.report.statistics import interval
from mdl_tf.config import TrainConfig
from mdl_tf.runs.data import read_data

# Beside the default, 10.
SHARPNESS = tuple({"sharpness": g} for g in (5.0, 7.0, 14.0, 20.0, 32.0))
FORMS = (
    *({"margin": margin} for margin in (0.0, 0.1, 0.4)),
    {"form": "hinge"},
    {"form": "hardest"},
    # Squared distances of unit vectors are twice the cosine ones.
    *({"distance": "squared_euclidean", "sharpness": g} for g in (7.0, 14.0)),
    *({"distance": "cosine", "sharpness": g} for g in (14.0, 28.0)),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--forms", action="store_true", help="instead of the sharpness")
    parser.add_argument("--backbone", default="conv4")
    parser.add_argument("--image-size", type=int, default=32)
    args = parser.parse_args()
    tf.get_logger().setLevel("ERROR")
    config = TrainConfig(
        backbone=args.backbone,
        image_size=args.image_size,
        validation=0.25,
        epochs=2,
        steps_per_epoch=args.steps // 2,
    )
    studied = ({}, *(FORMS if args.forms else SHARPNESS))
    found = {said(settings): [] for settings in studied}
    data = read_data(config)
    for seed in range(args.seeds):
        for settings in studied:
            one = dataclasses.replace(config, loss_args=settings, seed=seed)
            last = studies.train(one, data).history[-1]
            found[said(settings)].append(last["val_map_at_r"])
            print(
                f"seed {seed}  {said(settings):<45} MAP@R {last['val_map_at_r']:.4f}   "
                f"Recall@1 {last['val_recall_at_1']:.4f}",
                flush=True,
            )
    print(f"\n{args.steps} steps, {args.seeds} seeds{'':<28}MAP@R         less default")
    for settings, values in found.items():
        off = interval(a - b for a, b in zip(values, found["default"], strict=True))
        mean = sum(values) / len(values)
        half = "" if off.half is None else f" ± {off.half:.4f}"
        print(f"{settings:<45}{mean:.4f}   {off.mean:+.4f}{half}")


def said(settings):
    return " ".join(f"{name}={value}" for name, value in settings.items()) or "default"


if __name__ == "__main__":
    main()
