"""What is wrong with a weight file of PyTorch, and what a file that is none is, in words."""

from mdl_tf.words import clean

# The rules of which a file breaks one; they follow "`path` must".
DATA_ALONE = "be a file of tensors, dicts, text and numbers alone; nothing in it is run"
WHOLE = "be whole, and this one is damaged or cut off: fetch it again"
NO_TORCH_FILE = "be a file that torch.save wrote"
_LONGEST = 100  # letters of what a file says in a message

_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer: the file itself has not been fetched"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"\x12\x01\x00\x00\x00\x00\x00\x00", "a file of MXNet"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x93NUMPY", "an array of NumPy"),
)
_OLDEST = ("pickle", "storages", "sys_info", "tensors")


class Unreadable(Exception):
    """A file breaks a rule; the arguments are the rule, and what is wrong with this file."""


def refused(wish):
    """The error for a pickle that wants `wish`, which is no data."""
    # A name that only looks like a known one is shown by its codes.
    is_plain = wish.isascii() and wish == clean(wish)
    shown = clean(wish if is_plain else ascii(wish), _LONGEST)
    whole = wish.startswith(("torch.nn.modules.", "__main__.")) or wish.endswith(" NEWOBJ")
    hint = "; of a whole module save the state_dict()" if whole else ""
    return Unreadable(DATA_ALONE, f"which wants {shown}{hint}")


def damaged(detail):
    """The error for a file that is not as PyTorch wrote it, with what is wrong in it."""
    return Unreadable(WHOLE, clean(detail, 2 * _LONGEST))


def other_file(begin):
    """Say what a file is by its first 512 bytes; the words follow "which is"."""
    if not begin:
        return "empty"
    if begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "a web page"
    if begin[257:262] == b"ustar":
        first = begin[:100].split(b"\x00")[0].decode("latin-1").removeprefix("./")
        oldest = ", the oldest form of torch.save: load and save it with PyTorch"
        return "a tar archive" + (oldest if first in _OLDEST else "")
    for beginning, words in _BEGINNINGS:
        if begin.startswith(beginning):
            return words
    if begin[8:9] == b"{" and begin[6:8] == b"\x00\x00":
        return "a safetensors file"
    if not begin.strip(b"\x00"):
        return "full of zeros: it was not written to its end"
    return "of another kind"


def other_archive(names):
    """Say what a zip archive is by the names in it; the words follow "which is"."""
    inner = {part for name in names for part in name.split("/")[1:2]}
    if "constants.pkl" in inner or {"model.json", "tensors"} <= inner:
        return "a TorchScript archive, a program: save the state_dict() of its module"
    if "config.json" in names and "model.weights.h5" in names:
        return "a .keras file"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays"
    return "a zip archive without its one data.pkl"
