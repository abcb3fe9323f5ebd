"""What is shown is run: the code and the commands of all pages, with fewer steps.

A page is followed from top to bottom, in a folder that has what the pages speak of; one of them in
the first lane of the tests, README.md and the other guides in the slow one.
"""

import re
import shlex
import subprocess
import sys
import warnings

import file_skeletons
import pytest
from helpers import ROOT, commands, pages, slow_but

from mdl_tf import cli
from mdl_tf.backbones import efficientnet_lite, weights
from mdl_tf.backbones.convert import convert_weights
from mdl_tf.datasets import glyphs

# Minutes become seconds; everything else is run as it stands.
FEWER = {
    r"steps_per_epoch=\d+": "steps_per_epoch=2",
    r"epochs=\d+": "epochs=1",
}
FEWER_FLAGS = ["--epochs", "1", "--steps-per-epoch", "2", "--no-clustering"]
FEWER_RUNS = ["--search", "2", "--seeds", "1", *FEWER_FLAGS]
# For commands that say no size themselves.
SMALLER = ["--image-size", "32"]
# As a reader runs it, in a process of its own; the others are run in this one, which has
# TensorFlow already.
IN_ITS_OWN_PROCESS = "mdl-tf search photos.index query.jpg"
# The shortest, and the others in the slow lane.
FIRST = ROOT / "mdl_tf" / "embedding" / "README.md"
FOLLOWED = slow_but((FIRST,), (pages.README, *pages.GUIDES))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What is kept between commands: few glyphs, and weights as if they had been fetched before."""
    home = tmp_path_factory.mktemp("home")
    models = home / "models"
    models.mkdir()
    file_skeletons.write("legacy", home / "bn_inception-52deb4733.pth")
    convert_weights(
        home / "bn_inception-52deb4733.pth",
        models / f"bn_inception-52deb4733_notop-{weights.ORDER}.weights.h5",
    )
    render = glyphs.render
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "render", lambda progress: render(limit=60, progress=progress))
        patch.setattr(glyphs, "TRAIN_CLASSES", 48)
        # As if its package were installed; the numbers stay random.
        patch.setattr(efficientnet_lite, "_load", lambda model, weights, name: None)
        yield home


@pytest.fixture
def eagerly():
    """Without the minutes in which TensorFlow makes graphs of networks that learn two steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def folder(tmp_path, home, eagerly, monkeypatch):
    """A reader's working folder: photographs of 80 things, features, a module, a weight file."""
    import numpy as np
    from PIL import Image

    monkeypatch.setenv("MDL_TF_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    # The command appends the working folder.
    monkeypatch.setattr(sys, "path", list(sys.path))
    rng = np.random.default_rng(0)
    for c in range(80):
        (tmp_path / "photos" / f"thing {c}").mkdir(parents=True)
        colour = rng.integers(0, 256, 3)
        for i in range(4):
            pixels = (colour + rng.normal(0, 20, (40, 40, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / f"thing {c}" / f"{i}.jpg")
    Image.fromarray(pixels).save(tmp_path / "query.jpg")
    labels = np.repeat(np.arange(80), 4)
    np.savez(tmp_path / "features.npz", features=rng.normal(size=(320, 16)), labels=labels)
    source = home / "bn_inception-52deb4733.pth"
    (tmp_path / source.name).symlink_to(source)
    return tmp_path


def shortened(text):
    for pattern, fewer in FEWER.items():
        text = re.sub(pattern, fewer, text)
    return text


def arguments_of(line):
    """The arguments of a command, with fewer steps and pixels."""
    program, *arguments = shlex.split(shortened(line))
    assert program == "mdl-tf"
    if arguments[0] == "train" and "--resume" not in arguments:
        arguments += FEWER_FLAGS
        if not {"--image-size", "--recipe"} & set(arguments):
            arguments += SMALLER
    if arguments[0] == "compare":
        arguments += FEWER_RUNS
    return arguments


def run_command(line, capsys):
    if line == IN_ITS_OWN_PROCESS:
        done = commands.run(*arguments_of(line))
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return
    import keras

    keras.utils.clear_session()
    capsys.readouterr()
    if line.startswith("mdl-tf serve"):
        with pytest.MonkeyPatch.context() as patch:
            # All is done but to wait for requests.
            patch.setattr("uvicorn.Server.run", lambda server, sockets: None)
            assert cli.main(arguments_of(line)) == 0
        return
    # As in a process of its own: `main` shows warnings in its own way.
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code = cli.main(arguments_of(line))
    said = capsys.readouterr()
    assert code == 0, f"{line}\n{said.out}{said.err}"


def modules_of(page):
    """The modules that a page has its reader write: blocks that begin with their name."""
    for language, code in pages.blocks(page):
        if language == "python" and (head := re.match(r"# (\w+)\.py\n", code)):
            yield head[1], code


def trained_already(page):
    """Whether a page speaks of a run that another page trains."""
    text = page.read_text("utf-8")
    return "runs/photos" in text and "--name photos" not in text


# What TensorFlow says of `eagerly`.
@pytest.mark.filterwarnings("ignore:Even though the:UserWarning")
@pytest.mark.parametrize("page", FOLLOWED, ids=pages.name)
def test_a_page_can_be_followed_from_top_to_bottom(page, folder, capsys, monkeypatch):
    for module, code in modules_of(page):
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, module, raising=False)
    if trained_already(page):
        train = "train --dataset folder --data-dir photos --backbone conv4 --name photos"
        run_command(f"mdl-tf {train}", capsys)
    namespace = {"__name__": "__main__"}
    for number, (language, block) in enumerate(pages.blocks(page)):
        if language == "python":
            exec(compile(shortened(block), f"{pages.name(page)} {number}", "exec"), namespace)
        for line in block.splitlines() if language == "console" else ():
            if line := pages.command(line):
                run_command(line, capsys)


def test_there_is_something_to_follow_and_to_shorten():
    assert len(pages.GUIDES) >= 8
    shown = "".join(page.read_text("utf-8") for page in (pages.README, *pages.GUIDES))
    for pattern in FEWER:
        assert re.search(pattern, shown), "nothing left to shorten"
    assert IN_ITS_OWN_PROCESS in pages.lines(pages.README)
    followed = {
        line.split()[1]
        for page in (pages.README, *pages.GUIDES)
        for line in map(pages.command, pages.lines(page))
        if line
    }
    assert followed == {
        *("train", "evaluate", "embed", "search", "compare", "doctor", "datasets", "recipes"),
        *("convert-weights", "export", "index", "serve", "classify", "cluster"),
    }


@pytest.mark.longest
def test_the_first_command_on_all_glyphs_in_a_process_of_its_own(tmp_path):
    assert pages.INSTALL in pages.lines(pages.README)
    done = subprocess.run(
        [*commands.COMMAND, *arguments_of(pages.command(pages.INSTALL))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test: 14,294 images of 1,059 classes never seen in training" in done.stdout
