"""What the pages say is there: links, files, names, commands and flags; and the README is short."""

import importlib
import re
import runpy
import shlex
import sys

import pytest
from helpers import ROOT, pages

from mdl_tf import cli, losses
from mdl_tf.losses import LOSSES

A_PAGE = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
SCRIPT = "python tests/benchmarks/"


def anchors(page):
    """Where links may lead in a page, as GitHub makes it of the headings."""
    heads = re.findall(r"^#+ (.+)$", pages.prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", pages.prose(page))
    return [target for target in targets if not re.match(r"https?:", target)]


@A_PAGE
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_links_are_found():
    assert len(links(pages.README)) > 20
    assert "#shuffled-batches" in {"#" + link.partition("#")[2] for link in links(pages.README)}
    assert "load-read-from_dataset" in anchors(ROOT / "mdl_tf" / "datasets" / "README.md")


@A_PAGE
def test_files_are_there(page):
    named = [code for code in pages.inline_code(page) if re.match(r"(mdl_tf|tests|\.ci)/", code)]
    for path in named:
        assert (ROOT / path).exists(), path


def has(name):
    """Whether a dotted name can be imported."""
    module, names = name, []
    while module:
        try:
            value = importlib.import_module(module)
        except ImportError:
            module, _, last = module.rpartition(".")
            names.insert(0, last)
            continue
        for last in names:
            value = getattr(value, last, None)
        return value is not None
    return False


@A_PAGE
def test_names_can_be_imported(page):
    text = page.read_text("utf-8")
    if page == pages.CHANGES:
        text = re.sub(r"^\| [^|]+ \|", "", text, flags=re.MULTILINE)  # what was, in 0.1.0
    for name in sorted(set(re.findall(r"(?<![\w/.])mdl_tf(?:\.\w+)+", text))):
        assert has(name), name


def test_names_that_moved_are_gone():
    rows = re.findall(r"^\| `(mdl_tf\..+)` \| `mdl_tf", pages.CHANGES.read_text("utf-8"), re.M)
    assert len(rows) > 10
    for names in rows:
        for name in names.split("`, `"):
            assert not has(name), f"{name} has not moved"


def test_every_loss_is_on_its_pages():
    listed = {loss.__name__ for loss in LOSSES.values()}
    for page in (pages.README, ROOT / "mdl_tf" / "losses" / "README.md"):
        text = page.read_text("utf-8")
        assert listed <= set(re.findall(r"`(\w+Loss)`", text)), page
    named = set(pages.inline_code(ROOT / "mdl_tf" / "losses" / "README.md"))
    assert set(LOSSES) <= named
    assert set(re.findall(r"`(\w+Loss)`", pages.README.read_text("utf-8"))) <= set(losses.__all__)


def test_every_notebook_is_named():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in pages.README.read_text("utf-8")
        assert f"({path.name})" in pages.NOTEBOOKS.read_text("utf-8")


def test_the_readme_is_read_in_five_minutes():
    text = pages.README.read_text("utf-8")
    assert len(text.encode("utf-8")) < 15_000
    assert not re.search("RESULT|BENCH|@@", text)
    assert (ROOT / "notebooks" / "before_and_after.png").stat().st_size < 300_000


@pytest.mark.parametrize("page", pages.GUIDES, ids=pages.name)
def test_a_guide_begins_with_what_one_can_do_and_an_example(page):
    begin = r"# [^\n]+\n\n[A-Z](?:[^\n]+\n)+\n```(python|console)\n"
    assert re.match(begin, page.read_text("utf-8"))


@pytest.fixture(scope="module")
def help_of():
    """A function of a command or script to the text of its `--help`."""
    known = {}

    def help_of(program, capsys, monkeypatch):
        if program not in known:
            with pytest.raises(SystemExit) as ended:
                if program.startswith("mdl-tf "):
                    cli.main([*program.split()[1:], "--help"])
                else:
                    path = ROOT / program.removeprefix("python ")
                    monkeypatch.syspath_prepend(path.parent)
                    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
                    runpy.run_path(str(path), run_name="__main__")
            assert not ended.value.code
            known[program] = capsys.readouterr().out
        return known[program]

    return help_of


def programs(page):
    """The commands and scripts of a page, in blocks and in prose, each with its flags."""
    for line in [*pages.lines(page), *pages.inline_code(page)]:
        line = pages.command(line) or line
        if line.startswith((SCRIPT, "mdl-tf ")):
            first, second, *rest = shlex.split(line)
            if second == "index" and rest:
                second += f" {rest[0]}"
            yield f"{first} {second}", [word for word in rest if word.startswith("--")]


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_commands_and_scripts_have_the_flags_that_are_shown(page, help_of, capsys, monkeypatch):
    for program, flags in programs(page):
        if program == "mdl-tf ...":
            continue
        text = help_of(program, capsys, monkeypatch)
        for flag in flags:
            assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), f"{program} {flag}"


@A_PAGE
def test_every_line_of_a_console_is_run_or_explained(page):
    for line in pages.lines(page):
        is_script = page == pages.MEASURED and line.startswith(SCRIPT)
        assert is_script or pages.command(line) or line in pages.OTHERS, line


def test_every_script_is_on_the_page_of_what_was_measured():
    scripts = {path.name for path in pages.MEASURED.parent.glob("*.py")}
    scripts -= {"machine.py", "studies.py"}  # what they share
    shown = {line.split()[1] for line in pages.lines(pages.MEASURED) if line.startswith(SCRIPT)}
    assert shown == {f"tests/benchmarks/{name}" for name in scripts}
