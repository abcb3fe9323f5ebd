"""`mdl-tf convert-weights`: a PyTorch file of Inception-BN as a file of Keras."""

from mdl_tf.progress import quiet


def add_to(commands):
    """Add the command to a parser's commands."""
    convert = commands.add_parser(
        "convert-weights",
        help="turn a PyTorch weight file of Inception-BN into one of Keras",
        description="`mdl-tf train --weights imagenet` does this by itself; here for a file that "
        "you have. Nothing in the file is run, and PyTorch is not needed.",
    )
    convert.add_argument("source", metavar="SRC", help="such as bn_inception-52deb4733.pth")
    convert.add_argument("destination", metavar="DST", help="file to write, NAME.weights.h5")


def run(args):
    """Run the command."""
    with quiet():
        from mdl_tf.backbones.convert import convert_weights

    done = convert_weights(args.source, args.destination)
    which = "the published ImageNet weights" if done.published else "not the published file"
    top = f"with the top of {done.classes} classes" if done.classes else "without a top"
    print(f"{args.source}: {done.arrays} arrays {top}; sha256 {done.sha256}, {which}")
    print(f"Use it: mdl-tf train --weights {args.destination}")
    return 0
