"""The table of a comparison as the page beside this script has it.

    python tests/benchmarks/compare_table.py runs/compare-npz-none

The folder's own `report.md` says more; `results.csv` there has every run.
"""

import argparse

from mdl_tf.compare import Folder
from mdl_tf.compare.report import baselines, goal, statistics

METRICS = {
    "recall_at_1": "Recall@1",
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    "nmi": "NMI",
    "f1": "F1",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="of a comparison")
    results = Folder.open(parser.parse_args().folder).results()
    reference = statistics.find_reference(results)
    head = ["loss", *METRICS.values(), "MAP@R minus ours, by seed", "steps to triplet's best"]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    goals = goal.find_goal(results)
    for label in statistics.ranking(results):
        name = f"**`{label}`**" if label == reference else f"`{label}`"
        name += " ▼" if baselines.is_below(results, label) else ""
        values = [
            said(statistics.interval(statistics.by_seed(results, label, metric).values()))
            for metric in METRICS
        ]
        cells = [name, *values, ahead(results, label), reach(results, label, goals)]
        print(f"| {' | '.join(cells)} |")
    for name, metrics in baselines.baselines(results).items():
        values = [said(metrics.get(metric)) for metric in METRICS]
        print(f"| {' | '.join([name, *values, '', ''])} |")


def said(mean):
    """A mean and half of its interval."""
    if mean is None:
        return ""
    return f"{mean.mean:.3f}" + ("" if mean.half is None else f" ± {mean.half:.3f}")


def ahead(results, label):
    """The difference to ours, seed by seed, and whether it is inside the noise."""
    reference = statistics.find_reference(results)
    if label == reference:
        return ""
    found = statistics.difference(results, label, reference, "map_at_r")
    if found is None:  # no seed in common
        return ""
    sign = "−" if found.mean < 0 else "+"
    verdict = f" {found.verdict}" if found.verdict in ("better", "worse") else ""
    half = "" if found.half is None else f" ± {found.half:.3f}"
    return f"{sign}{abs(found.mean):.3f}{half}{verdict}"


def reach(results, label, goals):
    """Steps until triplet's best."""
    time = goals and goal.measure_time_to_goal(results, label, goals)
    if time is None:
        return ""
    return "never" if not time.count else f"{time.steps:.0f} ({time.count} of {time.seeds})"


if __name__ == "__main__":
    main()
