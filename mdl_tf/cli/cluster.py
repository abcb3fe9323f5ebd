"""`mdl-tf cluster`: images in groups without labels, and near-duplicates."""

import contextlib
import os
import tempfile

from mdl_tf.checks import GROUPINGS
from mdl_tf.cli import asking
from mdl_tf.cli.common import add_on_corrupt
from mdl_tf.cli.index import add_server, open_index
from mdl_tf.config import ConfigError
from mdl_tf.progress import quiet

_SHOWN = 12  # groups
_LONGEST = 48  # letters of a name


def add_to(commands):
    """Add the command to a parser's commands."""
    cluster = commands.add_parser(
        "cluster",
        help="put images into groups without labels, or find near-duplicates",
        description="Writes a table and a page of contact sheets: the largest group first, with "
        "its most typical image, and the images of no group. Nothing is moved or deleted.",
    )
    cluster.add_argument(
        "source",
        metavar="INDEX",
        help="folder of an index; vectors.npz of `mdl-tf embed`; or a run or .keras file, with "
        "FOLDER",
    )
    cluster.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="of images, which the run embeds first; or an .npz file of features",
    )
    cluster.add_argument("-k", metavar="N", help="how many groups [as many as there are]")
    cluster.add_argument(
        "--method",
        choices=GROUPINGS,
        help="kmeans: N groups of any number of images; agglomerative: average linkage, up to a "
        "distance or N groups; hdbscan: as many as are dense [kmeans with -k, else agglomerative "
        "where a distance is known, else hdbscan]",
    )
    cluster.add_argument(
        "--threshold",
        metavar="DISTANCE",
        help="of agglomerative: mean distance up to which two groups are one; with "
        "--near-duplicates: the largest distance to another one of the group",
    )
    cluster.add_argument(
        "--far",
        metavar="SHARE",
        help="in place of --threshold, of a calibrated run or index: the share of pairs of two "
        "classes that are as near [0.01]",
    )
    cluster.add_argument(
        "--smallest",
        metavar="N",
        help="images of a group, at least; others are in no group [1, of agglomerative 2, of "
        "hdbscan 5]",
    )
    cluster.add_argument(
        "--near-duplicates",
        action="store_true",
        help="find images that show nearly the same, by a small distance",
    )
    asking.add_filter(cluster)
    add_on_corrupt(cluster)
    add_server(cluster)
    cluster.add_argument("--seed", default="0", help="of k-means [0]")
    cluster.add_argument("--out", metavar="FILE", help="table [groups.csv, or near-duplicates.csv]")
    cluster.add_argument("--page", metavar="FILE", help="page [as the table, but .html]")


def run(args):
    """Run the command."""
    options = _read_options(args)
    stem = "near-duplicates" if args.near_duplicates else "groups"
    out = args.out or f"{stem}.csv"
    page = args.page or f"{os.path.splitext(out)[0]}.html"
    asking.check_output("out", out, ".csv")
    asking.check_output("page", page, ".html")
    _check_source(args)
    with quiet():
        from mdl_tf.index.groups_page import describe, describe_labels
    from mdl_tf.progress import ProgressLine
    from mdl_tf.words import shorten

    with _opened(args) as index:
        with ProgressLine("Compare", len(index)) as line:
            find = index.near_duplicates if args.near_duplicates else index.cluster
            groups = find(**options, progress=line)
            line.done(groups.images, "images")
    # First: whoever reads what is printed may be gone.
    asking.write_text(out, groups.to_csv())
    with ProgressLine("Draw the page") as line:
        asking.write_text(page, groups.to_html(_title(args), line))
    for text in describe(groups):
        print(text)
    rows = [
        [
            f"{group.number:,}",
            f"{len(group.members):,}",
            shorten(group.most_typical.name, _LONGEST),
            describe_labels(group),
        ]
        for group in groups.groups[:_SHOWN]
    ]
    if rows:
        asking.print_table(["group", "images", "most typical", "labels"], rows, left=(2, 3))
    if len(groups) > _SHOWN:
        print(f"  and {len(groups) - _SHOWN:,} more")
    print(f"Table: {out}\nPage:  {page}")
    return 0


def _read_options(args):
    """The arguments of `Index.cluster` or `Index.near_duplicates`."""
    threshold = asking.read_number(args, "threshold", least=0)
    options = {"where": asking.read_filter(args), "threshold": threshold}
    rest = {
        "k": asking.read_count(args, "k"),
        "method": args.method,
        "far": asking.read_number(args, "far", above=0, below=1),
        "smallest": asking.read_count(args, "smallest"),
    }
    if args.near_duplicates:
        for name, value in rest.items():
            if value is not None:
                raise ConfigError(
                    f"`{name}` is not of --near-duplicates, which takes --threshold alone. "
                    f"Received: {name}={value}"
                )
        return options
    return {**options, **rest, "seed": asking.read_count(args, "seed", least=0)}


def _check_source(args):
    """Refuse sources that do not go together, before TensorFlow is loaded."""
    source = os.path.expanduser(args.source)
    is_run = os.path.isfile(os.path.join(source, "config.json")) or source.endswith(".keras")
    if is_run and args.folder is None:
        raise ConfigError(
            "FOLDER must be given with a run: what is put into groups. "
            f"Received: {args.source} alone"
        )
    if not is_run and args.source != "none" and args.folder is not None:
        raise ConfigError(
            "FOLDER must be given with a run or a .keras file only. "
            f"Received: {args.source} and {args.folder}"
        )
    for name in ("name", "model"):
        if args.folder is not None and getattr(args, name) is not None:
            raise ConfigError(f"`{name}` is of an index on a server. Received: a folder")


@contextlib.contextmanager
def _opened(args):
    """The index that is asked; of a run and a folder one that is made for this call."""
    from mdl_tf.index import Index
    from mdl_tf.progress import ProgressLine

    if args.folder is None:
        with open_index(args.source, args) as index:
            yield index
        return
    model = None if args.source == "none" else args.source
    with tempfile.TemporaryDirectory(prefix="mdl_tf-cluster-") as folder:
        with Index.create(os.path.join(folder, "index"), model) as index:
            with ProgressLine(f"Embed {args.folder}") as line:
                changes = index.add(args.folder, on_corrupt=args.on_corrupt, progress=line)
                line.done(len(index), "images")
            for problem in changes.left_out:
                print(f"  left out: {problem}")
            yield index


def _title(args):
    what = "Near-duplicates" if args.near_duplicates else "Groups"
    return f"{what} of {os.path.basename(os.path.abspath(args.folder or args.source))}"
