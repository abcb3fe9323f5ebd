"""What is wrong with a weight file of PyTorch, and what a file is that is none, in words."""

# The rules of which a file breaks one; they follow "`path` must".
DATA_ALONE = "be a file of tensors, dicts, text and numbers alone; nothing in it is run"
WHOLE = "be whole, and this one is damaged or cut off: fetch it again"
NO_TORCH_FILE = "be a file that torch.save wrote"

_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer: the file itself has not been fetched"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"\x12\x01\x00\x00\x00\x00\x00\x00", "a file of MXNet"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x93NUMPY", "an array of NumPy"),
)
_OLDEST = ("pickle", "storages", "sys_info", "tensors")


class Unreadable(Exception):
    """A file breaks a rule.

    Args:
        rule: what a file must do or be.
        detail: what is wrong with this one.
    """

    def __init__(self, rule, detail):
        super().__init__(rule, detail)
        self.rule = rule
        self.detail = detail


def refused(wish):
    """The error for what is no data.

    Args:
        wish: the name of what the pickle wants.

    Returns:
        An `Unreadable`.
    """
    detail = f"which wants {shown(wish)}"
    if wish.startswith(("torch.nn.modules.", "__main__.")):
        detail += "; of a whole module save the state_dict()"
    return Unreadable(DATA_ALONE, detail)


def damaged(detail):
    """The error for a file that is not as PyTorch wrote it.

    Args:
        detail: what is wrong.

    Returns:
        An `Unreadable`.
    """
    return Unreadable(WHOLE, detail)


def shown(text):
    """Text of a file as it may stand in a message: printable and not long.

    Args:
        text: any text.

    Returns:
        The text, or a beginning of it, in ASCII if some of it cannot be printed.
    """
    short = text if len(text) <= 100 else text[:100] + "..."
    return short if short.isprintable() else ascii(short)


def other_file(begin):
    """Say what a file is.

    Args:
        begin: its first 512 bytes, or all of it if it is shorter.

    Returns:
        Words that follow "which is".
    """
    if not begin:
        return "empty"
    if begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "a web page"
    if begin[257:262] == b"ustar":
        return _tar(begin)
    for beginning, words in _BEGINNINGS:
        if begin.startswith(beginning):
            return words
    if begin[8:9] == b"{" and begin[6:8] == b"\x00\x00":
        return "a safetensors file"
    if not begin.strip(b"\x00"):
        return "full of zeros: it was not written to its end"
    return "of another kind"


def _tar(begin):
    first = begin[:100].split(b"\x00")[0].decode("latin-1").removeprefix("./")
    if first in _OLDEST:
        return "a tar archive, the oldest form of torch.save: load and save it with PyTorch"
    return "a tar archive"


def other_archive(names):
    """Say what a zip archive is.

    Args:
        names: the names of its entries.

    Returns:
        Words that follow "which is".
    """
    inner = {part for name in names for part in name.split("/")[1:2]}
    if "constants.pkl" in inner or {"model.json", "tensors"} <= inner:
        return "a TorchScript archive, a program: save the state_dict() of its module"
    if "config.json" in names and "model.weights.h5" in names:
        return "a .keras file"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays"
    return "a zip archive without its one data.pkl"
