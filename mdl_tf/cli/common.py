"""What the commands share: a parser with clear errors, flags, paths, and what is printed."""

import argparse
import contextlib
import errno
import os
import sys

from mdl_tf.checks import INPUT_RANGES, ON_CORRUPT
from mdl_tf.config import ConfigError
from mdl_tf.files import find_disk_error
from mdl_tf.words import clean, printable

# What the file system refuses, by the number of the error, and what to do about it.
_REFUSED = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "give another folder",
    errno.EACCES: "change its mode, or give another folder",
    errno.EPERM: "change its mode, or give another folder",
    errno.EIO: "the disk has failed",
    errno.EFBIG: "give another disk",
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "remove the link",
    errno.EISDIR: "it must be a file",
    errno.ENOTDIR: "a part of the path must be a folder",
    errno.ENOENT: "give another path",
    errno.EEXIST: "give another path",
    errno.ESTALE: "mount the disk again",
}


def refused_by_disk(error):
    """What an error of the file system says in one line; `None` for an error of another kind.

    Args:
        error: an exception.
    """
    number = error.errno if isinstance(error, OSError) else find_disk_error(error)
    if number not in _REFUSED:
        return None
    paths = [getattr(error, name, None) for name in ("filename2", "filename")]
    paths = [clean(os.fsdecode(path)) for path in paths if isinstance(path, str | bytes)]
    detail = getattr(error, "strerror", None) or os.strerror(number)
    return f"{paths[0] if paths else 'A file'}: {clean(detail)}; {_REFUSED[number]}"


class _Shown:
    """A stream for people: what could drive their terminal is written as `\\x1b`."""

    def __init__(self, stream):
        self.unfiltered = stream  # for bars, which have codes of their own

    def write(self, text):
        return self.unfiltered.write(printable(text))

    def __getattr__(self, name):
        return getattr(self.unfiltered, name)


@contextlib.contextmanager
def printing_safely():
    """While the block runs, names of files and classes cannot send codes to the terminal."""
    with (
        contextlib.redirect_stdout(_Shown(sys.stdout)),
        contextlib.redirect_stderr(_Shown(sys.stderr)),
    ):
        yield


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises a `ConfigError` and takes no abbreviated flags."""

    def __init__(self, **options):
        # An abbreviated flag would come to mean something else when a flag is added.
        super().__init__(allow_abbrev=False, **options)

    def error(self, message):
        """Raise what `main` shows."""
        raise ConfigError(message)

    def flags_of(self, command):
        """The flags of a command, or of this parser if there is none."""
        parser = self._subparsers._group_actions[0].choices[command] if command else self
        return list(parser._option_string_actions)


def flag(name):
    """The flag of a setting: `data_dir` is `--data-dir`."""
    return "--" + name.replace("_", "-")


def add_on_corrupt(parser):
    """Add the flag for files that cannot be used."""
    parser.add_argument(
        "--on-corrupt",
        choices=ON_CORRUPT,
        default="error",
        help="files that cannot be used: stop, or leave out [error]",
    )


def add_own_model(parser):
    """Add the flags that a `.keras` file of a user's own may need."""
    parser.add_argument(
        "--model-output", metavar="NAME", help="which output of a .keras file with several"
    )
    parser.add_argument(
        "--input-range",
        choices=INPUT_RANGES,
        help="what a .keras file of your own takes [0..255]",
    )


def absolute(path):
    """A path that means the same from another working folder; `None` stays."""
    return None if path is None else os.path.abspath(os.path.expanduser(path))
