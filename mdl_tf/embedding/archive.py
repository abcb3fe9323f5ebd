"""The inside of a `.keras` file, looked at before Keras opens it: it may be damaged, or hostile."""

import posixpath
import stat
import zipfile

from mdl_tf.backbones.safe_layers import refuse_unsafe
from mdl_tf.reading import check_file, parse_json

_NEEDED = ("config.json", "metadata.json", "model.weights.h5")
_MOST_CONFIG = 2**26  # bytes; that of Inception-BN has 200,000
# Lists and objects inside of each other; a network inside of a network takes some ten.
_MOST_NESTED = 250
_MOST_INFLATED = 1032  # bytes that deflate makes of one at most


def check_archive(path):
    """Refuse a file that is no whole `.keras` file, or would run or open something else.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: with a text that completes "the file ...".
    """
    check_file(path)
    with open(path, "rb") as file:
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            raise ValueError(
                "is HDF5, which may hold code (CVE-2025-9905): where you trust it, load it by "
                "`keras.models.load_model` and save it as .keras"
            )
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            text = archive.read("config.json").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("has a config.json that is no text in UTF-8") from None
    except ValueError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, OSError, EOFError, NotImplementedError
        raise ValueError(f"is no complete .keras file ({error or type(error).__name__})") from error
    config = parse_json(text, most_nested=_MOST_NESTED)
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError("has a config.json that is not of a model")
    refuse_unsafe(config)


def _check_members(archive):
    members = {info.filename: info for info in archive.infolist()}
    missing = [name for name in _NEEDED if name not in members]
    if missing:
        raise ValueError(f"has no {missing[0]}, and is no complete .keras file")
    if len(members) != len(archive.infolist()):
        raise ValueError("has two members of one name")
    for name, info in members.items():
        outside = posixpath.isabs(name) or ".." in name.replace("\\", "/").split("/")
        if outside or stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"has the member {name!r}, which leads out of it")
        if info.file_size > info.compress_size * _MOST_INFLATED + 1024:
            raise ValueError(f"claims {info.file_size:,} bytes of {name!r}, which are not in it")
    if members["config.json"].file_size > _MOST_CONFIG:
        raise ValueError(f"has a config.json of more than {_MOST_CONFIG:,} bytes")
