"""`mdl-tf train`: the settings as flags, a new run or an interrupted one."""

import argparse
import contextlib
import dataclasses
import json
import sys

from mdl_tf.cli.common import absolute, flag, quiet
from mdl_tf.config import ConfigError, TrainConfig

_READERS = {int: int, float: float, float | None: float, dict: json.loads}


def add_to(commands):
    """Add the command to a parser's commands."""
    train = commands.add_parser(
        "train",
        help="train an embedding and show how much better it retrieves than before",
        description="Without arguments: Inception-BN with the Margin-based Discriminate Loss on "
        "glyphs, some minutes on two cores. Writes a folder below `runs`.",
    )
    train.add_argument("--config", metavar="FILE", help="settings from a JSON file; flags override")
    train.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with an interrupted run folder, or with a finished one to more --epochs",
    )
    train.add_argument("--name", help="name of the run folder [data set and backbone]")
    train.add_argument("--runs-dir", default="runs", metavar="DIR", help="folder of runs [runs]")
    settings = train.add_argument_group("settings")
    for field in dataclasses.fields(TrainConfig):
        _add_setting(settings, field)


def _add_setting(group, field):
    choices = field.metadata["choices"]
    default = field.default if field.default is not dataclasses.MISSING else {}
    # argparse formats help with %.
    text = f"{field.metadata['help']} [{default}]".replace("%", "%%")
    if field.type is bool:
        group.add_argument(
            flag(field.name), action=argparse.BooleanOptionalAction, default=None, help=text
        )
    else:
        prefix = field.metadata["prefix"]
        names = [*(choices or ()), *([f"{prefix}NAME"] if prefix else [])]
        metavar = "{" + ",".join(names) + "}" if names else field.name.upper()
        group.add_argument(flag(field.name), default=None, metavar=metavar, help=text)


def _settings(args):
    """The settings given as flags, as the types of their fields where the text is one."""
    settings = {}
    for field in dataclasses.fields(TrainConfig):
        value = getattr(args, field.name)
        if value is None:
            continue
        if field.type in _READERS:
            # What is no number or JSON stays text, and the config says what it should have been.
            with contextlib.suppress(ValueError):
                value = _READERS[field.type](value)
        settings[field.name] = value
    return settings


def run(args):
    """Run the command."""
    from mdl_tf.runs import Run

    settings = _settings(args)
    if args.resume:
        given = [flag(name) for name in settings if name != "epochs"]
        given += ["--config"] * bool(args.config) + ["--name"] * bool(args.name)
        if given:
            raise ConfigError(
                "`--resume` takes all settings but --epochs from the run. "
                f"Received as well: {', '.join(given)}"
            )
        run = Run.open(args.resume)
        run.remove_unfinished()
        if "epochs" in settings:
            run.extend(settings["epochs"])
        config = run.config
    else:
        if args.config:
            settings = {**TrainConfig.from_json(args.config).to_dict(), **settings}
        elif "data_dir" in settings and "dataset" not in settings:
            raise ConfigError(
                "`dataset` must say what is in --data-dir, such as --dataset folder. "
                f"Received: data_dir={settings['data_dir']!r} alone"
            )
        # The run may be resumed or evaluated from another folder.
        settings["data_dir"] = absolute(settings.get("data_dir"))
        if (settings.get("weights") or "").lower() != "imagenet":
            settings["weights"] = absolute(settings.get("weights"))
        config = TrainConfig.from_dict(settings)
        run = Run.create(config, args.runs_dir, args.name)
    print("Load TensorFlow ...", flush=True)
    with quiet():
        from mdl_tf import train

    try:
        train.train(config, run)
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with: mdl-tf train --resume {run.folder}", file=sys.stderr)
        return 130
    except Exception:
        run.discard_if_empty()
        if run.has_epochs:
            print(f"Kept so far: {run.folder}; see `mdl-tf train --resume`.", file=sys.stderr)
        raise
    if config.tensorboard:
        watched = run.folder if config.cross_validated else run.tensorboard
        print(f"Watch it:   tensorboard --logdir {watched}")
    print(f"Measure it: mdl-tf evaluate {run.folder}")
    return 0
