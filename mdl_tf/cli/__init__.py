"""The command `mdl-tf`. Arguments and messages only; the work is loaded inside its command."""

import difflib
import os
import sys
import warnings

from mdl_tf import __version__
from mdl_tf.cli import (
    classify,
    cluster,
    compare,
    convert,
    datasets,
    doctor,
    evaluate,
    export,
    index,
    recipes,
    search,
    serve,
    train,
)
from mdl_tf.cli.common import Parser, printing_safely, refused_by_disk
from mdl_tf.config import ConfigError
from mdl_tf.words import clean, is_text, shorten

_COMMANDS = {
    "train": train.run,
    "evaluate": evaluate.run,
    "compare": compare.run,
    "doctor": doctor.run,
    "embed": search.run_embed,
    "search": search.run_search,
    "index": index.run,
    "classify": classify.run,
    "cluster": cluster.run,
    "serve": serve.run,
    "export": export.run,
    "datasets": datasets.run,
    "recipes": recipes.run,
    "convert-weights": convert.run,
}


def _parser():
    parser = Parser(
        prog="mdl-tf",
        description="Train embeddings that find the same thing again, and measure them.",
    )
    parser.add_argument("--version", action="version", version=f"mdl-tf {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for command in (
        *(train, evaluate, compare, doctor, search, index, classify, cluster, serve, export),
        *(datasets, recipes, convert),
    ):
        command.add_to(commands)
    return parser


def _unknown_flags(command, flags):
    known = [flag for flag in _parser().flags_of(command) if flag.startswith("--")]
    flag = flags[0].split("=")[0]
    near = difflib.get_close_matches(flag, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return ConfigError(f"Unknown argument {flag}.{hint} Known arguments: {', '.join(known)}")


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Our own warnings are for users, who need no line of source."""
    if filename.startswith(os.path.dirname(os.path.dirname(__file__))):
        print(f"mdl-tf: warning: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr)


def main(argv=None):
    """Run a command.

    Args:
        argv: the arguments. Defaults to those of the process.

    Returns:
        0 if all is well, 2 for input that cannot be, 130 if interrupted, 1 for a defect.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The working folder may hold a backbone of the user's own; an installed command does not look
    # there. At the end, so that nothing installed is shadowed.
    if "" not in sys.path:
        sys.path.append("")
    warnings.showwarning = _show_warning
    with printing_safely():
        try:
            return _run(sys.argv[1:] if argv is None else list(argv))
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # The reader of our output is gone; Python must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if os.environ.get("MDL_TF_TRACEBACK"):
                raise
            return _tell(error)


def _run(argv):
    for argument in argv:
        if not is_text(argument):
            raise ConfigError(
                "An argument must be in UTF-8, as TensorFlow names files, without the character "
                f"NUL. Received: {shorten(clean(argument), 80)}"
            )
    args, unknown = _parser().parse_known_args(argv)
    if unknown:
        raise _unknown_flags(args.command, unknown)
    if args.command is None:
        _parser().print_help()
        return 0
    return _COMMANDS[args.command](args)


def _tell(error):
    """Print an error and return the exit code."""
    from mdl_tf.images.file import find_message

    # Of a file that changed while it was used, in the words of TensorFlow around it.
    told = find_message(str(error))
    if told is None and isinstance(error, ValueError):
        told = str(error)
    told = told or refused_by_disk(error)
    if told is None and isinstance(error, MemoryError):
        told = "There is not enough memory for this: take fewer or smaller images, or batches"
    if told is not None:
        print(f"mdl-tf: error: {told}", file=sys.stderr)
        return 2
    print(f"mdl-tf: error: {error or type(error).__name__}", file=sys.stderr)
    print("Set MDL_TF_TRACEBACK=1 to see where.", file=sys.stderr)
    return 1
