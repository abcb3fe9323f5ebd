"""Where an index is: in a folder, or on a server. Loads nothing, so that commands may ask first."""

import os

ROWS = "rows.sqlite"  # the file by which a folder is known
ADDRESSES = ("postgresql://", "postgres://")


def is_address(text):
    """Whether a text is the address of a server."""
    return isinstance(text, str) and text.startswith(ADDRESSES)


def is_index(path):
    """Whether a path is a folder with an index."""
    return os.path.isfile(os.path.join(os.path.expanduser(path), ROWS))
