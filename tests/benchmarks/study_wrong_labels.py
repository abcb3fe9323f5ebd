"""How many wrong labels the doctor finds, of those of real photographs that were swapped at random.

    python tests/benchmarks/study_wrong_labels.py --data-dir features.npz

Of the classes that are trained on a share of the images exchange their labels, drawn with the seed.
A layer is trained on these as `mdl-tf train` does without a flag, and the doctor looks at the run.
An image that was swapped and is counted is found. What is done is in `wrong_labels.json` beside
this script, and is not done again: the same command goes on.
"""

import argparse
import itertools
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import studies

from mdl_tf import runs
from mdl_tf.config import TrainConfig
from mdl_tf.doctor import examine
from mdl_tf.doctor.suspects import find_suspects

RESULTS = Path(__file__).with_name("wrong_labels.json")
PER_CLASS = (None, 10, 4)  # images; `None` for all
SHARES = (0.0, 0.05, 0.2)
SEEDS = range(3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True)
    args = parser.parse_args()
    with np.load(args.data_dir) as arrays:
        features, labels = arrays["features"], arrays["labels"]
    done = studies.read_done(RESULTS)
    for per_class, share, seed in itertools.product(PER_CLASS, SHARES, SEEDS):
        key = f"images {per_class or 'all'} share {share:g} seed {seed}"
        if key not in done:
            found = look(features, labels, per_class, share, seed)
            studies.keep_done(RESULTS, done, key, found)
    print(table(done))


def look(features, labels, per_class, share, seed):
    """One run: how many labels were swapped, counted, both, and swapped among the first 50."""
    rng = np.random.default_rng(seed)
    rows = np.arange(len(labels))
    trained = np.unique(labels)[: len(np.unique(labels)) // 2]
    if per_class:
        rows = np.sort(
            np.concatenate([rng.permutation(rows[labels == c])[:per_class] for c in trained])
        )
        rows = np.concatenate([rows, np.flatnonzero(~np.isin(labels, trained))])
    given = labels[rows].copy()
    mine = np.flatnonzero(np.isin(given, trained))
    # Exchanged, so that every class keeps its size; a few get a label of their own class again.
    chosen = rng.permutation(mine)[: round(share * len(mine))]
    given[chosen] = np.roll(given[chosen], 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "swapped.npz"
        np.savez(path, features=features[rows], labels=given)
        config = TrainConfig(
            dataset="npz", data_dir=str(path), backbone="none", seed=seed, tensorboard=False
        )
        run = runs.Run.create(config, folder)
        runs.train(config, run, report=lambda line: None)
        data = examine.read_data(run, run.config)
        embeddings = examine.embeddings_of(run, run.config, data.images)
        suspects = find_suspects(embeddings, data.images.labels, data.sides)
    swapped = (given != labels[rows])[data.rows]
    counted = suspects.is_counted
    return {
        "images": len(swapped),
        "swapped": int(swapped.sum()),
        "counted": int(counted.sum()),
        "found": int((counted & swapped).sum()),
        "of_first_50": int(swapped[suspects.order[:50]].sum()),
    }


def table(done):
    """Sums over the seeds."""
    lines = ["images a class  share  images  swapped  of first 50  counted  precision  recall"]
    for per_class, share in itertools.product(PER_CLASS, SHARES):
        begin = f"images {per_class or 'all'} share {share:g} seed "
        found = [row for key, row in done.items() if key.startswith(begin)]
        if not found:
            continue
        total = {name: sum(row[name] for row in found) for name in found[0]}
        first = " ".join(str(row["of_first_50"]) for row in found)
        precision = total["found"] / max(total["counted"], 1)
        recall = total["found"] / max(total["swapped"], 1)
        lines.append(
            f"{per_class or 'all':>14}  {share:5g}  {total['images']:6}  {total['swapped']:7}  "
            f"{first:>11}  {total['counted']:7}  {precision:9.2f}  {recall:6.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
