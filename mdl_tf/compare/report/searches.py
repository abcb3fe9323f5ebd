"""The sections of a report about settings: what was searched, what was chosen, what failed."""

import numbers

from mdl_tf.compare.comparison import best_draw
from mdl_tf.compare.report.baselines import is_above_on_validation
from mdl_tf.compare.report.blocks import Folded, Section, Table
from mdl_tf.compare.report.statistics import WATCHED
from mdl_tf.compare.report.words import NONE, count, listing, number, settings, short, value
from mdl_tf.metrics import table

_EDGE = 2  # draws on either side of a range that are its edge
_FEWEST = 2 * _EDGE + 1  # draws below which all are at the edge
_LONGEST = 400  # letters of a reason


def find_best_draw(results, label):
    """The draw of an entry with the best validation, the earliest of equal ones.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        A trial, or `None`.
    """
    return best_draw(results.searched(label))


def find_settings(results, label):
    """The settings of an entry's final runs, else those of its best draw so far, else `None`.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        A dict, or `None`.
    """
    trials = [*results.final(label)[:1], find_best_draw(results, label)]
    return next((trial["settings"] for trial in trials if trial), None)


def find_edges(results, label):
    """Chosen numbers at the edge of what was drawn: a wider range may have better ones.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        A list of names of settings, those with fewer than two draws below or above the chosen one.
    """
    searched, names = results.searched(label), []
    for name, chosen in (find_settings(results, label) or {}).items():
        drawn = [trial["settings"][name] for trial in searched if name in trial["settings"]]
        if not all(isinstance(setting, numbers.Real) for setting in (chosen, *drawn)):
            continue
        below = sum(setting < chosen for setting in drawn)
        above = sum(setting > chosen for setting in drawn)
        # Of two values, such as False and True, each is at an edge.
        if len(drawn) >= _FEWEST and len(set(drawn)) > 2 and min(below, above) < _EDGE:
            names.append(name)
    return names


def show_searches(results):
    """What each loss was searched for, and what was chosen.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    title = "Searches"
    labels = [label for label in results.labels if results.searched(label)]
    if not labels:
        text = (
            "No settings were searched: every loss has its defaults, except for those that were "
            "set for it."
        )
        return Section(title, (text,))
    monitor = table.title(results.config["monitor"])
    head = (
        "loss",
        "draws",
        "failed",
        f"best {monitor}",
        f"{monitor} of defaults",
        "chosen",
        "at the edge",
        "draws above the start",
    )
    rows = tuple(_describe_search(results, label) for label in labels)
    return Section(
        title,
        (
            "Every loss has the same number of draws, the first of them its defaults. The one with "
            f"the best {monitor} on the validation classes was chosen, without a look at the test "
            "classes. The best of many draws is somewhat lucky: the same settings tend to reach "
            "less again. Numbers of validation and of test classes cannot be compared: among fewer "
            "classes it is easier to be right.",
            Table(head, rows, text_columns=(5, 6)),
            "At the edge: fewer than two draws lay below, or above, the chosen number. A wider "
            "range may be better, though by chance alone this happens to 4 of n numbers with n "
            f"draws. With fewer than {_FEWEST} draws nothing is said.",
            *(_list_draws(results, label, monitor) for label in labels),
        ),
    )


def _describe_search(results, label):
    searched, best = results.searched(label), find_best_draw(results, label)
    default = next((trial["value"] for trial in searched if trial["number"] == 0), None)
    edges = listing(find_edges(results, label))
    if not edges:
        edges = "no" if len(searched) >= _FEWEST else NONE
    return (
        label,
        f"{len(searched)} of {max(1, results.search)}",
        str(sum(trial["failed"] is not None for trial in searched)),
        number(best and best["value"]),
        number(default),
        settings(find_settings(results, label) or {}),
        edges,
        _count_above(searched, results.config["monitor"]),
    )


def _count_above(searched, monitor):
    """How many draws were above their start on validation."""
    known = [is_above_on_validation(trial, monitor) for trial in searched]
    known = [one for one in known if one is not None]
    return f"{sum(known)} of {len(known)}" if known else NONE


def _list_draws(results, label, monitor):
    searched = results.searched(label)
    chosen = find_settings(results, label)
    # The other metric that every report shows.
    watched = None if results.config["monitor"] == WATCHED else f"val_{WATCHED}"
    rows = tuple(
        (
            "defaults" if trial["number"] == 0 else str(trial["number"]),
            "failed" if trial["failed"] is not None else number(trial["value"]),
            *([_at_best(trial, watched)] if watched else ()),
            NONE if trial["best_epoch"] is None else str(trial["best_epoch"]),
            number(trial["seconds_per_step"] and 1000 * trial["seconds_per_step"], ",.1f"),
            settings(trial["settings"]),
        )
        for trial in searched
    )
    strong = tuple(i for i, trial in enumerate(searched) if trial["settings"] == chosen)
    both = [monitor, table.title(WATCHED)] if watched else [monitor]
    head = ("draw", *both, "best epoch", "ms/step", "settings")
    table_of_draws = Table(head, rows, text_columns=(len(head) - 1,), strong=strong)
    return Folded(f"{label}: {count(len(rows), 'draw')}", (table_of_draws,))


def _at_best(trial, key):
    """A metric of validation at the best epoch."""
    rows = [row for row in trial["history"] if row["epoch"] == trial["best_epoch"]]
    return number(rows[0].get(key)) if rows else NONE


def show_failures(results):
    """Runs that failed, and why.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    rows = tuple(
        (
            trial["label"],
            trial["phase"],
            f"{'draw' if trial['phase'] == 'search' else 'seed'} {trial['number']}",
            short(trial["failed"], _LONGEST),
            settings(trial["settings"]),
        )
        for trial in results.trials
        if trial["failed"] is not None
    )
    if not rows:
        return Section("Failed runs", ("None.",))
    head = ("loss", "phase", "run", "why", "settings")
    return Section(
        "Failed runs",
        (
            f"{count(len(rows), 'run')} of {len(results.trials):,}. A failed draw is not chosen; a "
            "failed final run is left out of all means, which flatters its loss.",
            Table(head, rows, text_columns=(1, 2, 3, 4)),
        ),
    )


def drawn_learning_rates(results):
    """The lowest and the highest learning rate that was drawn, as texts, or `None`."""
    drawn = [
        trial["settings"]["learning_rate"]
        for label in results.labels
        for trial in results.searched(label)
        if "learning_rate" in trial["settings"]
    ]
    return (value(min(drawn)), value(max(drawn))) if drawn else None
