"""The settings of a run as flags, for the commands that train."""

import argparse
import contextlib
import dataclasses

from mdl_tf.cli.common import absolute, flag
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.config.setting import choices_of
from mdl_tf.reading import parse_json

_READERS = {
    int: int,
    int | None: int,
    float: float,
    float | None: float,
    dict: parse_json,
    dict | None: parse_json,
}


def add_settings(parser, without=(), defaults=None):
    """Add a flag for each field of `TrainConfig`.

    Args:
        parser: of a command.
        without: fields that get none. Defaults to all having one.
        defaults: what help says instead of a field's default, by name. Defaults to `None`.
    """
    group = parser.add_argument_group("settings")
    for field in dataclasses.fields(TrainConfig):
        if field.name not in without:
            _add_setting(group, field, defaults or {})


def _add_setting(group, field, defaults):
    default = field.default if field.default is not dataclasses.MISSING else {}
    # argparse formats help with %.
    text = f"{field.metadata['help']} [{defaults.get(field.name, default)}]".replace("%", "%%")
    if field.type is bool:
        group.add_argument(
            flag(field.name), action=argparse.BooleanOptionalAction, default=None, help=text
        )
    else:
        prefix = field.metadata["prefix"]
        names = [*choices_of(field), *([f"{prefix}NAME"] if prefix else [])]
        metavar = "{" + ",".join(names) + "}" if names else field.name.upper()
        group.add_argument(flag(field.name), default=None, metavar=metavar, help=text)


def read_flags(args):
    """The settings given as flags, as the types of their fields where the text is one.

    Args:
        args: what the parser found.

    Returns:
        A dict.
    """
    settings = {}
    for field in dataclasses.fields(TrainConfig):
        value = getattr(args, field.name, None)
        if value is None:
            continue
        if field.type in _READERS:
            # What is no number or JSON stays text, and the config says what it should have been.
            with contextlib.suppress(ValueError):
                value = _READERS[field.type](value)
        settings[field.name] = value
    return settings


def make_paths_absolute(settings):
    """Settings whose paths mean the same when the run goes on from another folder."""
    settings = dict(settings)
    for name in ("data_dir", "start"):
        settings[name] = absolute(settings.get(name))
    if str(settings.get("weights")).lower() not in ("imagenet", "random"):
        settings["weights"] = absolute(settings.get("weights"))
    return settings


def merge_settings(args, settings):
    """The settings of `--config` with the given ones above them; paths are absolute.

    Args:
        args: what the parser found, with `config`.
        settings: what `read_flags` returned.

    Raises:
        ConfigError: for a file that is no config, or data without a name of the data set.
    """
    if args.config:
        settings = {**TrainConfig.from_json(args.config).to_dict(), **settings}
    elif "data_dir" in settings and "dataset" not in settings:
        raise ConfigError(
            "`dataset` must say what is in --data-dir, such as --dataset folder. "
            f"Received: data_dir={settings['data_dir']!r} alone"
        )
    return make_paths_absolute(settings)


def refuse_missing(config):
    """Say what to fetch for a data set that is not there before weights are fetched for it."""
    from mdl_tf.datasets.papers import official

    if config.dataset in official.OFFICIAL:
        if official.state(config.dataset, config.data_dir).kind == "missing":
            official.read(config.dataset, config.data_dir)
