"""The default sharpness and learning rate of our loss, where training pays: on validation classes.

    python tests/benchmarks/study_sharpness.py layer --data-dir features.npz
    python tests/benchmarks/study_sharpness.py whole --data-dir images

`layer` trains an embedding layer on features, `whole` fine-tunes EfficientNet-Lite0 at 112 pixels,
both from the whitening that they begin with; `far` is `whole` with the last 16 classes by name for
validation, which are less like those that are trained on than 16 drawn at random. The other half of
the classes, the test, is read and never measured. A run takes its settings, batches and best epoch
from `mdl_tf.runs`. What is done is in `sharpness.json` beside this script, and is not done again:
the same command goes on.
"""

import argparse
import itertools
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import studies
from scipy import stats

from mdl_tf.config import TrainConfig
from mdl_tf.runs.data import read_data

RESULTS = Path(__file__).with_name("sharpness.json")
WHOLE = {
    "dataset": "folder",
    "backbone": "efficientnet_lite0",
    "weights": "imagenet",
    "image_size": 112,
    "shrinkage": 1.0,
    "epochs": 3,
    "steps_per_epoch": 70,
}
TASKS = {
    # 16 of the 49 training classes validate; 360 steps of 32 x 4.
    "layer": (
        {"dataset": "npz", "backbone": "none", "shrinkage": 1.0, "validation": 1 / 3},
        {"sharpness": (7.0, 10.0, 14.0, 20.0, 28.0, 40.0), "rate": (1e-4, 3e-4, 1e-3, 3e-3)},
    ),
    "whole": (
        {**WHOLE, "validation": 1 / 3},
        {"sharpness": (10.0, 14.0, 20.0, 28.0), "rate": (1e-4, 3e-4, 6e-4, 1e-3)},
    ),
    # The last of three folds by name.
    "far": (
        {**WHOLE, "folds": 3, "fold": 3},
        {"sharpness": (10.0, 20.0), "rate": (1e-4, 3e-4)},
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    settings, grid = TASKS[args.task]
    common = TrainConfig(**settings, data_dir=args.data_dir, tensorboard=False)
    data = read_data(common)
    done = studies.read_done(RESULTS)
    # Seed by seed, so that an interruption leaves equal numbers of them.
    for seed, sharpness, rate in itertools.product(range(args.seeds), *grid.values()):
        key = f"{args.task} sharpness {sharpness:g} rate {rate:g} seed {seed}"
        if key in done:
            continue
        studies.keep_done(RESULTS, done, key, train(common, data, sharpness, rate, seed))
    print(table(args.task, done, grid))


def train(common, data, sharpness, rate, seed):
    """One run: MAP@R of the validation classes at the start and after each epoch."""
    fields = {**common.to_dict(), "loss_args": {"sharpness": sharpness}, "seed": seed}
    keep = studies.train(TrainConfig(**{**fields, "learning_rate": rate}), data)
    rows = [keep.start, *keep.history]
    return {
        name: [round(row[f"val_{name}"], 5) for row in rows] for name in ("map_at_r", "recall_at_1")
    }


def table(task, done, grid):
    """Mean of the best epoch, and half of the 95 % interval over the seeds."""
    lines = ["sharpness  rate     MAP@R            Recall@1         start   seeds"]
    for sharpness, rate in itertools.product(*grid.values()):
        begin = f"{task} sharpness {sharpness:g} rate {rate:g} seed "
        runs = [run for key, run in done.items() if key.startswith(begin)]
        if not runs:
            continue
        cells = []
        for name in ("map_at_r", "recall_at_1"):
            # Of the epoch that a run keeps.
            best = [run[name][1 + int(np.argmax(run["map_at_r"][1:]))] for run in runs]
            half = stats.sem(best) * stats.t.ppf(0.975, len(best) - 1) if len(best) > 1 else np.nan
            cells.append(f"{np.mean(best):.4f} ± {half:.4f}")
        start = np.mean([run["map_at_r"][0] for run in runs])
        lines.append(f"{sharpness:9g}  {rate:<7g}  {'  '.join(cells)}  {start:.4f}  {len(runs)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
