"""The section of a report that compares each loss with the reference, seed by seed."""

from mdl_tf.compare.report import figures
from mdl_tf.compare.report.blocks import Gallery, Picture, Section, Table
from mdl_tf.compare.report.results_table import main_first
from mdl_tf.compare.report.statistics import (
    BETTER,
    MAIN,
    UNKNOWN,
    WORSE,
    by_seed,
    difference,
    find_reference,
    ranking,
)
from mdl_tf.compare.report.words import NONE, signed
from mdl_tf.metrics import table


def show_differences(results):
    """Each loss against the reference, as a table and as dots.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    reference, ranked = find_reference(results), ranking(results)
    title = f"Differences to {reference}"
    compared = [label for label in ranked if label != reference]
    if reference not in ranked or not compared:
        text = "They need two losses with final runs, one of them the reference."
        return Section(title, (text,))
    metrics = main_first([metric for metric in table.rows() if metric.compared])
    by_label = {
        label: {m.key: difference(results, label, reference, m.key) for m in metrics}
        for label in compared
    }
    metrics = [m for m in metrics if any(row[m.key] for row in by_label.values())]
    # Best first; without a seed in common, last.
    in_common = [label for label in compared if by_label[label][MAIN]]
    in_common.sort(key=lambda label: -by_label[label][MAIN].mean)
    by_label = {label: by_label[label] for label in dict.fromkeys([*in_common, *compared])}
    return Section(
        title,
        (
            f"Loss minus {reference} with the same seed, that is with the same initial weights "
            "and the same batches: mean over the seeds in common ± half of the 95 % interval. "
            "Better or worse: the interval does not contain 0.",
            _make_table(by_label, metrics),
            *_show_dots(results, reference, {label: by_label[label][MAIN] for label in in_common}),
            _caution([row[m.key] for row in by_label.values() for m in metrics if row[m.key]]),
        ),
    )


def _make_table(by_label, metrics):
    head, rows = ["loss"], []
    for metric in metrics:
        head += [metric.title, "verdict"]
    for label, differences in by_label.items():
        row = [label]
        for metric in metrics:
            interval = differences[metric.key]
            row += [signed(interval), interval.verdict if interval else NONE]
        main = differences[MAIN]
        rows.append((*row, str(main.count if main else 0)))
    return Table((*head, "seeds"), tuple(rows), text_columns=tuple(range(2, len(head), 2)))


def _show_dots(results, reference, differences):
    """The differences of the main metric as dots, or nothing."""
    if not differences:
        return []
    of_reference = by_seed(results, reference, MAIN)
    rows = []
    for label, interval in differences.items():
        of_label = by_seed(results, label, MAIN)
        values = [of_label[seed] - of_reference[seed] for seed in of_label if seed in of_reference]
        differs = interval.verdict in (BETTER, WORSE)
        rows.append((label, interval, values, figures.THIS if differs else figures.QUIET))
    title = table.title(MAIN)
    alt = f"Difference of {title} to {reference}: " + "; ".join(
        f"{label} {signed(interval)}, {interval.verdict}" for label, interval in differences.items()
    )
    figure = figures.draw_dots(rows, f"difference of {title} to {reference}", line=0)
    return [
        "Blue: better or worse than the reference. Grey: neither. Small dots are single seeds.",
        Gallery((Picture("differences.svg", alt, figure),)),
    ]


def _caution(differences):
    """How far the verdicts may be trusted."""
    count = sum(interval.verdict != UNKNOWN for interval in differences)
    if not count:
        return (
            "One seed in common gives no interval, so no difference can be judged. Run at least "
            "three seeds, better five."
        )
    return (
        f"At 95 %, one interval in 20 misses the truth by chance: if no loss differed at all, of "
        f"these {count} about {0.05 * count:.2g} would still say better or worse. The best of "
        "several losses was also a little lucky. Seeds change weights and batches, but not which "
        "classes are in which part: other classes would add noise that is not in these intervals."
    )
