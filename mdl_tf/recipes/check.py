"""What a recipe must be: every figure with its source, and whether somebody has read it there."""

from mdl_tf.config import ConfigError
from mdl_tf.metrics import table

_NOTES = ("taken", "assumed", "differs", "not run")
_KINDS = ("separated", "concatenated")
_ROW = {"method", "backbone", "embedding_dim", "source", "verified"}


def keys(content, needed, allowed, what):
    """Refuse a dict that lacks a key or has one that nobody knows.

    Args:
        content: what should be the dict.
        needed: a set of keys that it must have.
        allowed: a set of keys that it may have.
        what: the name of the dict, for the error.

    Raises:
        ConfigError: if it is no dict or has other keys.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{what} must be a JSON object. Received: {content!r}")
    missing, unknown = needed - set(content), set(content) - needed - allowed
    if missing or unknown:
        raise ConfigError(
            f"{what} must have the keys {', '.join(sorted(needed))}, and may have "
            f"{', '.join(sorted(allowed)) or 'no others'}. Received: "
            f"without {', '.join(sorted(missing)) or 'none'}, "
            f"and with {', '.join(sorted(unknown)) or 'no other'}"
        )


def contents(recipe):
    """Refuse a recipe of which a part is not as it should be.

    Args:
        recipe: a `Recipe`.

    Raises:
        ConfigError: with the name of the recipe and of the part.
    """
    for name in ("title", "source"):
        _text(getattr(recipe, name), f"recipe {recipe.name}, `{name}`")
    for name, check in (("hours", _hours), ("protocol", _note), ("published", _row)):
        entries = getattr(recipe, name)
        if not isinstance(entries, list) or not entries:
            raise ConfigError(f"recipe {recipe.name}, `{name}` must be a list. Received: {entries}")
        for i, entry in enumerate(entries):
            check(entry, f"recipe {recipe.name}, `{name}`[{i}]")


def _hours(entry, what):
    keys(entry, {"hardware", "hours", "basis"}, set(), what)
    _text(entry["hardware"], f"{what}, `hardware`")
    _text(entry["basis"], f"{what}, `basis`")
    if not isinstance(entry["hours"], float) or entry["hours"] <= 0:
        raise ConfigError(f"{what}, `hours` must be a number above 0. Received: {entry['hours']!r}")


def _note(note, what):
    taken = isinstance(note, dict) and note.get("kind") == "taken"
    keys(note, {"kind", "text"} | ({"source", "verified"} if taken else set()), set(), what)
    if note["kind"] not in _NOTES:
        raise ConfigError(
            f"{what}, `kind` must be one of {', '.join(_NOTES)}. Received: {note['kind']!r}"
        )
    _text(note["text"], f"{what}, `text`")
    if taken:
        _text(note["source"], f"{what}, `source`")
        _mark(note["verified"], f"{what}, `verified`")


def _row(row, what):
    if not isinstance(row, dict):
        raise ConfigError(f"{what} must be a JSON object. Received: {row!r}")
    metrics = {m.key for m in table.find_columns(row) if m.unit == "share"}
    keys(row, _ROW | {"recall_at_1"}, metrics | {"kind"}, what)
    for name in ("method", "backbone", "source"):
        _text(row[name], f"{what}, `{name}`")
    for metric in metrics:
        value = row[metric]
        # A percentage would be above it.
        if not isinstance(value, float) or not 0 < value < 1:
            raise ConfigError(f"{what}, `{metric}` must be a fraction. Received: {value!r}")
    if not isinstance(row["embedding_dim"], int):
        raise ConfigError(
            f"{what}, `embedding_dim` must be an integer. Received: {row['embedding_dim']!r}"
        )
    if row.get("kind", _KINDS[0]) not in _KINDS:
        raise ConfigError(
            f"{what}, `kind` must be one of {', '.join(_KINDS)}. Received: {row['kind']!r}"
        )
    verified = row["verified"]
    if isinstance(verified, dict):
        keys(verified, metrics, set(), f"{what}, `verified`")
    for mark in verified.values() if isinstance(verified, dict) else [verified]:
        _mark(mark, f"{what}, `verified`")


def _text(value, what):
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{what} must be text. Received: {value!r}")


def _mark(value, what):
    if not isinstance(value, bool):
        raise ConfigError(f"{what} must be true or false. Received: {value!r}")
