"""The house: who may import whom, what stays light, what is public."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mdl_tf

PACKAGE = Path(mdl_tf.__file__).parent
# What each wing may import from this package at module level; the rest is forbidden.
# `config` is not among what the lowest wings use: it knows the names of losses and of metrics.
LOW = {"checks", "files", "progress", "reading", "words"}
EVERYWHERE = {"config", *LOW}
ALLOWED = {
    "__init__": set(),
    "backbones": set(),
    "batches": {"distribute", "images"},
    "callbacks": {"embedding", "metrics", "pictures"},
    "cli": {"recipes"},
    "compare": {
        *("callbacks", "datasets", "embedding", "losses", "metrics", "pictures", "runs"),
    },
    "checks": {"words"},
    "config": {"datasets", "losses", "metrics"},
    "datasets": {"images"},  # not `config`, which asks it for its table
    "distribute": {"losses"},
    "doctor": {"batches", "datasets", "embedding", "losses", "metrics", "pictures", "runs"},
    "embedding": {"backbones", "metrics"},
    "export": {"datasets", "embedding", "images", "metrics", "runs"},
    "files": set(),
    "images": set(),
    "index": {"datasets", "images", "metrics"},
    "losses": set(),
    "metrics": set(),
    "optimizers": set(),
    "pictures": {"images", "metrics"},
    "progress": {"words"},
    "reading": {"words"},
    "recipes": {"metrics"},
    "runs": {
        *("backbones", "batches", "callbacks", "datasets", "distribute", "embedding", "images"),
        *("losses", "metrics", "optimizers", "pictures", "recipes"),
    },
    "serve": {"images", "index"},
    "search": {"datasets", "images", "index", "metrics", "pictures"},
    "training_model": {"losses"},
    "words": set(),
}
# Wings that others stand on, and that may use the lowest alone.
BELOW = (
    *("__init__", "config", "datasets", "distribute", "images", "losses", "metrics", "optimizers"),
    *LOW,
)
ALLOWED = {
    name: needs | {name} | (set() if name in LOW else LOW if name in BELOW else EVERYWHERE)
    for name, needs in ALLOWED.items()
}
# Never loaded by these, directly or by way of others.
LIGHT = {
    "mdl_tf": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.cli": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.compare": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.config": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.datasets": {"tensorflow", "keras", "sklearn"},
    "mdl_tf.index": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.index.index": {"tensorflow", "keras", "sklearn"},
    "mdl_tf.distribute": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.distribute.cluster": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.export": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.images.file": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.images.plain": {"tensorflow", "keras", "sklearn", "matplotlib"},
    "mdl_tf.losses": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.losses.space": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.metrics": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.metrics.scores": {"tensorflow", "keras", "sklearn"},
    "mdl_tf.metrics.table": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.pictures.mosaic": {"tensorflow", "keras", "sklearn"},
    "mdl_tf.pictures": {"tensorflow", "keras", "sklearn", "numpy", "matplotlib"},
    "mdl_tf.recipes": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.runs": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.serve": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.serve.running": {"tensorflow", "keras", "sklearn", "numpy"},
    "mdl_tf.serve.server": {"tensorflow", "keras", "sklearn", "numpy", "fastapi"},
    "mdl_tf.runs.folder": {"tensorflow", "keras", "sklearn"},
    "mdl_tf.search": {"tensorflow", "keras", "sklearn", "matplotlib"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def wing(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree):
    """Names of `mdl_tf.<name>` imported at module level."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "mdl_tf":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mdl_tf."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("mdl_tf."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    found = set(imported(ast.parse(path.read_text(encoding="utf-8")))) - {"__version__"}
    assert found <= ALLOWED[wing(path)], f"{path.name} may not import {found - ALLOWED[wing(path)]}"


def test_the_doors_form_no_circle():
    done = set()
    while len(done) < len(ALLOWED):
        free = {w for w, needs in ALLOWED.items() if w not in done and needs - {w} <= done}
        assert free, f"a circle among {set(ALLOWED) - done}"
        done |= free


def loaded_by(module):
    script = f"import sys, {module}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module):
    assert not LIGHT[module] & loaded_by(module)


def test_that_test_can_fail():
    assert "numpy" in loaded_by("mdl_tf.metrics.scores")


def test_the_top_of_the_house_has_few_entries():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 29, sorted(entries)
    # Everything at the top has its door.
    assert {
        name.removesuffix(".py") for name in entries if "." not in name.removesuffix(".py")
    } <= set(ALLOWED)


def test_every_public_name_exists_and_has_a_docstring():
    for name in mdl_tf.__all__:
        assert getattr(mdl_tf, name).__doc__
    for path in FILES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(p for p in parts if p != "__init__"))
        assert module.__doc__, f"{path.name} says nothing about itself"
        public = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and callable(value)
            and getattr(value, "__module__", None) == module.__name__
        ]
        for name in public:
            value = getattr(module, name)
            if callable(value) and not isinstance(value, dict):
                assert value.__doc__, f"{module.__name__}.{name} has no docstring"


def test_public_functions_describe_all_their_arguments():
    """A docstring with `Args:` names every argument, and no other."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            text = ast.get_docstring(node) or ""
            if "\nArgs:\n" not in text:
                continue
            function = node
            if isinstance(node, ast.ClassDef):
                function = next(
                    (n for n in node.body if getattr(n, "name", "") == "__init__"), None
                )
            if function is None:
                continue
            arguments = [*function.args.args, *function.args.kwonlyargs]
            expected = {a.arg for a in arguments} - {"self", "cls"}
            expected |= {f"*{a.arg}" for a in [function.args.vararg] if a}
            expected |= {f"**{a.arg}" for a in [function.args.kwarg] if a}
            block = text.split("\nArgs:\n")[1].split("\n\n")[0]
            described = {
                line.strip().split(":")[0]
                for line in block.splitlines()
                if line.startswith("    ") and not line.startswith("     ")
            }
            assert described == expected, f"{path.name}: {node.name}"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="No mdl_tf attribute nothing"):
        mdl_tf.nothing  # noqa: B018
