"""One setting of a config: what it may be, and the message if it is not. Loads nothing heavy."""

import dataclasses
import math


class ConfigError(ValueError):
    """A setting that cannot be: the message names the field, the rule and the value received."""


def setting(
    default,
    help,
    *,
    choices=None,
    prefix=None,
    least=None,
    above=None,
    below=None,
    optional=False,
    before=None,
):
    """A field of a config with its rules.

    Args:
        default: value if none is given.
        help: what it is, for the command line.
        choices: all values that are allowed, or a function that returns them. Defaults to `None`,
            no such list.
        prefix: with `choices`, how other values that are allowed begin. Defaults to `None`.
        least: the smallest value. Defaults to `None`, none.
        above: what the value must be larger than. Defaults to `None`, nothing.
        below: what the value must be smaller than. Defaults to `None`, nothing.
        optional: whether it may be `None`. Defaults to `False`.
        before: of a field that version 0.1.0 did not have, the value that does what was done then:
            that of every run which is older than the field. Defaults to `None`.

    Returns:
        A field of a dataclass.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "prefix": prefix,
        "least": least,
        "above": above,
        "below": below,
        "optional": optional,
        "before": before,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def choices_of(field):
    """The values that a field allows, as `setting` got them; empty if there is no such list."""
    choices = field.metadata["choices"]
    return tuple(choices() if callable(choices) else choices or ())


_KINDS = {
    bool: bool,
    dict: dict,
    float: (int, float),
    int: int,
    str: str,
    float | None: (int, float),
    str | None: str,
}


def check(field, value):
    """The value of a field, as its type.

    Args:
        field: what `setting` made, with its name.
        value: the value.

    Raises:
        ConfigError: if it is not allowed.
    """
    rules = field.metadata
    if value is None and rules["optional"]:
        return None
    kind = _KINDS[field.type]
    # True is an int to Python, not to a user.
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    allowed = []
    choices = choices_of(field)
    if choices:
        prefix = rules["prefix"]
        names = [*choices, *([f"{prefix}NAME"] if prefix else [])]
        allowed.append("one of " + ", ".join(names))
        begins = prefix and isinstance(value, str) and value.startswith(prefix) and value != prefix
        fits = fits and (value in choices or bool(begins))
    else:
        names = {str: "text", int: "an integer", bool: "true or false", dict: "a JSON object"}
        allowed.append(names.get(kind, "a number"))
    for rule, words, holds in (
        ("least", "at least", lambda bound: value >= bound),
        ("above", "above", lambda bound: value > bound),
        ("below", "below", lambda bound: value < bound),
    ):
        if rules[rule] is not None:
            allowed.append(f"{words} {rules[rule]}")
            fits = fits and math.isfinite(value) and holds(rules[rule])
    if not fits:
        raise ConfigError(
            f"`{field.name}` must be {', '.join(allowed)}. Received: {field.name}={value!r}"
        )
    return float(value) if kind == (int, float) else value
