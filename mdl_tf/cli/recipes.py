"""`mdl-tf recipes`: what recipes there are, and all that is known of one."""

import json
import shlex

from mdl_tf.cli.common import flag
from mdl_tf.recipes.tables import columns, published, wrapped

_HEADS = {
    "taken": "Taken from the sources:",
    "assumed": "Assumed, since no source says it:",
    "differs": "Otherwise than the sources:",
    "not run": "Not run:",
}
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
    all_recipes = [recipes.load(name) for name in recipes.names()]
    print(columns([_HEAD, *map(_cells, all_recipes)]))
    print(f"\n{wrapped(_HOURS, rest='')}")
    print("\nTrain: mdl-tf train --recipe NAME [--data-dir DIR]. Try it: add --smoke")
    return 0


_HOURS = (
    "Hours are those of training with all epochs, computed and not run, on one NVIDIA T4 (16 GB) "
    "and on two cores of an AMD EPYC; with patience (reality-check) training ends sooner. How they "
    "were computed: mdl-tf recipes NAME."
)
_HEAD = ("NAME", "DATA SET", "WHAT", "DIMENSIONS", "HOURS: T4", "TWO CORES")


def _cells(recipe):
    config = recipe.config()
    size = str(config.embedding_dim)
    if config.folds > 1:
        size = f"{config.folds} x {size}"
    hours = [f"{entry['hours']:.1f}" for entry in recipe.hours]
    return recipe.name, config.dataset, recipe.title, size, *hours


def _described(recipe):
    flags = [_as_flag(name, value) for name, value in recipe.settings.items()]
    # No line ends between a flag and its value.
    settings = wrapped(" ".join(f.replace(" ", _NO_BREAK) for f in flags), "  ", "  ")
    parts = [
        f"{recipe.name}: {recipe.title}\n{wrapped('Source: ' + recipe.source)}",
        f"Settings:\n{settings.replace(_NO_BREAK, ' ')}",
    ]
    for kind, head in _HEADS.items():
        notes = [note for note in recipe.protocol if note["kind"] == kind]
        if notes:
            parts.append("\n".join([head, *(wrapped(_note(note), "  - ") for note in notes)]))
    hours = [f"{e['hours']:.1f} h on {e['hardware']}: {e['basis']}" for e in recipe.hours]
    parts.append("\n".join(["Hours:", *(wrapped(line, "  - ") for line in hours)]))
    parts.append(f"Published, on the test classes:\n{published(recipe.published)}")
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
    lines = [f"Recipe {recipe.name}: {recipe.title}", wrapped(f"Source: {recipe.source}", "  ")]
    changed = {name: was for name, (was, _) in recipe.changed(config).items() if name in changes}
    if changed:
        text = ", ".join(
            f"{name} {json.dumps(changes[name])} instead of {json.dumps(was)}"
            for name, was in changed.items()
        )
        lines.append(wrapped(f"Changed by flags: {text}", "  "))
    if smoke:
        text = (
            f"A smoke run: a generated stand-in of {recipe.settings['dataset']} in "
            f"{config.data_dir}, random weights, {config.epochs} epochs of "
            f"{config.steps_per_epoch} batches. Its figures mean nothing."
        )
        return "\n".join([*lines, wrapped(text, "  ")])
    hours = [f"{entry['hours']:.1f} h on {entry['hardware']}" for entry in recipe.hours_of(config)]
    expected = f"{' or '.join(hours)}, computed and not run" if hours else "not known"
    lines.append(wrapped(f"Hours of training: {expected} (mdl-tf recipes {recipe.name})", "  "))
    why_none = recipe.why_no_rows(config)
    if why_none:
        lines.append(wrapped(why_none, "  "))
    return "\n".join(lines)
