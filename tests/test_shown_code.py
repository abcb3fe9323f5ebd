"""What is shown is run: the README's code and commands with fewer steps, and the notebooks."""

import re
import shlex
import subprocess
import sys

import file_skeletons
import pytest
from helpers import ROOT

from mdl_tf.backbones import weights
from mdl_tf.backbones.convert import convert_weights

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [
    line.replace("v/bin/", "").split("&&")[-1].strip()
    for language, code in BLOCKS
    if language == "console"
    for line in code.splitlines()
    if "mdl-tf " in line
]
# Minutes become seconds; everything else is run as it stands.
FEWER = {
    r"steps_per_epoch=\d+": "steps_per_epoch=2",
    r"epochs=\d+": "epochs=1",
    r"\(64, 64": "(32, 32",
}
# A quarter of the pixels, of 14,294 glyphs twice; for commands that say no size themselves.
SMALLER = ["--image-size", "32"]
FEWER_FLAGS = ["--epochs", "1", "--steps-per-epoch", "2", "--no-clustering"]
FEWER_RUNS = ["--search", "2", "--seeds", "1", *FEWER_FLAGS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One working folder, with photographs of somebody's own as the README speaks of them."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("shown")
    rng = np.random.default_rng(0)
    for c in range(12):
        (folder / "photos" / f"thing {c}").mkdir(parents=True)
        colour = rng.integers(0, 256, 3)
        for i in range(4):
            pixels = (colour + rng.normal(0, 20, (40, 40, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / f"thing {c}" / f"{i}.jpg")
    Image.fromarray(pixels).save(folder / "query.jpg")
    labels = np.repeat(np.arange(80), 4)
    np.savez(folder / "features.npz", features=rng.normal(size=(320, 16)), labels=labels)
    module = next(code for code in PYTHON if code.startswith("# my_module.py"))
    (folder / "my_module.py").write_text(module, encoding="utf-8")
    file_skeletons.write("legacy", folder / "bn_inception-52deb4733.pth")
    return folder


@pytest.fixture(scope="module", autouse=True)
def fetched(folder):
    """Weights with which "imagenet" is as it is after the first time, when it was fetched."""
    kept = folder / "home" / "models"
    kept.mkdir(parents=True)
    convert_weights(
        folder / "bn_inception-52deb4733.pth",
        kept / f"bn_inception-52deb4733_notop-{weights.ORDER}.weights.h5",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDL_TF_HOME", str(folder / "home"))
        yield


def test_the_readme_shows_code_and_commands():
    assert "RESULT" not in README
    assert "BENCH" not in README
    assert len(PYTHON) >= 2
    assert any("train" in command for command in COMMANDS)
    for name in ("evaluate", "embed", "search", "datasets show"):
        assert any(command.startswith(f"mdl-tf {name}") for command in COMMANDS)
    for pattern in FEWER:
        assert any(re.search(pattern, code) for code in PYTHON), "nothing left to shorten"


def test_readme_code_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    namespace = {}
    for number, code in enumerate(PYTHON):
        for pattern, fewer in FEWER.items():
            code = re.sub(pattern, fewer, code)
        exec(compile(code, f"README block {number}", "exec"), namespace)


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_commands_run(command, folder):
    program, *arguments = shlex.split(command)
    assert program == "mdl-tf"
    if arguments[0] == "train" and "--resume" not in arguments:
        arguments += FEWER_FLAGS
        if not {"--image-size", "--recipe"} & set(arguments):
            arguments += SMALLER
    if arguments[0] == "compare":
        arguments += FEWER_RUNS
    done = subprocess.run(
        [sys.executable, "-m", "mdl_tf.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
A_NOTEBOOK = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read_notebook(path):
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    return notebook, [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(output):
    """What an output says, without its pictures."""
    shown = [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return "".join([output.get("text", ""), *shown])


def test_the_readme_names_every_notebook():
    assert len(NOTEBOOKS) >= 3
    for path in NOTEBOOKS:
        assert f"(notebooks/{path.name})" in README


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


@A_NOTEBOOK
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
