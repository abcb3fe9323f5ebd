"""`mdl-tf recipes`: what recipes there are, and all that is known of one."""

import json
import shlex
import textwrap

from mdl_tf.cli.common import flag

_WIDTH = 100
_HEADS = {
    "taken": "Taken from the sources:",
    "assumed": "Assumed, since no source says it:",
    "differs": "Otherwise than the sources:",
    "not run": "Not run:",
}
_FROM_MEMORY = "*"
_NO_BREAK = "\0"


def add_to(commands):
    """Add the command to a parser's commands."""
    recipes = commands.add_parser(
        "recipes",
        help="list the recipes: settings of papers, and their published figures",
        description="Without NAME: what recipes there are, and how long they take.",
    )
    recipes.add_argument("name", nargs="?", metavar="NAME", help="all that is known of this one")


def run(args):
    """Run the command."""
    from mdl_tf import recipes

    if args.name is not None:
        print(_described(recipes.load(args.name)))
        return 0
    found = [recipes.load(name) for name in recipes.names()]
    print(_table([_HEAD, *map(_cells, found)]))
    print(f"\n{_wrapped(_HOURS, rest='')}")
    print("\nTrain: mdl-tf train --recipe NAME [--data-dir DIR]. Try it: add --smoke")
    return 0


_HOURS = (
    "Hours are those of training with all epochs, computed and not run, on one NVIDIA T4 (16 GB) "
    "and on two cores of an AMD EPYC; with patience (reality-check) training ends sooner. How they "
    "were found: mdl-tf recipes NAME."
)
_HEAD = ("NAME", "DATA SET", "WHAT", "DIMENSIONS", "HOURS: T4", "TWO CORES")


def _cells(recipe):
    config = recipe.config()
    size = str(config.embedding_dim)
    if config.folds > 1:
        size = f"{config.folds} x {size}"
    hours = [f"{entry['hours']:.1f}" for entry in recipe.hours]
    return recipe.name, config.dataset, recipe.title, size, *hours


def _table(lines):
    """Lines of cells as text, in columns; those with numbers to the right."""
    columns = []
    for cells in zip(*lines, strict=True):
        width, right = max(map(len, cells)), any(map(_is_number, cells))
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _is_number(text):
    return text.replace(".", "", 1).rstrip(_FROM_MEMORY).isdigit()


def _wrapped(text, first="", rest="    "):
    # A path or a flag stays in one piece.
    whole = {"break_on_hyphens": False, "break_long_words": False}
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=rest, **whole)


def _described(recipe):
    flags = [_as_flag(name, value) for name, value in recipe.settings.items()]
    # No line ends between a flag and its value.
    settings = _wrapped(" ".join(f.replace(" ", _NO_BREAK) for f in flags), "  ", "  ")
    parts = [
        f"{recipe.name}: {recipe.title}\n{_wrapped('Source: ' + recipe.source)}",
        f"Settings:\n{settings.replace(_NO_BREAK, ' ')}",
    ]
    for kind, head in _HEADS.items():
        notes = [note for note in recipe.protocol if note["kind"] == kind]
        if notes:
            parts.append("\n".join([head, *(_wrapped(_note(note), "  - ") for note in notes)]))
    hours = [f"{e['hours']:.1f} h on {e['hardware']}: {e['basis']}" for e in recipe.hours]
    parts.append("\n".join(["Hours:", *(_wrapped(line, "  - ") for line in hours)]))
    parts.append(f"Published, on the test classes:\n{_published(recipe.published)}")
    return "\n\n".join(parts)


def _as_flag(name, value):
    """A setting as it is written for `mdl-tf train`."""
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return f"{flag(name)} {shlex.quote(text)}"


def _note(note):
    if note["kind"] != "taken":
        return note["text"]
    read = f"read in: {note['source']}" if note["verified"] else f"from memory: {note['source']}"
    return f"{note['text']} [{read}]"


def _published(rows):
    """Rows as a table, their sources numbered below."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    described = {"method", "backbone", "embedding_dim", "kind", "source", "verified"}
    metrics = {key: None for row in rows for key in row if key not in described}
    # In the order of their rows, but recalls first, by K.
    metrics = sorted(metrics, key=lambda key: int(key[10:]) if key.startswith("recall") else 10**6)
    lines = [("METHOD", "NETWORK", "DIMENSIONS", *map(_title, metrics), "SOURCE")]
    for row in rows:
        size = f"{row['embedding_dim']} {row.get('kind', '')}".rstrip()
        figures = [_figure(row, metric) for metric in metrics]
        number = f"[{sources.index(row['source']) + 1}]"
        lines.append((row["method"], row["backbone"], size, *figures, number))
    text = [_table(lines)]
    if any(_FROM_MEMORY in cell for line in lines for cell in line):
        text.append(
            f"{_FROM_MEMORY} from memory; the others were read in their source or checked in one"
        )
    text += [_wrapped(source, f"[{i}] ") for i, source in enumerate(sources, 1)]
    return "\n".join(text)


def _title(metric):
    return metric.replace("recall_at_", "R@").replace("_at_", "@").replace("_", "-").upper()


def _figure(row, metric):
    if metric not in row:
        return "-"
    verified = row["verified"]
    read = verified[metric] if isinstance(verified, dict) else verified
    return f"{row[metric]:.4f}{'' if read else _FROM_MEMORY}"


def announcement(recipe, config, changes, smoke):
    """What `mdl-tf train` says of a recipe before it begins.

    Args:
        recipe: the `Recipe`.
        config: the `TrainConfig` of the run.
        changes: the settings that were given as flags, a dict.
        smoke: whether it is a run of `Recipe.smoke`.

    Returns:
        A string of several lines.
    """
    lines = [f"Recipe {recipe.name}: {recipe.title}", _wrapped(f"Source: {recipe.source}", "  ")]
    changed = {name: was for name, (was, _) in recipe.changed(config).items() if name in changes}
    if changed:
        text = ", ".join(
            f"{name} {json.dumps(changes[name])} instead of {json.dumps(was)}"
            for name, was in changed.items()
        )
        lines.append(_wrapped(f"Changed by flags: {text}", "  "))
    if smoke:
        text = (
            f"A smoke run: a generated stand-in of {recipe.settings['dataset']} in "
            f"{config.data_dir}, random weights, {config.epochs} epochs of "
            f"{config.steps_per_epoch} batches. Its figures mean nothing."
        )
        return "\n".join([*lines, _wrapped(text, "  ")])
    hours = [f"{entry['hours']:.1f} h on {entry['hardware']}" for entry in recipe.hours_of(config)]
    expected = f"{' or '.join(hours)}, computed and not run" if hours else "not known"
    lines.append(_wrapped(f"Hours of training: {expected} (mdl-tf recipes {recipe.name})", "  "))
    why_none = recipe.why_no_rows(config)
    if why_none:
        lines.append(_wrapped(why_none, "  "))
    return "\n".join(lines)
