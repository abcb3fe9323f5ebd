"""One setting of a config: what it may be, and the message if it is not. Loads nothing heavy."""

import dataclasses

from mdl_tf.checks import check_integer, check_number, shown
from mdl_tf.words import is_text

TOO_LARGE = 2**31  # for a count or a size: TensorFlow counts in 32 bits


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
    bool: (bool, "true or false"),
    dict: (dict, "a JSON object"),
    dict | None: (dict, "a JSON object"),
    str: (str, "text"),
    str | None: (str, "text"),
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
    value, bounds = _plain(value), {name: rules[name] for name in ("least", "below")}
    try:
        if field.type in (int, int | None):
            if isinstance(value, int) and bounds["below"] is None and value >= TOO_LARGE:
                bounds["below"] = TOO_LARGE
            return check_integer(field.name, value, **bounds)
        if field.type in (float, float | None):
            return float(check_number(field.name, value, above=rules["above"], **bounds))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    kind, allowed = _KINDS[field.type]
    fits = isinstance(value, kind)
    choices = choices_of(field)
    if choices:
        prefix = rules["prefix"]
        names = [*choices, *([f"{prefix}NAME"] if prefix else [])]
        allowed = "one of " + ", ".join(names)
        begins = fits and prefix and value.startswith(prefix) and value != prefix
        fits = fits and (value in choices or bool(begins))
    if not fits:
        raise ConfigError(
            f"`{field.name}` must be {allowed}. Received: {field.name}={shown(value)}"
        )
    if isinstance(value, str) and not is_text(value):
        raise ConfigError(
            f"`{field.name}` must be text in UTF-8 without the character NUL. "
            f"Received: {field.name}={shown(value)}"
        )
    return value


def _plain(value):
    """NumPy's numbers, also in a dict or list, as Python's, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # By name: NumPy is not loaded for this.
    is_scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0
    return value.item() if is_scalar else value
