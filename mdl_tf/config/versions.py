"""What a version of this library did where a config says nothing: old runs stay what they were."""

import functools
import json
import re
from pathlib import Path

from mdl_tf import __version__
from mdl_tf.config.setting import ConfigError

FIRST = "0.1.0"  # its files say no version


@functools.cache
def first_defaults():
    """The defaults of version 0.1.0.

    Returns:
        A dict of `settings`, by field of `TrainConfig`, and `losses`, by loss and argument.
    """
    path = Path(__file__).with_name("defaults_0_1_0.json")
    return json.loads(path.read_text(encoding="utf-8"))


def refuse_newer(version):
    """Refuse what a later version wrote: its words may mean something else.

    Args:
        version: what a file says; `None` if it says nothing, as those of 0.1.0.

    Raises:
        ConfigError: if it is later than this one, or no version.
    """
    if version is None:
        return
    numbers = re.match(r"(\d{1,6})\.(\d{1,6})\b", version) if isinstance(version, str) else None
    if numbers is None:
        raise ConfigError(f"`version` must be that of mdl_tf, as text. Received: {version!r}")
    ours = re.match(r"(\d+)\.(\d+)", __version__)
    if tuple(map(int, numbers.groups())) > tuple(map(int, ours.groups())):
        raise ConfigError(
            f"`version` must be at most that of this mdl_tf, {__version__}: install a newer one. "
            f"Received: version={version!r}"
        )


def refuse_incomplete(settings, fields):
    """Refuse the `config.json` of a run that has lost fields: every version keeps all that it has.

    Args:
        settings: a dict.
        fields: the names of all fields of this version.

    Raises:
        ConfigError: if one is missing that the version which wrote it has kept.
    """
    if "version" not in settings:
        fields = set(first_defaults()["settings"])
    elif settings["version"] != __version__:
        return  # it may have had fewer
    missing = sorted(fields - settings.keys())
    if missing:
        raise ConfigError(f"It has no {', '.join(missing[:3])}")


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
        loss_args = defaults["losses"].get(str(settings["loss"]), {})
        # The number of classes is that of the training set where nobody gives it.
        loss_args = {key: value for key, value in loss_args.items() if key != "num_classes"}
        if isinstance(settings["loss_args"], dict):
            settings["loss_args"] = {**loss_args, **settings["loss_args"]}
    return {**later, **settings}
