"""`mdl-tf embed` and `mdl-tf search`: a folder as vectors, and the nearest of them to an image."""

import json
import os
import sys

from mdl_tf.cli import asking
from mdl_tf.cli.common import absolute, add_on_corrupt, add_own_model
from mdl_tf.cli.index import add_to_search, refuse_filters, search_index
from mdl_tf.config import ConfigError
from mdl_tf.files import replacing
from mdl_tf.progress import quiet
from mdl_tf.words import clean


def add_to(commands):
    """Add the commands to a parser's commands."""
    embed = commands.add_parser(
        "embed",
        help="turn a folder of images into vectors to search in",
        description="Embeds all images below a folder, at any depth, with the best model of a run.",
    )
    embed.add_argument("run", metavar="RUN", help="run folder, or a .keras file of an embedder")
    embed.add_argument("folder", metavar="FOLDER", help="folder of images, or one image")
    embed.add_argument(
        *("-o", "--output"), default="vectors.npz", metavar="FILE", help="[vectors.npz]"
    )
    add_own_model(embed)
    embed.add_argument(
        "--shard",
        metavar="I/N",
        help="every N-th image from the I-th on, for N machines; `mdl-tf index build` joins them",
    )
    add_on_corrupt(embed)

    search = commands.add_parser(
        "search",
        help="find the images that are nearest to others",
        description="Prints names and distances of the nearest images, and draws them. In an "
        "index: mdl-tf search INDEX QUERY.",
    )
    search.add_argument(
        "run", metavar="RUN", help="the run that made the vectors; or an index, and no VECTORS then"
    )
    search.add_argument(
        "vectors",
        metavar="VECTORS",
        help="file that `mdl-tf embed` wrote, or a folder of images, which is embedded first",
    )
    search.add_argument(
        "queries", metavar="QUERY", nargs="*", help="image files to look for, or folders of them"
    )
    search.add_argument("-k", default="10", help="how many to find [10]")
    search.add_argument(
        "--leave-out-query",
        action="store_true",
        help="pass over the query itself, and copies of its file, where they are among the images",
    )
    add_to_search(search)
    search.add_argument("--picture", default="search.png", metavar="FILE", help="[search.png]")
    search.add_argument("--json", action="store_true", help="print JSON instead of text")


def run_embed(args):
    """Run `mdl-tf embed`."""
    output = absolute(args.output)
    if not output.endswith(".npz"):
        raise ConfigError(f"`output` must end in .npz. Received: output={args.output}")
    asking.check_place("output", args.output)
    with quiet():
        from mdl_tf import search
    from mdl_tf.progress import ProgressLine

    if args.shard is not None:
        search.check_shard(args.shard)
    with ProgressLine(f"Embed {args.folder}") as line:
        vectors = search.embed_images(
            args.run,
            args.folder,
            output=args.model_output,
            input_range=args.input_range,
            on_corrupt=args.on_corrupt,
            shard=args.shard,
            progress=line,
        )
        line.done(len(vectors), "images")
    for problem in vectors.left_out:
        print(f"  left out: {problem}")
    vectors.save(output)
    size = vectors.embeddings.shape[1]
    print(f"{args.output}: {len(vectors):,} vectors of {size} numbers")
    print(f"Search: mdl-tf search {args.run} {args.output} QUERY.jpg")
    return 0


def run_search(args):
    """Run `mdl-tf search`."""
    from mdl_tf.index.place import is_address, is_index

    k = asking.read_count(args, "k")
    if os.path.splitext(args.picture)[1].lower() not in (".png", ".pdf", ".svg", ".jpg"):
        raise ConfigError(
            f"`picture` must end in .png, .pdf, .svg or .jpg. Received: picture={args.picture}"
        )
    of_index = is_address(args.run) or is_index(args.run)
    if not of_index:
        refuse_filters(args)
        if not args.queries:
            raise ConfigError("the following arguments are required: QUERY")
    with quiet():
        from mdl_tf import search

    if of_index:
        vectors, queries = None, search.list_images([args.vectors, *args.queries])
        hits = search_index(args, queries, k)
    else:
        vectors, queries = _open_vectors(args), search.list_images(args.queries)
        hits = search.nearest(
            args.run,
            vectors,
            queries,
            min(k, len(vectors)),
            leave_out_query=args.leave_out_query,
        )
    if args.json:
        rows = zip(queries, hits, strict=True)
        print(json.dumps([{"query": q, "hits": [h._asdict() for h in row]} for q, row in rows]))
    else:
        for query, row in zip(queries, hits, strict=True):
            print(clean(query))
            for rank, hit in enumerate(row, 1):
                print(f"{rank:>4}  {hit.distance:.4f}  {clean(hit.name)}")
            if not row:
                print("      nothing like it")
    if not any(hits):
        return 0
    try:
        with replacing(args.picture) as path:
            search.picture(queries, hits, vectors).savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError(f"`picture` must be writable. Received: {error}") from error
    if not args.json:
        most = search.SHOWN
        part = max(len(hits), *map(len, hits)) > most
        print(f"Picture: {args.picture}" + (f" (the first {most})" if part else ""))
    return 0


def _open_vectors(args):
    """The vectors of a file; of a folder of images they are made now."""
    from mdl_tf import search
    from mdl_tf.progress import ProgressLine

    if not os.path.isdir(os.path.expanduser(args.vectors)):
        return search.Vectors.load(args.vectors)
    print(f"Embed {args.vectors} first; `mdl-tf embed` keeps its vectors.", file=sys.stderr)
    with ProgressLine(f"Embed {args.vectors}", stream=sys.stderr) as line:
        vectors = search.embed_images(args.run, args.vectors, progress=line)
        line.done(len(vectors), "images")
    return vectors
