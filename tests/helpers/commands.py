"""The command `mdl-tf`, as a process of its own and in this one."""

import contextlib
import io
import subprocess
import sys

from mdl_tf import cli

COMMAND = [sys.executable, "-m", "mdl_tf.cli"]


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, **options)


def run_here(*arguments):
    """What a command prints that ends well, run in this process, with what a test has patched."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert cli.main(list(arguments)) == 0
    return text.getvalue()
