"""The sections of a report about settings: what was searched, what was chosen, what failed."""

from mdl_tf.compare.report.blocks import Folded, Section, Table
from mdl_tf.compare.report.words import NONE, count, listing, number, settings, short, value
from mdl_tf.metrics.columns import COLUMNS

_RIM = 2  # so many draws on either side of a range are its rim
_FEWEST = 2 * _RIM + 1  # draws below which everything is at the rim
_LONGEST = 400  # letters of a reason


def best(results, label):
    """The draw of an entry with the best validation, the earliest of equal ones.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        A trial, or `None`.
    """
    done = [trial for trial in results.searched(label) if trial["failed"] is None]
    return max(done, key=lambda trial: trial["value"], default=None)


def chosen(results, label):
    """The settings of an entry's final runs, else those of its best draw so far, else `None`."""
    found = [*results.final(label)[:1], best(results, label)]
    return next((trial["settings"] for trial in found if trial), None)


def at_the_rim(results, label):
    """Chosen numbers at the rim of what was drawn: a wider range may have better ones.

    Args:
        results: a `Results`.
        label: of the entry.

    Returns:
        A list of names of settings, those with fewer than two draws below or above the chosen one.
    """
    searched, names = results.searched(label), []
    for name, picked in (chosen(results, label) or {}).items():
        drawn = [t["settings"][name] for t in searched if name in t["settings"]]
        if not all(map(_is_number, [picked, *drawn])):
            continue
        below = sum(other < picked for other in drawn)
        above = sum(other > picked for other in drawn)
        # Of two values, such as False and True, each is at a rim.
        if len(drawn) >= _FEWEST and len(set(drawn)) > 2 and min(below, above) < _RIM:
            names.append(name)
    return names


def _is_number(setting):
    return isinstance(setting, int | float)


def searching(results):
    """What each loss was searched for, and what was chosen."""
    title = "Searches"
    if not any(results.searched(label) for label in results.labels):
        return Section(
            title,
            ("No settings were searched: every loss has its defaults, but for what it holds.",),
        )
    monitor = results.config["monitor"]
    monitor = COLUMNS.get(monitor, monitor)
    rows = [_row(results, label) for label in results.labels if results.searched(label)]
    head = ("loss", "draws", "failed", f"best {monitor}", "of its defaults", "chosen", "at the rim")
    return Section(
        title,
        (
            "Every loss has the same number of draws, the first of them its defaults. The one with "
            f"the best {monitor} on the validation classes was chosen; the test classes were not "
            "looked at. A best of many draws is somewhat lucky: the same settings tend to reach "
            "less again. Numbers of validation and of test classes cannot be compared: among fewer "
            "classes it is easier to be right.",
            Table(head, tuple(rows), words=(5, 6)),
            "At the rim: fewer than two draws lay below, or above, the chosen number. A wider "
            "range may be better, though by chance it happens to 4 of n when there are n draws. "
            f"With fewer than {_FEWEST} draws nothing is said.",
            *(_draws(results, label, monitor) for label in results.labels),
        ),
    )


def _row(results, label):
    searched, found = results.searched(label), best(results, label)
    default = next((trial["value"] for trial in searched if trial["number"] == 0), None)
    return (
        label,
        f"{len(searched)} of {max(1, results.search)}",
        str(sum(trial["failed"] is not None for trial in searched)),
        number(found and found["value"]),
        number(default),
        settings(chosen(results, label) or {}),
        listing(at_the_rim(results, label)) or ("no" if len(searched) >= _FEWEST else NONE),
    )


def _draws(results, label, monitor):
    searched = results.searched(label)
    picked = chosen(results, label)
    rows = [
        (
            "defaults" if trial["number"] == 0 else str(trial["number"]),
            "failed" if trial["failed"] is not None else number(trial["value"]),
            NONE if trial["best_epoch"] is None else str(trial["best_epoch"]),
            number(trial["seconds_per_step"] and 1000 * trial["seconds_per_step"], ",.1f"),
            settings(trial["settings"]),
        )
        for trial in searched
    ]
    strong = tuple(i for i, trial in enumerate(searched) if trial["settings"] == picked)
    head = ("draw", monitor, "best epoch", "ms/step", "settings")
    table = Table(head, tuple(rows), words=(4,), strong=strong)
    return Folded(f"{label}: {count(len(rows), 'draw')}", (table,))


def failures(results):
    """Runs that came to nothing, and why."""
    rows = [
        (
            trial["label"],
            trial["phase"],
            f"{'draw' if trial['phase'] == 'search' else 'seed'} {trial['number']}",
            short(trial["failed"], _LONGEST),
            settings(trial["settings"]),
        )
        for trial in results.trials
        if trial["failed"] is not None
    ]
    if not rows:
        return Section("Failed runs", ("None.",))
    table = Table(("loss", "phase", "run", "why", "settings"), tuple(rows), words=(1, 2, 3, 4))
    return Section(
        "Failed runs",
        (
            f"{count(len(rows), 'run')} of {len(results.trials):,}. A failed draw is not chosen; a "
            "failed final run is left out of all means, which flatters its loss.",
            table,
        ),
    )


def learning_rates(results):
    """The lowest and the highest learning rate that was drawn, or `None`."""
    drawn = [
        trial["settings"]["learning_rate"]
        for label in results.labels
        for trial in results.searched(label)
        if "learning_rate" in trial["settings"]
    ]
    return (value(min(drawn)), value(max(drawn))) if drawn else None
