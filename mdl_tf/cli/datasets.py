"""`mdl-tf datasets`: what there is, what is missing, and a look at it."""

from mdl_tf.checks import DUPLICATES
from mdl_tf.cli.common import add_on_corrupt
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.files import replacing
from mdl_tf.progress import quiet


def add_to(commands):
    """Add the command to a parser's commands."""
    datasets = commands.add_parser(
        "datasets",
        help="list the data sets, fetch, check or look at one",
        description="Without ACTION: what each data set is, where it is looked for, and whether it "
        "is there.",
    )
    datasets.add_argument(
        "action",
        nargs="?",
        choices=("list", "show", "check", "download"),
        default="list",
        metavar="ACTION",
        help="show NAME: a contact sheet as PNG; check NAME: look into every file; download NAME: "
        "fetch and unpack the original; list [list]",
    )
    datasets.add_argument("name", nargs="?", metavar="NAME", help="of the data set")
    datasets.add_argument("--data-dir", help="folder or file of the data")
    datasets.add_argument(
        *("-o", "--output"), metavar="FILE", help="of the contact sheet [NAME.png]"
    )
    datasets.add_argument(
        "--crop-to-box", action="store_true", help="cut images to the data set's bounding boxes"
    )
    add_on_corrupt(datasets)
    datasets.add_argument(
        "--duplicates",
        choices=DUPLICATES,
        default="keep",
        help="identical images: keep, or leave out as `mdl-tf train` would [keep]",
    )


def run(args):
    """Run the command."""
    if args.action != "list" and args.name is None:
        raise ConfigError(f"`name` must be a data set: mdl-tf datasets {args.action} NAME")
    if args.action == "list":
        return _list(args)
    TrainConfig.check("dataset", args.name)
    return {"show": _show, "check": _check, "download": _download}[args.action](args)


def _list(args):
    if args.name is not None:
        raise ConfigError(f"`name` belongs to show, check or download. Received: {args.name}")
    from mdl_tf.datasets import catalogue

    rows = catalogue.rows(args.data_dir)
    head = ("NAME", "WHAT", "CLASSES train / test", "IMAGES train / test", "STATE")
    table = [head, *(row[:5] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(5)]

    def line(cells):
        return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))

    print(line(head).rstrip())
    for row in rows:
        print(f"{line(row[:5])}  {row.where}")
    print(
        "\nTrain: mdl-tf train --dataset NAME [--data-dir DIR]. "
        "Look: mdl-tf datasets show NAME. Fetch: mdl-tf datasets download NAME"
    )
    return 0


def _read(args):
    from mdl_tf.progress import ProgressLine

    with quiet():
        from mdl_tf import datasets

    with ProgressLine(f"Load {args.name}") as line:
        collection = datasets.read(
            args.name,
            data_dir=args.data_dir,
            crop_to_box=args.crop_to_box,
            on_corrupt=args.on_corrupt,
            duplicates=args.duplicates,
            progress=line,
        )
        line.done(len(collection.images), collection.images.kind)
    for problem in collection.problems:
        print(f"  left out: {problem}")
    return collection


def _check(args):
    collection = _read(args)
    import numpy as np

    from mdl_tf.datasets.duplicates import describe_groups, find_groups
    from mdl_tf.datasets.image_set import SIDES

    images = collection.images
    if images.slow is not None and images.slow.any():
        print(
            f"  {int(images.slow.sum()):,} files take the slow way (turned by EXIF, CMYK, 16 bits, "
            "transparent, or neither JPEG nor PNG)"
        )
    sides = np.array(collection.sides)[images.labels]
    for line in describe_groups(
        find_groups({side: images.take(sides == side) for side in SIDES if side in sides})
    ):
        print(f"  {line}")
    print(f"{images.name}: {len(images):,} images of {images.num_classes:,} classes can be used")
    return 0


def _show(args):
    output = args.output or f"{args.name.replace(':', '-').replace('/', '-')}.png"
    if not output.endswith(".png"):
        raise ConfigError(f"`output` must end in .png. Received: output={output}")
    collection = _read(args)
    from mdl_tf.pictures import contact_sheet

    try:
        with replacing(output) as path:
            contact_sheet(collection).savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError(f"`output` must be writable. Received: {error}") from error
    print(f"Contact sheet: {output}")
    return 0


def _download(args):
    from mdl_tf.datasets.papers import official
    from mdl_tf.progress import ProgressLine

    if args.name in official.OFFICIAL:
        for file in official.OFFICIAL[args.name].files:
            print(f"{file.name}: {' or '.join(file.urls) or 'no source that a program can fetch'}")
    with ProgressLine(f"Fetch {args.name}") as line:
        root = official.download(args.name, args.data_dir, line)
        line.done(1, "data set")
    print(f"{args.name}: {root}")
    return 0
