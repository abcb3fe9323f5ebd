"""Every recipe, all its stages, on a generated stand-in: what `--recipe NAME --smoke` does.

Inception-BN takes half a minute to build for training: one of them trains it here, on small images,
and `cub200-2017` in notebook 03; the others, which differ in numbers alone, train a small network.
"""

import json

import keras
import pytest
from helpers import slow_but

from mdl_tf import cli, recipes

WHOLE = ("cub200-modern",)


@pytest.fixture(autouse=True)
def as_before(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path_factory.getbasetemp() / "smoke-home"))
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


@pytest.mark.parametrize("name", slow_but(("cub200-2017",), recipes.names(), recipes.names()))
def test_smoke(name, tmp_path, capsys):
    small = ["--backbone", "conv4", "--image-size", "32"]
    flags = ["--image-size", "64"] if name in WHOLE else small
    arguments = ["train", "--recipe", name, "--smoke", *flags, "--runs-dir", str(tmp_path)]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    recipe, folder = recipes.load(name), tmp_path / f"{name}-smoke"
    config = recipe.config()
    measured = json.loads((folder / "metrics.json").read_text())
    reached = "concatenated" if config.folds > 1 else "trained"
    ks = (1, 10, 100, 1000) if config.dataset == "sop" else (1, 2, 4, 8)
    assert [k for k in measured[reached] if k.startswith("recall")] == [
        f"recall_at_{k}" for k in ks
    ]
    assert ("nmi" in measured[reached]) == config.clustering
    assert "No published figure is beside these: this run is of a generated stand-in" in said
    assert f"{config.dataset} stand-in train: " in said
    assert len(list(folder.glob("fold-*"))) == (4 if config.folds > 1 else 0)
    assert ("Warm-up to epoch 1" in said) == (config.warm_up_epochs > 0)

    assert cli.main(["evaluate", str(folder), "--json", "--no-clustering"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["dataset"] == f"{config.dataset} stand-in"
    assert again["map_at_r"] == pytest.approx(measured[reached]["map_at_r"], abs=1e-6)
