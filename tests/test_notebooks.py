"""The notebooks: stored as one run left them, and run again in the slow lane."""

import re

import pytest
from helpers import ROOT, slow_but

IPYNB = sorted((ROOT / "notebooks").glob("*.ipynb"))
# They train more than the others; the guides of both are followed in the slow lane.
LONGEST = ("03_reproduce_the_paper", "05_compare_losses")
A_NOTEBOOK = pytest.mark.parametrize("path", IPYNB, ids=lambda path: path.stem)


def read_notebook(path):
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    return notebook, [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(output):
    """What an output says, without its pictures."""
    shown = [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return "".join([output.get("text", ""), *shown])


@A_NOTEBOOK
def test_notebooks_are_stored_with_the_outputs_of_one_run_from_first_to_last_cell(path):
    _, cells = read_notebook(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2, "pictures"
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr", "warnings, or the noise of a library"
        assert not re.search(r"/(tmp|home|root|Users|work)/", texts(output)), "somebody's paths"
    assert path.stat().st_size < 640_000


@pytest.mark.parametrize(
    "path",
    slow_but((), IPYNB, [path for path in IPYNB if path.stem in LONGEST]),
    ids=lambda path: path.stem,
)
def test_notebooks_run_end_in_an_assertion_and_leave_nothing_behind(path, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    notebook, cells = read_notebook(path)
    assert "assert " in cells[-1].source
    place, temporary = tmp_path / "place", tmp_path / "temporary"
    place.mkdir()
    temporary.mkdir()
    # A kernel that is slow to end is killed while it removes its temporary files.
    monkeypatch.setenv("TMPDIR", str(temporary))
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": place}}
    ).execute()
    assert list(place.iterdir()) == []
