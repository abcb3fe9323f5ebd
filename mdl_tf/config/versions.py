"""What a version of this library did where a config says nothing: old runs stay what they were."""

import functools
import json
from pathlib import Path

FIRST = "0.1.0"  # its files say no version


@functools.cache
def first_defaults():
    """The defaults of version 0.1.0.

    Returns:
        A dict of `settings`, by field of `TrainConfig`, and `losses`, by loss and argument.
    """
    path = Path(__file__).with_name("defaults_0_1_0.json")
    return json.loads(path.read_text(encoding="utf-8"))


def is_of_first(settings):
    """Whether a dict of settings is a `config.json` that version 0.1.0 wrote: all of its fields."""
    return "version" not in settings and set(first_defaults()["settings"]) <= set(settings)


def complete(settings, later):
    """The settings that a run was made with, from what was kept of them.

    Today's defaults are never used: a file without a version is of 0.1.0, whose defaults are known,
    and later versions keep every value. A field that is younger than the file has the value that
    does what was done before there was such a field.

    Args:
        settings: a dict from a `config.json`, perhaps with `version`.
        later: dict from each field that 0.1.0 did not have to that value.

    Returns:
        A dict of all fields.
    """
    settings = dict(settings)
    if settings.pop("version", None) is None:
        defaults = first_defaults()
        settings = {**defaults["settings"], **settings}
        loss_args = defaults["losses"].get(settings["loss"], {})
        # The number of classes is that of the training set where nobody gives it.
        loss_args = {key: value for key, value in loss_args.items() if key != "num_classes"}
        if isinstance(settings["loss_args"], dict):
            settings["loss_args"] = {**loss_args, **settings["loss_args"]}
    return {**later, **settings}
