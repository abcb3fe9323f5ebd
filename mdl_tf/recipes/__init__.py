"""Recipes: published set-ups as settings, with their sources and the figures to hold a run against.

Each is a JSON file beside this one. Loads nothing heavy.

>>> recipes.load("cub200-2017").config(epochs=10)
"""

import json
from pathlib import Path

from mdl_tf.config import ConfigError
from mdl_tf.recipes.recipe import Recipe

__all__ = ["Recipe", "load", "names"]

_FOLDER = Path(__file__).parent


def names():
    """The names of all recipes, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def load(name):
    """A recipe.

    Args:
        name: one of `names()`, such as `"cub200-2017"`.

    Returns:
        A `Recipe`.

    Raises:
        ConfigError: for an unknown name, listing the known ones.
    """
    if name not in names():
        raise ConfigError(f"`recipe` must be one of {', '.join(names())}. Received: recipe={name}")
    text = (_FOLDER / f"{name}.json").read_text(encoding="utf-8")
    return Recipe.from_dict(name, json.loads(text))
