"""What the commands share: a parser with clear errors, flags, paths, and quiet imports."""

import argparse
import contextlib
import os
import sys
import tempfile

from mdl_tf.checks import ON_CORRUPT
from mdl_tf.config import ConfigError


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


def absolute(path):
    """A path that means the same from another working folder; `None` stays."""
    return None if path is None else os.path.abspath(os.path.expanduser(path))


@contextlib.contextmanager
def quiet():
    """Hold back what TensorFlow's C++ side logs while it is imported; show it if that fails."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
