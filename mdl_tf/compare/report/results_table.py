"""The sections of a report that say how good the losses are on the test classes."""

from mdl_tf.compare.report import figures
from mdl_tf.compare.report.blocks import Gallery, Picture, Section, Table
from mdl_tf.compare.report.statistics import (
    BETTER,
    MAIN,
    UNKNOWN,
    WORSE,
    baselines,
    by_seed,
    difference,
    interval,
    ranking,
    reference,
    runs,
    seconds_per_step,
)
from mdl_tf.compare.report.words import NONE, mean, number, signed
from mdl_tf.metrics.columns import COLUMNS

_COMPARED = ("map_at_r", "recall_at_1", "nmi")


def on_the_test(results):
    """The table of the test, and the same as dots."""
    title, ranked = "Results on the test classes", ranking(results)
    if not ranked:
        return Section(title, ("There is no final run yet.", *_baselines_alone(results)))
    blocks = [
        "Classes that were neither trained on nor looked at while settings were chosen. Mean over "
        "the seeds ± half of its 95 % interval (Student's t); sorted by MAP@R. Milliseconds per "
        "training step are the median over the runs.",
        _table(results, ranked),
    ]
    blocks.append(
        "A dot is a mean, its bar the 95 % interval; the small dots below are single seeds. Orange "
        f"and dashed: {reference(results)}, the reference. Grey: not trained. Whether two "
        "losses differ is not seen here but in the differences seed by seed, below."
    )
    pictures = (_dots(results, metric) for metric in (MAIN, "recall_at_1"))
    return Section(title, (*blocks, Gallery(tuple(p for p in pictures if p))))


def _dots(results, metric):
    """The picture of a metric, best entry first; `None` if nothing has it."""
    values = {label: [*by_seed(results, label, metric).values()] for label in results.labels}
    found = {label: interval(of_seeds) for label, of_seeds in values.items() if of_seeds}
    order, own = sorted(found, key=lambda label: -found[label].mean), reference(results)
    if not order:
        return None
    colours = {own: figures.REFERENCE}
    rows = [(s, found[s], values[s], colours.get(s, figures.THIS)) for s in order]
    rows += [
        (name, row[metric], [], figures.QUIET)
        for name, row in baselines(results).items()
        if row[metric]
    ]
    text = f"{COLUMNS[metric]} on the test classes"
    alt = f"{text}: " + "; ".join(f"{label} {mean(found[label])}" for label in order)
    drawn = figures.dots(rows, text, found[own].mean if own in found else None)
    return Picture(f"{metric}.svg", alt, drawn)


def _columns(rows):
    found = {key: title for key, title in COLUMNS.items() if any(key in row for row in rows)}
    # First what the rows are sorted by: on a telephone the last ones are out of sight.
    return {MAIN: COLUMNS[MAIN], **found} if MAIN in found else found


def _table(results, ranked):
    untrained = baselines(results)
    measured = [trial["metrics"] for label in ranked for trial in runs(results, label)]
    columns = _columns([*measured, *([results.raw] if results.raw else [])])
    counts = {label: len(runs(results, label)) for label in ranked}
    # Where all have all of them, the column would only take room.
    counted = any(found < len(results.seeds) for found in counts.values())
    rows = []
    for label in ranked:
        found = (interval(by_seed(results, label, key).values()) for key in columns)
        pace = seconds_per_step(results, label)
        pace = None if pace is None else 1000 * pace
        seeds = [f"{counts[label]} of {len(results.seeds)}"] * counted
        rows.append((label, *map(mean, found), number(pace, ",.1f"), *seeds))
    for name, found in untrained.items():
        rows.append((name, *(mean(found[key]) for key in columns), NONE, *[NONE] * counted))
    strong = tuple(i for i, row in enumerate(rows) if row[0] == reference(results))
    head = ("loss", *columns.values(), "ms/step", *["seeds"] * counted)
    return Table(head, tuple(rows), apart=len(untrained), strong=strong)


def _baselines_alone(results):
    found = baselines(results)
    columns = [key for key in COLUMNS if any(row[key] for row in found.values())]
    rows = tuple((name, *(mean(row[key]) for key in columns)) for name, row in found.items())
    return [Table(("", *(COLUMNS[key] for key in columns)), rows)] if rows else []


def differences(results):
    """Each loss against the reference, seed by seed."""
    own, ranked = reference(results), ranking(results)
    title = f"Differences to {own}"
    others = [label for label in ranked if label != own]
    if own not in ranked or not others:
        text = "They need two losses with final runs, one of them the reference."
        return Section(title, (text,))
    found = {s: {k: difference(results, s, own, k) for k in _COMPARED} for s in others}
    columns = [key for key in _COMPARED if any(row[key] for row in found.values())]
    others.sort(key=lambda s: -found[s][MAIN].mean if found[s][MAIN] else 9)
    rows = []
    for label in others:
        cells = [label]
        for key in columns:
            one = found[label][key]
            cells += [signed(one), one.verdict if one else NONE]
        rows.append((*cells, str(found[label][MAIN].count if found[label][MAIN] else 0)))
    head = ["loss"]
    for key in columns:
        head += [COLUMNS[key], "verdict"]
    words = tuple(range(2, len(head), 2))
    blocks = [
        f"What a loss has more than {own} with the same seed, that is with the same first "
        "weights and the same batches: mean over the seeds in common ± half of the 95 % interval. "
        "Better or worse is said where the interval does not contain 0.",
        Table((*head, "seeds"), tuple(rows), words),
        *_forest(results, own, others, found),
        _caution(found, columns),
    ]
    return Section(title, tuple(blocks))


def _forest(results, own, others, found):
    paired = [label for label in others if found[label][MAIN]]
    theirs = by_seed(results, own, MAIN)
    rows = []
    for label in paired:
        mine, one = by_seed(results, label, MAIN), found[label][MAIN]
        values = [mine[seed] - theirs[seed] for seed in mine if seed in theirs]
        told = one.verdict in (BETTER, WORSE)
        rows.append((label, one, values, figures.THIS if told else figures.QUIET))
    if not rows:
        return []
    alt = f"Difference of MAP@R to {own}: " + "; ".join(
        f"{label} {signed(found[label][MAIN])}, {found[label][MAIN].verdict}" for label in paired
    )
    drawn = figures.dots(rows, f"difference of MAP@R to {own}", line=0)
    return [
        "Blue: told apart from the reference. Grey: not. Small dots are single seeds.",
        Gallery((Picture("differences.svg", alt, drawn),)),
    ]


def _caution(found, columns):
    verdicts = [row[key].verdict for row in found.values() for key in columns if row[key]]
    intervals = sum(verdict != UNKNOWN for verdict in verdicts)
    if not intervals:
        return (
            "With one seed in common there is no interval: nothing can be told apart. Give at "
            "least three seeds, better five."
        )
    return (
        f"At 95 %, one interval in 20 misses the truth by chance: if no loss differed at all, of "
        f"these {intervals} about {0.05 * intervals:.2g} would still say better or worse. Whatever "
        "came out best was a little lucky, too. Seeds change weights and batches, but "
        "not which classes are in which part: other classes would add a noise that is not in these "
        "intervals."
    )
