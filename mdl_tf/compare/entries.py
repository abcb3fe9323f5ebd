"""What is compared: losses by their names, each with the settings that are held. Light.

`triplet` is the triplet loss with all its settings searched, `triplet:mining=hard` the same with
the hardest triplets only, so that several forms of one loss can be compared with each other.
"""

import json
import re
from typing import NamedTuple

from mdl_tf.config import ConfigError
from mdl_tf.losses import LOSSES
from mdl_tf.reading import parse_json


class Entry(NamedTuple):
    """One loss of a comparison."""

    loss: str  # one of `LOSSES`
    held: tuple = ()  # pairs of a setting and its value, which the search leaves alone

    @property
    def label(self):
        """As on the command line: `triplet:mining=hard`."""
        return ":".join([self.loss, *(f"{key}={_written(value)}" for key, value in self.held)])

    @property
    def slug(self):
        """The label as a file's name."""
        return re.sub(r"[^\w.+-]+", "-", self.label)


def parse(text):
    """The entries of `--losses`.

    Args:
        text: names with commas between them, each perhaps with settings that are held,
            `name:setting=value:setting=value`; `all` for every loss.

    Returns:
        A tuple of `Entry`s.

    Raises:
        ConfigError: for a name that is no loss, a setting without a value, or something twice.
    """
    names = [name.strip() for name in text.split(",")]
    entries = []
    for name in names:
        entries += [Entry(loss) for loss in LOSSES] if name == "all" else [_entry(name)]
    for i, entry in enumerate(entries):
        if entry.slug in [other.slug for other in entries[:i]]:
            raise ConfigError(f"`losses` must be different ones. Received twice: {entry.label}")
    return tuple(entries)


def _entry(text):
    loss, *settings = text.split(":")
    if loss not in LOSSES:
        raise ConfigError(
            f"`losses` must be all, or some of {', '.join(LOSSES)}, with commas between them. "
            f"Received: {loss!r}"
        )
    held = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not (key and sign and value) or key in held or isinstance(_read(value), list | dict):
            raise ConfigError(
                "`losses`: what is held must be setting=value, a text, a number, true or false, "
                f"each setting once, such as triplet:mining=hard. Received: {text!r}"
            )
        held[key] = _read(value)
    return Entry(loss, tuple(held.items()))


def _read(text):
    try:
        return parse_json(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _written(value):
    return value if isinstance(value, str) else json.dumps(value)
