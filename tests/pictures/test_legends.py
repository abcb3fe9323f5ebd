"""A legend says where it stands: matplotlib's "best" place takes seconds with many points, and
warns only on a machine that is slow enough."""

import ast
import json
from pathlib import Path

import mdl_tf

PACKAGE = Path(mdl_tf.__file__).parent
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def sources():
    for path in PACKAGE.rglob("*.py"):
        yield path.name, path.read_text("utf-8")
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                lines = "".join(cell["source"]).splitlines()
                yield path.name, "\n".join(line for line in lines if line[:1] not in "!%")


def test_every_legend_says_where_it_stands():
    calls = [
        (name, [keyword.arg for keyword in node.keywords])
        for name, source in sources()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "legend"
    ]
    assert len({name for name, _ in calls}) > 2
    assert [name for name, keywords in calls if "loc" not in keywords] == []
