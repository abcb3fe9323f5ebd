"""What the library needs: the floor of Keras, below which model files can run programs."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mdl_tf

ROOT = Path(mdl_tf.__file__).parents[1]


def imported(folder, version, program):
    """Import the library where another version of Keras is installed; nothing else is loaded."""
    info = folder / f"keras-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: keras\nVersion: {version}\n")
    path = os.pathsep.join([str(folder), str(ROOT)])
    script = f"import sys; sys.argv = [{program!r}]; import mdl_tf"
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.parametrize("version", ["3.6.0", "3.9.2", "3.14.1", "3.15.0", "2.15.0"])
def test_a_keras_with_known_holes_is_refused_in_one_line(version, tmp_path):
    done = imported(tmp_path, version, "/usr/bin/mdl-tf")
    assert done.returncode == 2
    assert done.stderr == (
        f"mdl-tf: error: mdl_tf needs keras {mdl_tf.KERAS} or newer, since files of models can run "
        f"programs in older ones: pip install -U keras. Received: keras {version}\n"
    )


def test_in_python_it_is_an_import_error(tmp_path):
    done = imported(tmp_path, "3.12.0", "script.py")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: mdl_tf needs keras")


@pytest.mark.parametrize("version", [mdl_tf.KERAS, "3.16.0", "4.0", "3.15.1.dev0+x"])
def test_newer_ones_are_taken(version, tmp_path):
    assert imported(tmp_path, version, "script.py").returncode == 0


def test_the_floor_stands_in_the_metadata_as_well():
    if not (ROOT / "setup.cfg").is_file():
        pytest.skip("installed, without its source")
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert f"keras>={mdl_tf.KERAS}" in setup["options"]["install_requires"].split("\n")
