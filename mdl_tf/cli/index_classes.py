"""`mdl-tf index confusion` and `calibrate`: an index and classes whose labels are known."""

from mdl_tf.cli import asking
from mdl_tf.cli.common import add_on_corrupt
from mdl_tf.progress import quiet

ACTIONS = ("calibrate", "confusion")
_SHOWN = 15  # lines of each table
_DRAWN = 25  # classes
_LONGEST = 40  # letters of a name


def add_to(actions):
    """Add the actions to those of `mdl-tf index`; returns their parsers."""
    calibrate = actions.add_parser(
        "calibrate", help="settle what distances mean, on classes that trained nothing"
    )
    calibrate.add_argument("index", metavar="INDEX")
    calibrate.add_argument(
        "source",
        metavar="FOLDER",
        help="with a subfolder for each class, which neither trained the model nor test it",
    )
    confusion = actions.add_parser("confusion", help="the worst classes, and what they pass for")
    confusion.add_argument("index", metavar="INDEX")
    confusion.add_argument(
        "source",
        nargs="?",
        metavar="FOLDER",
        help="with a subfolder for each class, whose images are classified [each image of the "
        "index, by the others]",
    )
    confusion.add_argument("-k", default="5", help="how many images vote [5]")
    confusion.add_argument("--out", metavar="FILE", help="write all confusions as a CSV file")
    confusion.add_argument(
        "--picture", metavar="FILE", help="draw the worst classes as a matrix (.png, .pdf, .svg)"
    )
    for command in (calibrate, confusion):
        add_on_corrupt(command)
    return calibrate, confusion


def run(args, index):
    """Run an action on an open index."""
    if args.action == "calibrate":
        return _calibrate(args, index)
    return _confuse(args, index)


def check(args):
    """Refuse arguments that cannot be, before the index is opened.

    Raises:
        ConfigError: for a file that cannot be written, or `k` that is no count.
    """
    if args.action == "confusion":
        asking.read_count(args, "k")
        asking.check_output("out", args.out, ".csv")
        asking.check_output("picture", args.picture, ".png", ".pdf", ".svg")


def _calibrate(args, index):
    from mdl_tf.metrics.calibration import describe
    from mdl_tf.progress import ProgressLine

    with ProgressLine(f"Embed {args.source}") as line:
        calibration = index.calibrate(args.source, on_corrupt=args.on_corrupt, progress=line)
    print(describe(calibration))
    print(f"Search: mdl-tf search {args.index} QUERY.jpg --far 0.001")
    return 0


def _confuse(args, index):
    from mdl_tf.progress import ProgressLine

    with ProgressLine(f"Classify {args.source or args.index}") as line:
        confusion = index.confusion(
            args.source,
            k=asking.read_count(args, "k"),
            on_corrupt=args.on_corrupt,
            progress=line,
        )
        line.done(int(confusion.counts.sum()), "images")
    _print(confusion)
    if args.out:
        asking.write_csv(args.out, confusion.HEAD, confusion.cells())
        print(f"Table: {args.out}")
    if args.picture:
        from mdl_tf.files import replacing

        with quiet():
            from mdl_tf.pictures import plots
        with replacing(args.picture) as path:
            plots.confusion_matrix(*confusion.worst(_DRAWN)).savefig(path, dpi=150)
        print(f"Picture: {args.picture}")
    return 0


def _print(confusion):
    from mdl_tf.words import shorten

    images, rows = int(confusion.counts.sum()), confusion.rows()
    print(f"{confusion.right:.1%} of {images:,} images of {len(rows):,} classes get their class.")
    wrong = [row for row in rows if row.right < 1]
    if not wrong:
        return
    print(f"The worst classes{_of(len(wrong))}:")
    asking.print_table(
        ["class", "images", "right", "most often taken for", "times"],
        [
            [
                shorten(row.label, _LONGEST),
                f"{row.images:,}",
                f"{row.right:.0%}",
                shorten(row.confused_with or "no class", _LONGEST),
                f"{row.confused:,}" if row.confused_with else "",
            ]
            for row in wrong[:_SHOWN]
        ],
        left=(0, 3),
    )
    pairs = confusion.pairs()
    print(f"The most frequent confusions{_of(len(pairs))}:")
    asking.print_table(
        ["class", "taken for", "times", "of"],
        [
            [
                shorten(pair.label, _LONGEST),
                shorten(pair.taken_for or "no class", _LONGEST),
                f"{pair.times:,}",
                f"{pair.images:,}",
            ]
            for pair in pairs[:_SHOWN]
        ],
        left=(0, 1),
    )


def _of(amount):
    return f" ({_SHOWN} of {amount:,})" if amount > _SHOWN else ""
