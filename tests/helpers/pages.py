"""The pages of the documentation: README.md, the guides beside what they are about, CHANGES.md."""

import re

from helpers import ROOT

README = ROOT / "README.md"
CHANGES = ROOT / "mdl_tf" / "CHANGES.md"
# Their commands take minutes to hours, and need data that are not here.
MEASURED = ROOT / "tests" / "benchmarks" / "README.md"
NOTEBOOKS = ROOT / "notebooks" / "README.md"
GUIDES = sorted(path for path in (ROOT / "mdl_tf").rglob("README.md"))
PAGES = [README, *GUIDES, CHANGES, NOTEBOOKS, MEASURED]
# What is shown and no command of this library.
INSTALL = (
    "python -m venv v && v/bin/pip install . && v/bin/mdl-tf train --backbone conv4 --image-size 32"
)
OTHERS = (
    "v/bin/pip install '.[efficientnet-lite]'",
    "v/bin/pip install '.[onnx,serve]'",
    "v/bin/pip install '.[test]' && v/bin/pytest -n 2",
    "CUDA_VISIBLE_DEVICES=0 pytest tests/gpu --slow",
    "v/bin/tensorboard --logdir runs",
)


def name(page):
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """Pairs of a language and what is in its block, in the order of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def lines(page):
    """The lines of the console blocks of a page."""
    return [
        line
        for language, block in blocks(page)
        if language == "console"
        for line in block.splitlines()
    ]


def command(line):
    """The command of this library in a line of a console block, `None` if there is none."""
    last = line.split("&&")[-1].strip().removeprefix("v/bin/")
    return last if last.startswith("mdl-tf ") else None


def prose(page):
    """A page without its blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def inline_code(page):
    """What stands between backticks in the prose of a page."""
    return re.findall(r"`([^`\n]+)`", prose(page))
