"""What calms README's first command: settings of Inception-BN from random weights, on glyphs.

    python tests/benchmarks/study_first_command.py --settings rate=0.003 rate=0.001 --seeds 2

Of the 1,000 training characters, which are in the order of a fixed shuffle, the first 667 train and
the last 333 validate. The test is never measured. What is done is in `first_command.json` beside
this script, and is not done again: the same command goes on.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import studies

from mdl_tf.config import TrainConfig
from mdl_tf.runs.data import read_data

RESULTS = Path(__file__).with_name("first_command.json")
NAMES = ("val_map_at_r", "val_recall_at_1", "loss")
# Short names of fields; what is left is a field of `TrainConfig`, or `sharpness`.
SHORT = {
    "rate": "learning_rate",
    "steps": "steps_per_epoch",
    "P": "classes_per_batch",
    "K": "images_per_class",
    "clip": "clip_norm",
    "size": "embedding_dim",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--settings", nargs="*", default=[], metavar="NAME=VALUE[,NAME=VALUE]")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    done = studies.read_done(RESULTS)
    data = None
    for seed in range(args.seeds):
        for setting in args.settings:
            key = f"{setting} seed {seed}"
            if key in done:
                continue
            config = read_setting(setting, seed)
            data = data or read_data(config)
            studies.keep_done(RESULTS, done, key, train(config, data))
    print(table(done))


def read_setting(setting, seed):
    """A config of `rate=0.001,P=16`: 200 steps, the last third of the classes validates."""
    fields = {"epochs": 4, "steps_per_epoch": 50, "learning_rate": 3e-3, "loss_args": {}}
    fields |= {"classes_per_batch": 32, "images_per_class": 4}
    for pair in setting.split(","):
        name, value = pair.split("=")
        value = (
            value
            if name in ("optimizer", "pooling", "batch_norm", "backbone")
            else json.loads(value)
        )
        if name == "sharpness":
            fields["loss_args"] = {name: value}
        else:
            fields[SHORT.get(name, name)] = value
    return TrainConfig(**fields, folds=3, fold=3, seed=seed, tensorboard=False)


def train(config, data):
    """One run: loss, Recall@1 and MAP@R of the validation classes after each epoch, seconds."""
    begin = time.perf_counter()
    keep = studies.train(config, data)
    seconds = time.perf_counter() - begin
    history = {name: [round(row[name], 5) for row in keep.history] for name in NAMES}
    return {**history, "seconds": round(seconds)}


def table(done):
    """The last epoch of each setting: mean and range over its seeds."""
    lines = ["MAP@R                   Recall@1                  s  seeds  setting"]
    settings = {}
    for key, run in done.items():
        settings.setdefault(key.rsplit(" seed ", 1)[0], []).append(run)
    for setting, runs in settings.items():
        cells = []
        for name in NAMES[:2]:
            last = [run[name][-1] for run in runs]
            cells.append(f"{np.mean(last):.4f} ({min(last):.4f}-{max(last):.4f})")
        seconds = np.median([run["seconds"] for run in runs])
        lines.append(f"{'  '.join(cells)}  {seconds:5.0f}  {len(runs):5d}  {setting}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
