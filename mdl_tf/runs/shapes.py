"""What the JSON files of a run or a comparison must be like, so that a damaged one is told.

A shape is a type (`float` is any finite number), `None`, a tuple of shapes of which one must fit,
`[shape]` for a list, a `Row` of shapes for a list of that length, `{str: shape}` for a dict of any
keys, or a dict of keys to shapes, where `"key?"` may be missing; other keys are not looked at.
Loads nothing heavy.
"""

import re

from mdl_tf.words import shorten


class Row(tuple):
    """The shapes of a list, one by one."""


COUNT = "count"  # an integer from 0
NUMBERS = {str: float}
METRICS = {str: NUMBERS}
_NAMES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    None: "null",
    COUNT: "an integer from 0",
}

# Of a run, by file.
STATE = {
    "epochs_done": COUNT,
    "checkpoint": (None, re.compile(r"resume/epoch-\d+\.keras")),
    "stopped": bool,
    "best": (None, float),
    "patience_best?": (None, float),
    "wait": COUNT,
    "last": NUMBERS,
    "history": [{"epoch": COUNT, "loss": float}],
    "start?": (None, {"epoch": COUNT}),
}
RUN = {
    "resume/state.json": STATE,
    "classes.json": {"train": [str], "validation": [str], "test": [str]},
    "resume/images.json": {"train": COUNT, "validation": COUNT, "test": COUNT, "digest?": str},
    "resume/trainable.json": (None, [Row((str, bool, [bool]))]),
    "resume/head.json": (None, {"kind": str, "shrinkage": (None, float), "scores": NUMBERS}),
    "metrics.json": METRICS,
    "timing.json": NUMBERS,
    "recipe.json": {
        "name": str,
        "smoke": bool,
        "changed": {str: Row((object, object))},
        "published": [{"method": str, "backbone": str, "embedding_dim": COUNT, "source": str}],
        "why_none": str,
    },
}

# Of a comparison.
_SIDE = {"images": COUNT, "classes": COUNT}
TRIAL = {
    "label": str,
    "phase": str,
    "number": COUNT,
    "config": dict,
    "settings": dict,
    "history": [{"epoch": COUNT, "loss": float}],
    "best_epoch": (None, COUNT),
    "start?": (None, {"epoch": COUNT}),
    "value": (None, float),
    "seconds_per_step": (None, float),
    "seconds": float,
    "failed": (None, str),
    "machine": dict,
    "metrics?": NUMBERS,
    "distances?": {"highest": float, "positive": [COUNT], "negative": [COUNT]},
    "neighbors?": (None, str),
}
COMPARISON = {
    "compare.json": {
        "losses": [str],
        "search": COUNT,
        "seeds": COUNT,
        "config": dict,
        "asked?": dict,
    },
    "data.json": {
        "kind": str,
        "name": str,
        "train": _SIDE,
        "validation": _SIDE,
        "test": _SIDE,
        "digest": str,
    },
    "raw.json": NUMBERS,
    "features.json": NUMBERS,
    "untrained/*.json": NUMBERS,
    "trials/*.json": TRIAL,
}


def check_shape(value, shape, where=""):
    """Refuse a value that is not of a shape.

    Args:
        value: what was read of a JSON file.
        shape: a shape, as above.
        where: what the value is in the file, for the message. Defaults to `""`, all of it.

    Raises:
        ValueError: with a text that completes "the file ...".
    """
    if isinstance(shape, Row):
        _check(value, list, where)
        if len(value) != len(shape):
            raise ValueError(f"has {where!r} of {len(value)} entries, not {len(shape)}")
        for i, (item, inner) in enumerate(zip(value, shape, strict=True)):
            check_shape(item, inner, f"{where}[{i}]")
    elif isinstance(shape, tuple):
        if not any(_fits(value, one) for one in shape):
            # The last one tells most: `None` comes first.
            check_shape(value, shape[-1], where)
    elif isinstance(shape, dict):
        _check(value, dict, where)
        _check_keys(value, shape, where)
    elif isinstance(shape, list):
        _check(value, list, where)
        for i, item in enumerate(value):
            check_shape(item, shape[0], f"{where}[{i}]")
    else:
        _check(value, shape, where)


def _fits(value, shape):
    try:
        check_shape(value, shape)
    except ValueError:
        return False
    return True


def _check_keys(value, shape, where):
    if str in shape:
        for key, item in value.items():
            check_shape(item, shape[str], _inside(where, key))
        return
    for key, inner in shape.items():
        name = key.removesuffix("?")
        if name in value:
            check_shape(value[name], inner, _inside(where, name))
        elif name == key:
            raise ValueError(f"has no {_inside(where, name)!r}")


def _inside(where, key):
    return f"{where}.{key}" if where else key


def _check(value, kind, where):
    if kind is object or _is_a(value, kind):
        return
    named = {dict: "a JSON object", list: "a list", **_NAMES}
    rule = named.get(kind) if not isinstance(kind, re.Pattern) else f"like {kind.pattern}"
    if not where:
        raise ValueError(f"is not {rule}")
    raise ValueError(f"has {where!r} that is not {rule}: {shorten(repr(value), 40)}")


def _is_a(value, kind):
    if isinstance(kind, re.Pattern):
        return isinstance(value, str) and kind.fullmatch(value) is not None
    if kind is None:
        return value is None
    is_bool = isinstance(value, bool)
    if kind is bool:
        return is_bool
    if kind in (int, COUNT):
        return isinstance(value, int) and not is_bool and (kind is int or value >= 0)
    if kind is float:
        return isinstance(value, int | float) and not is_bool
    return isinstance(value, kind)
