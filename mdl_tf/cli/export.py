"""`mdl-tf export`: a network for other programs."""

from mdl_tf.cli.common import add_own_model
from mdl_tf.progress import quiet

# As in `mdl_tf.export.formats`, which is loaded when it is needed.
_FORMATS = ("savedmodel", "onnx", "litert", "openvino")


def add_to(commands):
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "export",
        help="write a network for other programs: SavedModel, ONNX, LiteRT, OpenVINO",
        description="Bytes of images in, vectors out, all between inside; it is loaded again and "
        "compared with Keras on real images, and kept if it is the same.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a .keras file of an embedder")
    parser.add_argument("--to", required=True, choices=_FORMATS, help="the format")
    parser.add_argument(
        *("-o", "--output"), metavar="PATH", help="[name of the run, suffix of the format]"
    )
    parser.add_argument(
        "--images",
        metavar="FOLDER",
        help="images to compare on [the run's validation or test data, else generated glyphs]",
    )
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="the network resizes images itself, those of a batch having one size",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="of litert: weights of 8 bits; reports Recall@1 before and after",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_own_model(parser)


def run(args):
    """Run the command."""
    with quiet():
        from mdl_tf.export import export

        exported = export(
            args.run,
            args.to,
            args.output,
            images=args.images,
            any_size=args.any_size,
            int8=args.int8,
            overwrite=args.overwrite,
            output=args.model_output,
            input_range=args.input_range,
        )
    print(f"{exported.path}: {exported.size / 1e6:,.1f} MB")
    print(f"Takes: {exported.takes}")
    print(f"Gives: {exported.gives}")
    print(
        f"Compared with Keras on {exported.compared}: numbers differ by at most "
        f"{exported.difference:.1e}"
    )
    if exported.recall is not None:
        print(
            f"Recall@1 of {exported.recall_images:,} of them: {exported.recall_before:.4f} before, "
            f"{exported.recall:.4f} after"
        )
    elif args.int8:
        print("Recall@1 before and after: not known without labelled data of a run")
    print(f"One at a time: {exported.milliseconds:.2f} ms")
    return 0
