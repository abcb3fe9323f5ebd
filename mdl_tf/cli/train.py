"""`mdl-tf train`: the settings as flags, a new run or an interrupted one."""

import contextlib
import io
import logging
import os
import shutil
import sys
import tempfile

from mdl_tf.cli.common import flag
from mdl_tf.cli.recipes import announcement
from mdl_tf.cli.settings import (
    add_settings,
    make_paths_absolute,
    merge_settings,
    read_flags,
    refuse_missing,
)
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.progress import quiet


def add_to(commands):
    """Add the command to a parser's commands."""
    train = commands.add_parser(
        "train",
        help="train an embedding and show how much better it retrieves than before",
        description="Without arguments: Inception-BN with the Margin-based Discriminate Loss on "
        "glyphs, some minutes on two cores. Writes a folder below `runs`.",
    )
    train.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="a folder with one subfolder of images per class, a .csv or an .npz file: short for "
        "--dataset folder (csv, npz) --data-dir DATA",
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
    train.add_argument(
        "--restart",
        nargs="?",
        const=True,
        metavar="RUN",
        help="with --resume: begin again from the first epoch; what the run has is kept, in its "
        "folder earlier-1",
    )
    train.add_argument("--name", help="name of the run folder [recipe, or data set and backbone]")
    train.add_argument("--runs-dir", default="runs", metavar="DIR", help="folder of runs [runs]")
    add_settings(train)


def run(args):
    """Run the command."""
    from mdl_tf.runs import Run

    settings = {**read_flags(args), **_as_data(args)}
    if args.restart:
        if args.restart is True and not args.resume:
            raise ConfigError("`--restart` needs the run: mdl-tf train --resume RUN --restart")
        if args.restart is not True and args.resume not in (None, args.restart):
            raise ConfigError(
                "`--restart` and `--resume` must name one run. "
                f"Received: {args.restart} and {args.resume}"
            )
        args.resume = args.resume or args.restart
    cluster = _read_cluster(args)
    if args.resume:
        _refuse_settings(args, settings)
    if cluster is not None and not cluster.is_chief:
        return _follow(args, settings, cluster)
    run = Run.open(args.resume) if args.resume else _new(args, settings)
    return _train(run, run.folder, args, settings)


def _read_cluster(args):
    """The cluster that this process belongs to, or `None`."""
    from mdl_tf.distribute import read_cluster

    cluster = read_cluster()
    if cluster is not None and not (args.resume or args.name):
        raise ConfigError(
            "`--name` must be given with several workers, so that all train the same run. "
            f"Received: TF_CONFIG with {len(cluster.workers)} workers"
        )
    return cluster


def _follow(args, settings, cluster):
    """Train as a worker that is not the chief: all that it keeps is in a folder of its own."""
    from mdl_tf.runs import Run

    folder = args.resume or os.path.join(args.runs_dir, args.name)
    print(
        f"Worker {cluster.index + 1} of {len(cluster.workers)}: the chief alone writes {folder}.",
        flush=True,
    )
    if not args.resume and os.path.isdir(folder) and Run(folder).has_epochs:
        # As the chief is told, for whom this worker would wait.
        raise ConfigError(
            f"`name` must be new, or go on with `--resume {folder}`. "
            f"Received: name={args.name!r}, which exists"
        )
    with tempfile.TemporaryDirectory(prefix="mdl-tf-worker-") as own:
        if args.resume:
            Run.open(args.resume)  # refused as the chief's is
            copy = os.path.join(own, "run")
            left_out = shutil.ignore_patterns("tensorboard", "earlier-*", ".lock")
            shutil.copytree(args.resume, copy, ignore=left_out)
            run = Run.open(copy)
            if "epochs" in settings and run.config.epochs == settings["epochs"]:
                del settings["epochs"]  # the chief was faster
        else:
            args.runs_dir = own
        with contextlib.redirect_stdout(io.StringIO()):
            run = run if args.resume else _new(args, settings)
            return _train(run, folder, args, settings)


def _as_data(args):
    """The settings that DATA stands for."""
    from mdl_tf.datasets.table import DATASETS

    if args.data is None:
        return {}
    path = os.path.expanduser(args.data)
    given = [name for name in ("dataset", "data_dir") if getattr(args, name) is not None]
    suffix = os.path.splitext(path)[1].lower()
    if given:
        received = ", ".join(flag(name) for name in given)
        raise ConfigError(
            "DATA stands for --dataset and --data-dir; give one of them. "
            f"Received as well: {received}"
        )
    if os.path.isfile(os.path.join(path, "config.json")) and not args.resume:
        raise ConfigError(
            "DATA must be data; a run goes on by --resume. "
            f"Received: {args.data}, the folder of a run"
        )
    if os.path.isdir(path):
        return {"dataset": "folder", "data_dir": args.data}
    if os.path.isfile(path) and suffix in (".csv", ".npz"):
        return {"dataset": suffix[1:], "data_dir": args.data}
    hint = f" The data set {args.data} is --dataset {args.data}." if args.data in DATASETS else ""
    raise ConfigError(
        "DATA must be a folder with one subfolder of images per class, a .csv or an .npz file."
        f"{hint} Received: {args.data}, which is "
        + ("a file of another kind" if os.path.exists(path) else "not there")
    )


def _train(run, folder, args, settings):
    """Train a run, as the only process in its folder; `folder` is where it goes on."""
    if args.restart:
        run.begin_again()
    with run.alone("A run must be trained"):
        if "epochs" in settings and args.resume:
            run.extend(settings["epochs"])
        return _train_alone(run, folder)


def _train_alone(run, folder):
    config = run.config
    print("Load TensorFlow ...", flush=True)
    with quiet():
        from mdl_tf.distribute.workers import tell_of_lost_worker
        from mdl_tf.runs import train
    # Each network of a run is traced anew, which TensorFlow takes for a mistake.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)

    try:
        train(config, run)
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with: mdl-tf train --resume {folder}", file=sys.stderr)
        return 130
    except Exception as error:
        lost = tell_of_lost_worker(error)
        if lost:
            raise ConfigError(
                f"{lost}. Go on by starting all workers with: mdl-tf train --resume {folder}"
            ) from error
        run.discard_if_new()
        # Not instead of the error, where that is of a damaged file.
        with contextlib.suppress(ConfigError):
            if run.folder.exists() and run.has_epochs:
                print(f"Kept so far: {run.folder}; see `mdl-tf train --resume`.", file=sys.stderr)
        raise
    if config.tensorboard:
        watched = run.folder if config.cross_validated else run.tensorboard
        print(f"Watch it:   tensorboard --logdir {watched}")
    print(f"Measure it: mdl-tf evaluate {run.folder}")
    return 0


def _refuse_settings(args, settings):
    """All settings of a run that goes on are known, but how long it is."""
    refused = [flag(name) for name in settings if name != "epochs"]
    refused += [flag(name) for name in ("config", "recipe", "smoke", "name") if getattr(args, name)]
    if refused:
        raise ConfigError(
            "`--resume` takes all settings but --epochs from the run. "
            f"Received as well: {', '.join(refused)}"
        )


def _new(args, settings):
    """The folder of a run that begins."""
    from mdl_tf.runs import Run

    record = None
    if args.recipe or args.smoke:
        config, record = _with_recipe(args, settings)
    else:
        config = TrainConfig.from_dict(merge_settings(args, settings))
    refuse_missing(config)
    return Run.create(config, args.runs_dir, args.name, recipe=record)


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
    unused = [flag(name) for name in ("dataset", "data_dir", "weights") if name in settings]
    if args.smoke and unused:
        raise ConfigError(
            "`--smoke` has a generated data set and random weights. "
            f"Received as well: {', '.join(unused)}"
        )
    recipe = recipes.load(args.recipe)
    changes = {k: v for k, v in make_paths_absolute(settings).items() if k in settings}
    if args.smoke:
        # Refused, if it is, before anything is written.
        recipe.smoke(None, **changes)
        from mdl_tf.datasets.papers import stand_ins

        config = recipe.smoke(stand_ins.write(recipe.settings["dataset"]), **changes)
    else:
        config = recipe.config(**changes)
    print(announcement(recipe, config, changes, args.smoke))
    return config, recipe.record(config, args.smoke)
