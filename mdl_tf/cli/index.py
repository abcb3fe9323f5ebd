"""`mdl-tf index`: make an index, add to it, take from it, look at it."""

import os

from mdl_tf.cli.common import Parser, add_on_corrupt, quiet
from mdl_tf.config import ConfigError


def add_to(commands):
    """Add the command to a parser's commands."""
    index = commands.add_parser(
        "index",
        help="make and keep an index: images or vectors to search in, that grows",
        description="An index is a folder with names, labels, columns, vectors and their model.",
    )
    actions = index.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)

    build = actions.add_parser("build", help="make an index of a folder of images or of features")
    build.add_argument(
        "model", metavar="RUN", help="run folder or .keras file; none: vectors as they are"
    )
    build.add_argument("source", metavar="SOURCE", help="folder of images, or .npz of features")
    build.add_argument("-o", "--output", metavar="INDEX", help="[name of the source.index]")
    add = actions.add_parser("add", help="add images; what is there already is not embedded again")
    add.add_argument("index", metavar="INDEX")
    add.add_argument("source", metavar="SOURCE", help="folder of images, or .npz of features")
    sync = actions.add_parser("sync", help="add, and remove what is gone from that folder")
    sync.add_argument("index", metavar="INDEX")
    sync.add_argument("source", metavar="FOLDER", help="folder of images")
    for command in (build, add, sync):
        command.add_argument(
            "--columns",
            metavar="FILE",
            help="CSV file with a column path, and columns for filters",
        )
        add_on_corrupt(command)
    remove = actions.add_parser("remove", help="remove images")
    remove.add_argument("index", metavar="INDEX")
    remove.add_argument("names", metavar="NAME", nargs="+", help="as a search prints it, or path")
    show = actions.add_parser("show", help="what is in an index")
    show.add_argument("index", metavar="INDEX")


def run(args):
    """Run the command."""
    if args.action is None:
        raise ConfigError("`index` must be one of build, add, sync, remove, show. Received: none")
    with quiet():
        from mdl_tf.index import Index
    if args.action == "build":
        return _build(args, Index)
    with Index.open(args.index) as index:
        if args.action == "remove":
            print(f"{index.remove(args.names):,} removed, {len(index):,} left")
        elif args.action == "show":
            _show(index)
        else:
            _change(args, index)
    return 0


def _build(args, index_class):
    source = args.source.rstrip("/\\")
    output = args.output or f"{os.path.splitext(os.path.basename(source))[0]}.index"
    if os.path.exists(output):
        raise ConfigError(
            f"`output` must not exist, or go on with `mdl-tf index add {output} {args.source}`. "
            f"Received: output={output}"
        )
    model = None if args.model == "none" else args.model
    # Read before anything is made.
    columns = _columns(args)
    with index_class.create(output, model) as index:
        try:
            _change(args, index, columns)
        except BaseException:
            if not len(index):
                index.delete()
            raise
    print(f"Search: mdl-tf search {output} QUERY.jpg")
    return 0


def _columns(args):
    if args.columns is None:
        return None
    from mdl_tf.index.columns_file import read_columns

    return read_columns(args.columns)


def _change(args, index, columns=None):
    from mdl_tf.progress import ProgressLine

    columns = columns or _columns(args)
    change = index.sync if args.action == "sync" else index.add
    with ProgressLine(f"Embed {args.source}") as line:
        changes = change(args.source, columns=columns, on_corrupt=args.on_corrupt, progress=line)
        line.done(changes.added + changes.changed, "images")
    for problem in changes.left_out:
        print(f"  left out: {problem.path}, which {problem.reason}")
    print(
        f"{index.path}: {changes.added:,} added, {changes.changed:,} changed, "
        f"{changes.unchanged:,} as they were, {changes.removed:,} removed; {len(index):,} in all"
    )


def _show(index):
    labels = index.labels
    print(f"{index.path}: {len(index):,} vectors of {index.width or 0} numbers")
    print(f"Labels: {len(labels):,}" + "".join(f"\n  {n:>8,}  {k}" for k, n in labels[:10]))
    if len(labels) > 10:
        print(f"  and {len(labels) - 10:,} more")
    if index.columns:
        print(f"Columns: {', '.join(index.columns)}")
