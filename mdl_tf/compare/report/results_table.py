"""The section of a report that says how good the losses are on the test classes."""

from mdl_tf.compare.report import figures
from mdl_tf.compare.report.baselines import (
    BELOW,
    BELOW_ON_VALIDATION,
    baselines,
    gain,
    is_below,
    is_never_above,
    name_start,
)
from mdl_tf.compare.report.blocks import Gallery, Picture, Section, Table
from mdl_tf.compare.report.statistics import (
    MAIN,
    by_seed,
    find_reference,
    interval,
    ranking,
    seconds_per_step,
    successful_runs,
)
from mdl_tf.compare.report.words import NONE, mean, number, signed
from mdl_tf.metrics import table


def show_results(results):
    """The table of the test, and its first metrics as dots.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    title, ranked = "Results on the test classes", ranking(results)
    if not ranked:
        return Section(title, ("There is no final run yet.", *_show_baselines(results)))
    headlines = [metric for metric in table.rows() if metric.headline]
    pictures = [_draw_dots(results, metric) for metric in main_first(headlines)]
    return Section(
        title,
        (
            "Classes that were neither trained on nor looked at while settings were chosen. Mean "
            "over the seeds ± half of its 95 % interval (Student's t); sorted by "
            f"{table.title(MAIN)}. Milliseconds per training step are the median over the runs.",
            _make_table(results, ranked),
            *_explain_marks(results, ranked),
            "A dot is a mean, its bar the 95 % interval; the small dots below are single seeds. "
            f"Orange and dashed: {find_reference(results)}, the reference. Grey: not trained; the "
            "dotted line is the start. "
            "Whether two losses differ is not seen here but in the differences seed by seed, "
            "below.",
            Gallery(tuple(picture for picture in pictures if picture)),
        ),
    )


def main_first(metrics):
    """Metrics with the one first by which losses are ranked: on a telephone the last are hidden."""
    return sorted(metrics, key=lambda metric: metric.key != MAIN)


def _draw_dots(results, metric):
    """The picture of a metric, best entry first; `None` if nothing has it."""
    values = {label: [*by_seed(results, label, metric.key).values()] for label in results.labels}
    means = {label: interval(of_seeds) for label, of_seeds in values.items() if of_seeds}
    if not means:
        return None
    reference = find_reference(results)
    best_first = sorted(means, key=lambda label: -means[label].mean)
    rows = []
    for label in best_first:
        colour = figures.REFERENCE if label == reference else figures.THIS
        is_marked = metric.key == MAIN and is_below(results, label)
        mark = f" {BELOW} not above the start" * is_marked
        rows.append((label + mark, means[label], values[label], colour))
    untrained = baselines(results)
    for name, row in untrained.items():
        if metric.key in row:
            rows.append((name, row[metric.key], [], figures.QUIET))
    text = f"{metric.title} on the test classes"
    alt = f"{text}: " + "; ".join(f"{label} {mean(means[label])}" for label in best_first)
    line = means[reference].mean if reference in means else None
    start = untrained.get(name_start(results), {}).get(metric.key)
    figure = figures.draw_dots(rows, text, line, start and start.mean)
    return Picture(f"{metric.key}.svg", alt, figure)


def _make_table(results, ranked):
    """A row for each entry, then one for each baseline."""
    untrained = baselines(results)
    runs = {label: successful_runs(results, label) for label in ranked}
    keys = {key for trials in runs.values() for trial in trials for key in trial["metrics"]}
    metrics = main_first(table.find_columns(keys | set(results.raw or ())))
    # Where all have all of them, a column would only take room.
    has_missing = any(len(trials) < len(results.seeds) for trials in runs.values())
    head = ["loss", *(metric.title for metric in metrics), "ms/step"]
    if has_missing:
        head.append("seeds")
    rows = []
    for label, trials in runs.items():
        means = [interval(by_seed(results, label, metric.key).values()) for metric in metrics]
        seconds = seconds_per_step(results, label)
        milliseconds = None if seconds is None else 1000 * seconds
        name = label + f" {BELOW}" * is_below(results, label)
        rows.append([name, *map(mean, means), number(milliseconds, ",.1f")])
        if has_missing:
            rows[-1].append(f"{len(trials)} of {len(results.seeds)}")
    for name, row in untrained.items():
        rows.append([name, *(mean(row.get(metric.key)) for metric in metrics)])
        # Neither steps nor runs.
        rows[-1] += [NONE] * (len(head) - len(rows[-1]))
    _insert_gains(results, ranked, head, rows)
    strong = tuple(i for i, label in enumerate(ranked) if label == find_reference(results))
    return Table(tuple(head), tuple(map(tuple, rows)), separate=len(untrained), strong=strong)


def _insert_gains(results, ranked, head, rows):
    """Beside the main metric how far it is above the start, with signs where it is not."""
    gains = [gain(results, label) for label in ranked]
    if not any(gains):
        return
    head.insert(2, "over the start")
    for label, row, gained in zip(ranked, rows, gains, strict=False):
        signs = f" {BELOW}" * is_below(results, label)
        signs += f" {BELOW_ON_VALIDATION}" * is_never_above(results, label)
        row.insert(2, signed(gained) + signs)
    for row in rows[len(ranked) :]:
        row.insert(2, NONE)


def _explain_marks(results, ranked):
    """What the signs of the table say, if there are any."""
    if any(is_below(results, label) for label in ranked):
        yield (
            f"{BELOW} On the test classes the trained network is not above the start, which all "
            "losses have in common: whoever does not train at all is as well off, or better."
        )
    if any(is_never_above(results, label) for label in ranked):
        yield (
            f"{BELOW_ON_VALIDATION} In no seed was any epoch above the start on the validation "
            f"classes, by {table.title(results.config['monitor'])}; the best trained epoch is "
            "reported all the same. A run of `mdl-tf train` would have kept the start."
        )


def _show_baselines(results):
    """The table of what was not trained, or nothing."""
    untrained = baselines(results)
    metrics = table.find_columns(key for row in untrained.values() for key in row)
    rows = tuple(
        (name, *(mean(row.get(metric.key)) for metric in metrics))
        for name, row in untrained.items()
    )
    return [Table(("", *(metric.title for metric in metrics)), rows)] if rows else []
