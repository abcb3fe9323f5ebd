"""`mdl-tf train`: the settings as flags, a new run or an interrupted one."""

import argparse
import contextlib
import dataclasses
import json
import logging
import sys

from mdl_tf.cli.common import absolute, flag, quiet
from mdl_tf.cli.recipes import announcement
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
        "--recipe", metavar="NAME", help="settings of a paper (`mdl-tf recipes`); flags override"
    )
    train.add_argument(
        "--smoke",
        action="store_true",
        help="with --recipe: every step of it on a generated stand-in, in minutes",
    )
    train.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with an interrupted run folder, or with a finished one to more --epochs",
    )
    train.add_argument("--name", help="name of the run folder [recipe, or data set and backbone]")
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
    if str(settings.get("weights")).lower() == "random":
        # What a recipe or a config file has must be taken back somehow.
        settings["weights"] = None
    return settings


def run(args):
    """Run the command."""
    settings = _settings(args)
    run = _resumed(args, settings) if args.resume else _new(args, settings)
    config = run.config
    print("Load TensorFlow ...", flush=True)
    with quiet():
        from mdl_tf import train
    # Each network of a run is traced anew, which TensorFlow takes for a mistake.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)

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


def _resumed(args, settings):
    """The run that goes on."""
    from mdl_tf.runs import Run

    given = [flag(name) for name in settings if name != "epochs"]
    for name in ("config", "recipe", "smoke", "name"):
        given += [flag(name)] * bool(getattr(args, name))
    if given:
        raise ConfigError(
            "`--resume` takes all settings but --epochs from the run. "
            f"Received as well: {', '.join(given)}"
        )
    run = Run.open(args.resume)
    run.remove_unfinished()
    if "epochs" in settings:
        run.extend(settings["epochs"])
    return run


def _new(args, settings):
    """The folder of a run that begins."""
    from mdl_tf.runs import Run

    record = None
    if args.recipe or args.smoke:
        config, record = _with_recipe(args, settings)
    else:
        if args.config:
            settings = {**TrainConfig.from_json(args.config).to_dict(), **settings}
        elif "data_dir" in settings and "dataset" not in settings:
            raise ConfigError(
                "`dataset` must say what is in --data-dir, such as --dataset folder. "
                f"Received: data_dir={settings['data_dir']!r} alone"
            )
        config = TrainConfig.from_dict(_from_anywhere(settings))
    _refuse_missing(config)
    return Run.create(config, args.runs_dir, args.name, recipe=record)


def _from_anywhere(settings):
    """Settings whose paths mean the same when the run is resumed from another folder."""
    found = dict(settings)
    found["data_dir"] = absolute(settings.get("data_dir"))
    if (settings.get("weights") or "").lower() != "imagenet":
        found["weights"] = absolute(settings.get("weights"))
    return found


def _with_recipe(args, settings):
    """The config of a run of a recipe, and what its folder keeps of the recipe."""
    from mdl_tf import recipes

    if not args.recipe:
        raise ConfigError(
            "`--smoke` makes a recipe small, and needs --recipe NAME. Received: --smoke alone"
        )
    if args.config:
        raise ConfigError(
            "`--recipe` and `--config` both say all settings; give one of them. "
            f"Received: --recipe {args.recipe} --config {args.config}"
        )
    given = [flag(name) for name in ("dataset", "data_dir", "weights") if name in settings]
    if args.smoke and given:
        raise ConfigError(
            "`--smoke` has a generated data set and random weights. "
            f"Received as well: {', '.join(given)}"
        )
    recipe = recipes.load(args.recipe)
    changes = {k: v for k, v in _from_anywhere(settings).items() if k in settings}
    if args.smoke:
        # Refused, if it is, before anything is written.
        recipe.smoke(None, **changes)
        from mdl_tf.datasets import stand_ins

        config = recipe.smoke(stand_ins.write(recipe.settings["dataset"]), **changes)
    else:
        config = recipe.config(**changes)
    print(announcement(recipe, config, changes, args.smoke))
    return config, recipe.record(config, args.smoke)


def _refuse_missing(config):
    """Say what to fetch for a data set that is not there before weights are fetched for it."""
    from mdl_tf.datasets import official

    if config.dataset in official.OFFICIAL:
        if official.state(config.dataset, config.data_dir).kind == "missing":
            official.read(config.dataset, config.data_dir)
