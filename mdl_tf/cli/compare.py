"""`mdl-tf compare`: the same network with several losses, each searched with equal effort."""

import sys

from mdl_tf.cli.settings import add_settings, merge_settings, read_flags, refuse_missing
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.progress import quiet

# Those that the paper of our loss compares.
LOSSES = "margin_discriminate,contrastive,triplet,lifted_structure,n_pairs"


def add_to(commands):
    """Add the command to a parser's commands."""
    from mdl_tf.compare.comparison import MONITOR, NOT_SHARED, VALIDATION

    compare = commands.add_parser(
        "compare",
        help="train the same network with several losses, and show which retrieves better",
        description="Tries an equal number of settings for every loss, its own and the learning "
        "rate, on classes held out of training; then trains the best of each with fresh seeds and "
        "measures it on the test classes. Writes report.html, report.md and results.csv into a "
        "folder below `runs`. The same command again goes on where it stopped, also with more "
        "losses, settings or seeds.",
    )
    compare.add_argument(
        "--losses",
        default=LOSSES,
        metavar="A,B,C",
        help="which, with commas; all; settings may be held, as in triplet:mining=hard [the "
        f"paper's five: {LOSSES}]",
    )
    compare.add_argument("--search", default=16, help="settings tried for each loss [16]")
    compare.add_argument("--seeds", default=5, help="runs of the best settings of each loss [5]")
    compare.add_argument(
        "--config", metavar="FILE", help="settings from a JSON file; flags override"
    )
    compare.add_argument("--name", help="name of the folder [compare-, data set and backbone]")
    compare.add_argument(
        "--restart",
        action="store_true",
        help="begin again, with other settings or data; what the folder has is kept, in its folder "
        "earlier-1",
    )
    compare.add_argument("--runs-dir", default="runs", metavar="DIR", help="folder of runs [runs]")
    add_settings(compare, NOT_SHARED, {"validation": VALIDATION, "monitor": MONITOR})


def run(args):
    """Run the command."""
    from mdl_tf.compare import Comparison, Folder, compare, parse
    from mdl_tf.compare.comparison import MONITOR, VALIDATION

    settings = read_flags(args)
    if not args.config:
        settings = {"validation": VALIDATION, **settings}
        # Without validation classes the comparison itself is refused, not a monitor.
        if settings["validation"]:
            settings = {"monitor": MONITOR, **settings}
    settings = merge_settings(args, settings)
    if args.config:
        settings["loss_args"] = _without_defaults(settings)
    config = TrainConfig.from_dict(settings)
    comparison = Comparison(
        config, parse(args.losses), _count("search", args.search), _count("seeds", args.seeds)
    )
    refuse_missing(config)
    folder = Folder.of(comparison, args.runs_dir, args.name, restart=args.restart)
    print(f"Folder: {folder.path}")
    print("Load TensorFlow ...", flush=True)
    with quiet():
        import tensorflow  # noqa: F401
    page = folder.path / "report.html"
    try:
        compare(comparison, folder)
    except KeyboardInterrupt:
        so_far = f"; so far: {page}" if page.is_file() else ""
        print(f"\nInterrupted. The same command goes on{so_far}", file=sys.stderr)
        return 130
    print(f"Report: {page}")
    return 0


def _without_defaults(settings):
    """The settings of the loss, none if they are its defaults, which a run writes down."""
    with quiet():
        from mdl_tf.runs.resolve import resolve

    defaults = resolve(TrainConfig(loss=settings["loss"])).loss_args
    return {} if settings["loss_args"] == defaults else settings["loss_args"]


def _count(name, value):
    try:
        return int(value)
    except ValueError:
        raise ConfigError(f"`{name}` must be an integer. Received: {name}={value!r}") from None
