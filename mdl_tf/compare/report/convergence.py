"""The sections of a report about the time a loss takes: its curve, and the steps to a goal."""

from mdl_tf.compare.report import figures
from mdl_tf.compare.report.blocks import Gallery, Picture, Section, Table, fold_many
from mdl_tf.compare.report.goal import find_goal, measure_time_to_goal
from mdl_tf.compare.report.statistics import WATCHED, curve, find_reference, ranking
from mdl_tf.compare.report.words import number
from mdl_tf.metrics import table


def show_convergence(results):
    """The curves of the watched metric, against steps and against seconds.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    title = "Convergence"
    curves = {label: curve(results, label) for label in ranking(results)}
    curves = {label: one for label, one in curves.items() if one}
    if not curves:
        return Section(title, ("There is no curve yet.",))
    reference = find_reference(results)
    blocks = [
        f"{table.title(WATCHED)} on the validation classes after each epoch, mean over the seeds. "
        "Blue: the loss in the title, with a band from its worst to its best seed. Orange and "
        f"dashed: {reference}. Grey: all others. Dotted: the start of the loss, before the first "
        "step. All axes are the same.",
        _draw_panels(results, curves, reference),
    ]
    timed = {label: one for label, one in curves.items() if one.seconds_per_step}
    if timed:
        blocks += [
            "Against seconds: the steps times the median time of a step over all final runs of a "
            "loss. On a machine with other work a sum of seconds would measure the other work. "
            "Building the graph and evaluations are not counted.",
            fold_many("Against seconds", _draw_panels(results, timed, reference, seconds=True)),
        ]
    return Section(title, tuple(blocks))


def _draw_panels(results, curves, reference, seconds=False):
    unit = "seconds" if seconds else "steps"
    pictures = []
    for label, one in curves.items():
        end = (one.seconds if seconds else one.steps)[-1]
        alt = (
            f"{label}: {table.title(WATCHED)} on validation classes from {one.mean[0]:.3f} after "
            f"the first epoch to {one.mean[-1]:.3f} after {end:,.0f} {unit}; at most "
            f"{one.mean.max():.3f}"
            + ("" if one.start is None else f"; {one.start:.3f} at the start")
        )
        figure = figures.draw_convergence(curves, label, reference, seconds)
        name = figures.name_file(results, f"convergence-{unit}", label)
        pictures.append(Picture(name, alt, figure))
    return Gallery(tuple(pictures))


def show_steps_to_goal(results):
    """The steps that each loss needs to reach triplet's best.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    title, goal = "Steps to the best of triplet", find_goal(results)
    if goal is None:
        return Section(title, ("Left out: no triplet loss is among the losses.",))
    times = {label: measure_time_to_goal(results, label, goal) for label in ranking(results)}
    times = {label: time for label, time in times.items() if time}
    if not times:
        return Section(title, (f"There is no final run of {goal} to compare with yet.",))
    fastest_first = sorted(times, key=lambda s: (-times[s].share, times[s].steps or 0))
    rows = tuple(
        (
            label,
            f"{times[label].count} of {times[label].seeds}",
            number(times[label].steps, ",.0f"),
            number(times[label].seconds, ",.1f"),
        )
        for label in fastest_first
    )
    text = (
        f"The goal is the best {table.title(WATCHED)} on the validation classes that {goal} ever "
        "had with the same seed. A loss reaches it where its curve first crosses it, along a "
        "straight line between two epochs. Steps are the median over the seeds that reached it, "
        "which flatters a loss that missed it in some. Seconds are counted as above."
    )
    return Section(title, (text, Table(("loss", "reached in", "steps", "seconds"), rows)))
