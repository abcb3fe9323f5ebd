"""A process that is killed at one of its writes: in this process, and as a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys

# Before or after a file gets its name.
WHEN = ("before", "after")


class Killed(BaseException):
    """What stands for `kill -9` in this process: nobody catches it and goes on."""


@contextlib.contextmanager
def killed_at(number, when, folder):
    """Raise `Killed` at a write below `folder`, and at whatever is written after it.

    Args:
        number: of the write, from 1.
        when: one of `WHEN`.
        folder: writes elsewhere do not count.

    Yields:
        A list of the paths that were written, which grows.
    """
    written = []

    def wrapped(real):
        def move(source, target, **options):
            if not os.path.abspath(target).startswith(str(folder)):
                return real(source, target, **options)
            if len(written) >= number:
                raise Killed
            written.append(str(target))
            if len(written) == number and when == "before":
                raise Killed
            real(source, target, **options)
            if len(written) == number:
                raise Killed

        return move

    replace, rename = os.replace, os.rename
    os.replace, os.rename = wrapped(replace), wrapped(rename)
    try:
        with contextlib.suppress(Killed):
            yield written
    finally:
        os.replace, os.rename = replace, rename


_CHILD = """
import os, signal, sys
number, when, folder, *arguments = sys.argv[1:]
left = [int(number)]
def wrapped(real):
    def move(source, target, **options):
        mine = os.path.abspath(target).startswith(folder)
        left[0] -= mine
        if mine and left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target, **options)
        if mine and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return move
os.replace, os.rename = wrapped(os.replace), wrapped(os.rename)
from mdl_tf import cli
sys.exit(cli.main(arguments))
"""


def kill_process_at(number, when, folder, *arguments):
    """Run a command of `mdl-tf` as a process, and kill it at a write; whether it was killed."""
    given = [str(argument) for argument in (number, when, folder, *arguments)]
    done = subprocess.run([sys.executable, "-c", _CHILD, *given], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0
