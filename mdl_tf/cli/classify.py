"""`mdl-tf classify`: the class of images, by the vote of their nearest ones in an index."""

import json
import sys

from mdl_tf.cli import asking
from mdl_tf.cli.index import add_server, open_index
from mdl_tf.config import ConfigError
from mdl_tf.progress import quiet

_PART = 2048  # queries at a time
_SHOWN = 200  # lines
_LONGEST = 48  # letters of a name


def add_to(commands):
    """Add the command to a parser's commands."""
    classify = commands.add_parser(
        "classify",
        help="tell the class of images by their nearest ones in an index",
        description="The nearest images of an index vote, each with one over its distance. Prints "
        "the label, its share of the votes, and the nearest image.",
    )
    classify.add_argument(
        "index", metavar="INDEX", help="folder of an index, its address, or vectors.npz"
    )
    classify.add_argument(
        "queries",
        metavar="IMAGE",
        nargs="+",
        help="image files, or folders of them; of an index of features one .npz file",
    )
    classify.add_argument("-k", default="5", help="how many images vote [5]")
    asking.add_filter(classify)
    add_server(classify)
    classify.add_argument(
        "--threshold", metavar="DISTANCE", help="the largest distance of an image that votes"
    )
    classify.add_argument(
        "--far",
        metavar="SHARE",
        help="of a calibrated index, in place of --threshold: the share of pairs of two classes "
        "that may be taken for one, such as 0.001; what is farther is of no class",
    )
    add_server(classify)
    classify.add_argument("--out", metavar="FILE", help="write the answers as a CSV file")
    classify.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args):
    """Run the command."""
    k, where = asking.read_count(args, "k"), asking.read_filter(args)
    threshold = asking.read_number(args, "threshold", least=0)
    far = asking.read_number(args, "far", above=0, below=1)
    if threshold is not None and far is not None:
        raise ConfigError("`threshold` and `far` must not be given together. Received: both")
    asking.check_output("out", args.out, ".csv")
    with quiet():
        from mdl_tf.index.queries import embed_files
    from mdl_tf.progress import ProgressLine

    with open_index(args.index, args) as index:
        if far is not None:
            threshold = index.threshold_at(far)
        if not index.labels:
            raise ConfigError(
                f"The index must have labels: subfolders of what was added. Received: {args.index}"
            )
        # Standard output holds the answers alone.
        with ProgressLine("Embed", stream=sys.stderr) as line:
            names, vectors = embed_files(index, args.queries, line)
            line.done(len(names), "queries")
        answers = []
        with ProgressLine("Classify", stream=sys.stderr) as line:
            for start in range(0, len(vectors), _PART):
                part = vectors[start : start + _PART]
                answers += index.classify(part, k, where=where, threshold=threshold)
                line(len(answers), len(vectors))
    rows = [_row(name, answer) for name, answer in zip(names, answers, strict=True)]
    if args.out:
        head = ["image", "label", "share", "nearest", "distance", "second", "second_share"]
        asking.write_csv(args.out, head, rows)
    if args.json:
        print(json.dumps([_as_json(*pair) for pair in zip(names, answers, strict=True)]))
        return 0
    _print(rows)
    if args.out:
        print(f"Table: {args.out}")
    return 0


def _row(name, answer):
    """Cells of the table; empty where there is nothing."""
    nearest = answer.hits[0] if answer.hits else None
    second = list(answer.shares.items())[1:2]
    return [
        name,
        answer.label or "",
        f"{answer.share:.4f}" if answer.label else "",
        nearest.name if nearest else "",
        f"{nearest.distance:.6f}" if nearest else "",
        second[0][0] if second else "",
        f"{second[0][1]:.4f}" if second else "",
    ]


def _print(rows):
    from mdl_tf.words import shorten

    shown = []
    for name, label, share, nearest, distance, *_ in rows[:_SHOWN]:
        none = "no label" if nearest else "nothing like it"
        shown.append(
            [
                shorten(label, _LONGEST) or none,
                f"{float(share):.0%}" if share else "",
                f"{float(distance):.4f}" if distance else "",
                shorten(nearest, _LONGEST),
                name,
            ]
        )
    asking.print_table(["label", "share", "distance", "nearest", "image"], shown, left=(0, 3, 4))
    if len(rows) > _SHOWN:
        print(f"  and {len(rows) - _SHOWN:,} more: --out FILE.csv has all of them")


def _as_json(name, answer):
    return {
        "query": name,
        "label": answer.label,
        "share": answer.share,
        "shares": answer.shares,
        "hits": [hit._asdict() for hit in answer.hits],
    }
