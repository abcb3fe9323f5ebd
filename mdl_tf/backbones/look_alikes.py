"""Networks that are called Inception too, told by their files and the names of their weights."""

import os
import re
import zlib

from mdl_tf.words import clean

MXNET = "MXNet's Inception-BN, whose pools round down or are padded, and whose means are others"
SLIM = (
    "TF-slim's Inception v2, whose first convolution is separable, whose padding and widths are "
    "others, and whose pixels are in [-1, 1]"
)

# How the names of their weights begin.
_NAMES = (
    (r"(arg:|aux:)?(conv|bn)_(1|2|2_red|[345][a-e]_\w+)(_(weight|bias|gamma|beta)|\.)", MXNET),
    (r"InceptionV2/", SLIM),
    (
        r"features\.(init_block|stage1)\.",
        "a network of pytorchcv, whose means are others",
    ),
    (r"inception3a\.branch1\.", "torchvision's GoogLeNet, another network"),
    (r"(Mixed_5b|Conv2d_1a_3x3)\.", "Inception v3, another network"),
)
_NDARRAYS = (0x112).to_bytes(8, "little")  # how MXNet's files begin
_TABLE = (0xDB4775248B80FB57).to_bytes(8, "little")  # how TensorFlow's checkpoints end
_GZIP = b"\x1f\x8b"
_SEEN = 1 << 16  # bytes of a file that are looked into


def of_names(names):
    """What network weights of these names are of, in words, if it is a known one; else `None`.

    Args:
        names: iterable of the names of weights.
    """
    for name in names:
        for pattern, network in _NAMES:
            if re.match(pattern, name):
                return f"{network} (it has {clean(name, 100)})"
    return None


def of_file(path):
    """What network a file that PyTorch did not write is of, if that can be told; else `None`.

    Args:
        path: of the file.
    """
    with open(path, "rb") as file:
        head = file.read(_SEEN)
        file.seek(max(0, os.path.getsize(path) - 8))
        tail = file.read()
    if head.startswith(_NDARRAYS):
        return f"a file of MXNet, perhaps of {MXNET}"
    if tail == _TABLE:
        return f"a checkpoint of TensorFlow, perhaps of {SLIM}"
    if head.startswith(_GZIP):
        return _of_archive(head)
    return None


def _of_archive(head):
    """As `of_file`, by the names at the start of a .tar.gz."""
    try:
        # Bounded: a small file may hold any amount.
        inside = zlib.decompressobj(wbits=31).decompress(head, _SEEN)
    except zlib.error:
        return None
    if re.search(rb"inception_v2", inside):
        return f"an archive of {SLIM}"
    if re.search(rb"inception-bn[\w-]*\.params", inside, re.IGNORECASE):
        return f"an archive of {MXNET}"
    return None
