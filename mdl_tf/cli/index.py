"""`mdl-tf index`: make an index, add to it, take from it, look at it."""

import os

from mdl_tf.cli import asking, index_classes
from mdl_tf.cli.common import Parser, add_on_corrupt, add_own_model
from mdl_tf.config import ConfigError
from mdl_tf.progress import quiet
from mdl_tf.words import clean


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
    sources = "folders of images, .npz files of features, or files that `mdl-tf embed` wrote"
    build.add_argument("source", metavar="SOURCE", nargs="+", help=sources)
    build.add_argument("-o", "--output", metavar="INDEX", help="[name of the source.index]")
    build.add_argument(
        "--kind",
        default="exact",
        help="exact; or with FAISS ivf, hnsw, or pq where memory is short [exact]",
    )
    add_own_model(build)
    add = actions.add_parser("add", help="add images; what is there already is not embedded again")
    add.add_argument("index", metavar="INDEX")
    add.add_argument("source", metavar="SOURCE", nargs="+", help=sources)
    sync = actions.add_parser("sync", help="add, and remove what is gone from that folder")
    sync.add_argument("index", metavar="INDEX")
    sync.add_argument("source", metavar="FOLDER", nargs=1, help="folder of images")
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
    kind = actions.add_parser("kind", help="choose how it is searched")
    kind.add_argument("index", metavar="INDEX")
    kind.add_argument("kind", metavar="KIND", help="exact, ivf, hnsw or pq")
    show = actions.add_parser("show", help="what is in an index")
    show.add_argument("index", metavar="INDEX")
    for command in (build, add, sync, remove, kind, show, *index_classes.add_to(actions)):
        add_server(command, with_model=command is not build)


def run(args):
    """Run the command."""
    if args.action is None:
        own = ("build", "add", "sync", "remove", "kind", "show")
        actions = ", ".join((*own, *index_classes.ACTIONS))
        raise ConfigError(f"`index` must be one of {actions}. Received: none")
    if args.action in index_classes.ACTIONS:
        index_classes.check(args)
    with quiet():
        from mdl_tf.index import Index
    if args.action == "build":
        return _build(args, Index)
    with open_index(args.index, args) as index:
        if args.action == "remove":
            print(f"{index.remove(args.names):,} removed, {len(index):,} left")
        elif args.action == "kind":
            _set_kind(index, args.kind)
        elif args.action == "show":
            _show(index)
        elif args.action in index_classes.ACTIONS:
            index_classes.run(args, index)
        else:
            _change(args, index)
    return 0


def _build(args, index_class):
    from mdl_tf.index.place import is_address

    source = args.source[0].rstrip("/\\")
    if is_address(args.output):
        return _build_on_server(args, index_class)
    if args.name is not None:
        raise ConfigError("`name` is of an index on a server. Received: a folder")
    output = args.output or f"{os.path.splitext(os.path.basename(source))[0]}.index"
    if os.path.exists(output):
        raise ConfigError(
            f"`output` must not exist, or go on with `mdl-tf index add {output} {args.source[0]}`. "
            f"Received: output={output}"
        )
    model = None if args.model == "none" else args.model
    # Read before anything is made.
    columns = _columns(args)
    chosen = {"output": args.model_output, "input_range": args.input_range}
    with index_class.create(output, model, args.kind, **chosen) as index:
        try:
            _change(args, index, columns)
            if args.kind != "exact":
                print(f"Search: {index.kind}")
        except BaseException:
            if not len(index):
                index.delete()
            raise
    print(f"Search: mdl-tf search {output} QUERY.jpg")
    return 0


def _build_on_server(args, index_class):
    name, columns = args.name or "index", _columns(args)
    model = None if args.model == "none" else args.model
    with index_class.connect(args.output, name, model) as index:
        if len(index):
            raise ConfigError(
                "`name` must be of no index that has images, or go on with `mdl-tf index add "
                f"{index.path} {args.source[0]} --name {name}`. Received: name={name}"
            )
        index.set_kind(args.kind)
        _change(args, index, columns)
        if args.kind != "exact":
            print(f"Search: {index.kind}")
        print(f"Search: mdl-tf search {index.path} --name {name} QUERY.jpg")
    return 0


def _set_kind(index, kind):
    from mdl_tf.progress import ProgressLine

    with ProgressLine(f"Make {kind}") as line:
        told = index.set_kind(kind, line)
        line.done(len(index), "vectors")
    print(f"Search: {told}")


def _columns(args):
    if args.columns is None:
        return None
    from mdl_tf.index.columns_file import read_columns

    return read_columns(args.columns)


def _change(args, index, columns=None):
    from mdl_tf.progress import ProgressLine

    columns = columns or _columns(args)
    change = index.sync if args.action == "sync" else index.add
    for source in args.source:
        with ProgressLine(f"Embed {source}") as line:
            changes = change(source, columns=columns, on_corrupt=args.on_corrupt, progress=line)
            line.done(changes.added + changes.changed, "images")
        for problem in changes.left_out:
            print(f"  left out: {problem}")
        print(
            f"{index.path}: {changes.added:,} added, {changes.changed:,} changed, "
            f"{changes.unchanged:,} as they were, {changes.removed:,} removed; "
            f"{len(index):,} in all"
        )


def _show(index):
    labels = index.labels
    print(f"{index.path}: {len(index):,} vectors of {index.width or 0} numbers")
    print(f"Labels: {len(labels):,}" + "".join(f"\n  {n:>8,}  {clean(k)}" for k, n in labels[:10]))
    if len(labels) > 10:
        print(f"  and {len(labels) - 10:,} more")
    print(f"Search: {index.kind}")
    if index.columns:
        print(f"Columns: {', '.join(map(clean, index.columns))}")


def add_server(parser, with_model=True):
    """Add what an index on a server needs to a parser.

    Args:
        parser: of a command that takes an index.
        with_model: whether it takes the model as well. Defaults to `True`.
    """
    parser.add_argument(
        "--name", help="of an index on a server, postgresql://user@host/database [index]"
    )
    if with_model:
        parser.add_argument(
            "--model", metavar="RUN", help="of an index on a server, if its model was moved"
        )


def open_index(place, args):
    """The index in a folder or on a server.

    Args:
        place: a path, or an address.
        args: with what `add_server` has added.

    Returns:
        An `Index`.

    Raises:
        ValueError: if there is none.
    """
    on_server = is_on_server(place, args)
    from mdl_tf.index import Index

    if on_server:
        return Index.connect(place, args.name or "index", args.model, create=False)
    return Index.open(place)


def is_on_server(place, args):
    """Whether an index is on a server; of a folder what `add_server` has added is refused.

    Args:
        place: a path, or an address.
        args: with what `add_server` has added.

    Raises:
        ConfigError: for a flag of a server with a folder.
    """
    from mdl_tf.index.place import is_address

    if is_address(place):
        return True
    for name in ("name", "model"):
        if getattr(args, name) is not None:
            raise ConfigError(f"`{name}` is of an index on a server. Received: a folder")
    return False


def add_to_search(parser):
    """Add what a search in an index has to the parser of `search`."""
    parser.add_argument(
        "--where",
        metavar="JSON",
        help='of an index: a filter, such as \'{"label": ["bird", "bat"], "price": {"<": 10}}\'',
    )
    parser.add_argument(
        "--threshold", metavar="DISTANCE", help="of an index: the largest distance of a hit"
    )
    parser.add_argument(
        "--far",
        metavar="SHARE",
        help="of a calibrated index, in place of --threshold: the share of pairs of two classes "
        "that may be taken for one, such as 0.001",
    )
    add_server(parser)


def refuse_filters(args):
    """Refuse what only an index has.

    Raises:
        ConfigError: for a flag of `add_to_search`.
    """
    for name in ("where", "threshold", "far", "name", "model"):
        if getattr(args, name) is not None:
            raise ConfigError(
                f"`{name}` is of an index (`mdl-tf index build`) only. "
                f"Received: {name}={getattr(args, name)!r}"
            )


def search_index(args, queries, k):
    """The hits of `mdl-tf search INDEX QUERY`.

    Args:
        args: of `search`.
        queries: paths of image files.
        k: how many.

    Returns:
        For each query a list of `Hit`s.

    Raises:
        ValueError: as `Index.search`.
    """
    from mdl_tf.index import Hit
    from mdl_tf.serve import running

    if args.leave_out_query:
        raise ConfigError("`leave_out_query` is of vectors, not of an index. Received: an index")
    if args.threshold is not None and args.far is not None:
        raise ConfigError("`threshold` and `far` must not be given together. Received: both")
    where = asking.read_filter(args)
    numbers = {name: asking.read_number(args, name, least=0) for name in ("threshold", "far")}
    # One that has the model loaded, if somebody serves this index.
    rows = running.ask(args.run, queries, k, where=where, **numbers)
    if rows is not None:
        return [[Hit(**hit) for hit in hits] for hits in rows]
    with open_index(args.run, args) as index:
        threshold = numbers["threshold"]
        if numbers["far"] is not None:
            threshold = index.threshold_at(numbers["far"])
        return index.search(queries, k, where=where, threshold=threshold)
