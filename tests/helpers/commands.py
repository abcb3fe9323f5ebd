"""The command `mdl-tf` as a process of its own."""

import subprocess
import sys

COMMAND = [sys.executable, "-m", "mdl_tf.cli"]


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, **options)
