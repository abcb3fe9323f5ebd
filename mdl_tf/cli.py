"""The command `mdl-tf`. Arguments and messages only; the work is loaded inside its command."""

import argparse
import contextlib
import dataclasses
import difflib
import json
import os
import sys
import tempfile

from mdl_tf import __version__
from mdl_tf.config import ConfigError, TrainConfig


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options):
        # An abbreviated flag would come to mean something else when a flag is added.
        super().__init__(allow_abbrev=False, **options)

    def error(self, message):
        raise ConfigError(message)

    def flags_of(self, command):
        """The flags of a command, or of this parser if there is none."""
        parser = self._subparsers._group_actions[0].choices[command] if command else self
        return list(parser._option_string_actions)


def _flag(name):
    return "--" + name.replace("_", "-")


def _parser():
    parser = _Parser(
        prog="mdl-tf",
        description="Train embeddings that find the same thing again, and measure them.",
    )
    parser.add_argument("--version", action="version", version=f"mdl-tf {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    train = commands.add_parser(
        "train",
        help="train an embedding and show how much better it retrieves than before",
        description="Without arguments: Inception-BN with the Margin-based Discriminate Loss on "
        "glyphs, some minutes on two cores. Writes a folder below `runs`.",
    )
    train.add_argument("--config", metavar="FILE", help="settings from a JSON file; flags override")
    train.add_argument("--resume", metavar="RUN", help="go on with an interrupted run folder")
    train.add_argument("--name", help="name of the run folder [data set and backbone]")
    train.add_argument("--runs-dir", default="runs", metavar="DIR", help="folder of runs [runs]")
    settings = train.add_argument_group("settings")
    for field in dataclasses.fields(TrainConfig):
        _add_setting(settings, field)

    evaluate = commands.add_parser(
        "evaluate",
        help="measure the best model of a run on any data set",
        description="Retrieval and clustering metrics of the best model of a run, on the test "
        "classes of its own data set or on another one.",
    )
    evaluate.add_argument("run", metavar="RUN", help="run folder")
    evaluate.add_argument(
        "--dataset",
        choices=next(f for f in dataclasses.fields(TrainConfig) if f.name == "dataset").metadata[
            "choices"
        ],
        help="data set [that of the run]",
    )
    evaluate.add_argument("--data-dir", help="folder of images, or of cached drawn images")
    evaluate.add_argument(
        "--split",
        choices=("train", "validation", "test", "all"),
        help="which classes [test; all with --dataset folder]",
    )
    evaluate.add_argument(
        "--clustering", action=argparse.BooleanOptionalAction, default=True, help="NMI and F1"
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _add_setting(group, field):
    choices = field.metadata["choices"]
    default = field.default if field.default is not dataclasses.MISSING else {}
    # argparse formats help with %.
    text = f"{field.metadata['help']} [{default}]".replace("%", "%%")
    if field.type is bool:
        group.add_argument(
            _flag(field.name), action=argparse.BooleanOptionalAction, default=None, help=text
        )
    else:
        metavar = "{" + ",".join(choices) + "}" if choices else field.name.upper()
        group.add_argument(_flag(field.name), default=None, metavar=metavar, help=text)


def _settings(args):
    """The settings given as flags, as the types of their fields where the text is one."""
    settings = {}
    for field in dataclasses.fields(TrainConfig):
        value = getattr(args, field.name)
        if value is None:
            continue
        if field.type in (int, float, dict):
            # What is no number or JSON stays text, and the config says what it should have been.
            with contextlib.suppress(ValueError):
                value = (json.loads if field.type is dict else field.type)(value)
        elif field.name == "data_dir":
            # The run may be resumed or evaluated from another folder.
            value = _absolute(value)
        settings[field.name] = value
    return settings


def _absolute(path):
    return None if path is None else os.path.abspath(os.path.expanduser(path))


@contextlib.contextmanager
def _quiet():
    """Hold back what TensorFlow's C++ side logs while it is imported; show it if that fails."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def _train(args):
    from mdl_tf.runs import Run

    settings = _settings(args)
    if args.resume:
        given = [_flag(name) for name in settings]
        given += ["--config"] * bool(args.config) + ["--name"] * bool(args.name)
        if given:
            raise ConfigError(
                f"`--resume` takes all settings from the run. Received as well: {', '.join(given)}"
            )
        run = Run.open(args.resume)
        run.remove_unfinished()
        config = run.config
    else:
        if args.config:
            settings = {**TrainConfig.from_json(args.config).to_dict(), **settings}
        config = TrainConfig.from_dict(settings)
        run = Run.create(config, args.runs_dir, args.name)
    print("Load TensorFlow ...", flush=True)
    with _quiet():
        from mdl_tf import train

    try:
        train.train(config, run)
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with: mdl-tf train --resume {run.folder}", file=sys.stderr)
        return 130
    except Exception:
        run.discard_if_empty()
        if (run.folder / "resume" / "state.json").is_file():
            print(f"Kept so far: {run.folder}; see `mdl-tf train --resume`.", file=sys.stderr)
        raise
    if config.tensorboard:
        print(f"Watch it:   tensorboard --logdir {run.tensorboard}")
    print(f"Measure it: mdl-tf evaluate {run.folder}")
    return 0


def _evaluate(args):
    from mdl_tf.runs import Run

    run = Run.open(args.run)
    with _quiet():
        from mdl_tf import evaluation, report

    measured = evaluation.evaluate_run(
        run,
        dataset=args.dataset,
        data_dir=_absolute(args.data_dir),
        split=args.split,
        clustering=args.clustering,
        # Standard output holds nothing but the JSON.
        stream=sys.stderr if args.json else None,
    )
    if args.json:
        print(json.dumps(measured, indent=2))
    else:
        print(
            f"{measured['dataset']} {measured['split']}: {measured['images']:,} images of "
            f"{measured['classes']:,} classes"
        )
        print(report.table({run.folder.name: measured}))
    return 0


def _unknown_flags(command, flags):
    known = [flag for flag in _parser().flags_of(command) if flag.startswith("--")]
    flag = flags[0].split("=")[0]
    near = difflib.get_close_matches(flag, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return ConfigError(f"Unknown argument {flag}.{hint} Known arguments: {', '.join(known)}")


def main(argv=None):
    """Run a command.

    Args:
        argv: the arguments. Defaults to those of the process.

    Returns:
        0 if all is well, 2 for input that cannot be, 130 if interrupted, 1 for a defect.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        args, unknown = _parser().parse_known_args(argv)
        if unknown:
            raise _unknown_flags(args.command, unknown)
        if args.command is None:
            _parser().print_help()
            return 0
        return {"train": _train, "evaluate": _evaluate}[args.command](args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("MDL_TF_TRACEBACK"):
            raise
        print(f"mdl-tf: error: {error}", file=sys.stderr)
        if isinstance(error, ValueError):
            return 2
        print("Set MDL_TF_TRACEBACK=1 to see where.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
