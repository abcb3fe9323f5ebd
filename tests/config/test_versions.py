"""What an old config means stays: later defaults and fields change no run that is kept."""

import dataclasses
import json

import pytest

from mdl_tf.config import ConfigError, TrainConfig, train_config, versions
from mdl_tf.config.setting import setting
from mdl_tf.runs.network import build_loss
from mdl_tf.runs.resolve import resolve

FIRST = {**versions.first_defaults()["settings"], "epochs": 3, "loss_args": {"margin": 0.5}}


@dataclasses.dataclass(frozen=True)
class Later(TrainConfig):
    """A later version: other defaults, and a field that nobody had before."""

    epochs: int = setting(99, "another default", least=1)
    monitor: str = setting(
        "map_at_r", "another default", choices=("recall_at_1", "map_at_r", "r_precision")
    )
    head: str = setting("auto", "a new field", choices=("auto", "random"), before="random")


def test_a_config_without_a_version_has_the_defaults_of_the_first():
    config = Later.from_kept({"dataset": "digits", "loss": "triplet"})
    assert (config.epochs, config.monitor, config.head) == (8, "recall_at_1", "random")
    assert config.loss_args == versions.first_defaults()["losses"]["triplet"]
    assert Later().head == "auto"


def test_what_is_kept_says_its_version_and_every_value():
    kept = json.loads(TrainConfig(epochs=3).to_json())
    assert list(kept)[0] == "version"
    assert set(kept) == {"version", *(f.name for f in dataclasses.fields(TrainConfig))}
    assert TrainConfig.from_kept(kept) == TrainConfig(epochs=3)
    # A value that was the default and is none any more is no setting without use.
    kept["validation"] = 0.0
    assert Later.from_kept(kept).monitor == "map_at_r"


def test_the_loss_of_a_run_of_the_first_version_keeps_its_defaults(monkeypatch):
    """As if the default of the sharpness were another one today."""
    loss_args = TrainConfig.from_kept(FIRST).loss_args
    assert loss_args == {
        **{"margin": 0.5, "sharpness": 10.0},
        **{"distance": "euclidean", "form": "smooth"},
    }
    changed = versions.first_defaults()
    changed = {**changed, "losses": {**changed["losses"], "margin_discriminate": {"sharpness": 3}}}
    monkeypatch.setattr(versions, "first_defaults", lambda: changed)
    loss = build_loss(TrainConfig.from_kept(FIRST), 2)
    assert (loss.margin, loss.sharpness) == (0.5, 3)


def test_resolving_writes_out_what_the_loss_and_the_optimizer_have_by_themselves():
    config = resolve(TrainConfig(loss="margin", loss_args={"nu": 0.1}, optimizer="adamw"))
    assert config.loss_args["nu"] == 0.1 and config.loss_args["beta"] == 1.2
    assert "num_classes" not in config.loss_args
    assert config.weight_decay == 0.004
    assert resolve(config) == config
    assert resolve(TrainConfig()).weight_decay is None


@pytest.mark.parametrize("name", versions.first_defaults()["losses"])
def test_every_loss_of_the_first_version_still_takes_its_settings(name):
    kept = {**versions.first_defaults()["settings"], "loss": name}
    config = TrainConfig.from_kept(kept)
    assert resolve(config).loss_args.keys() >= config.loss_args.keys()
    build_loss(config, 5)


def test_a_file_of_a_user_has_todays_defaults_and_that_of_a_run_its_own(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"dataset": "digits"}))
    assert Later.from_json(path).epochs == 99
    with pytest.raises(ConfigError, match="config.json must be what a run wrote there"):
        Later.from_run(path)
    path.write_text(json.dumps(FIRST))
    assert Later.from_run(path).epochs == 3
    config = Later.from_json(path)
    assert (config.epochs, config.head, config.loss_args["sharpness"]) == (3, "random", 10.0)
    path.write_text(TrainConfig(epochs=5).to_json())
    assert TrainConfig.from_json(path).epochs == 5


# Where nothing was done, `None` says so.
UNSET = ("start", "shrinkage", "devices", "micro_batch")


def test_every_field_that_the_first_version_had_not_says_what_was_done_before():
    first = versions.first_defaults()["settings"]
    for field in dataclasses.fields(TrainConfig):
        if field.name not in first:
            assert field.metadata["before"] is not None or field.name in UNSET


@pytest.mark.parametrize(
    ("weights", "spelled"),
    [
        ("random", None),
        ("Random", None),
        ("ImageNet", "imagenet"),
        ("my.h5", "my.h5"),
        (None, None),
    ],
)
def test_weights_have_one_spelling(weights, spelled):
    assert TrainConfig(weights=weights).weights == spelled


@pytest.mark.parametrize("settings", [[], {"loss_args": "x"}, {"version": "0.2.0", "hed": 1}])
def test_what_is_no_config(settings):
    with pytest.raises(ConfigError):
        TrainConfig.from_kept(settings)


def test_the_module_is_the_one_that_is_public():
    assert train_config.TrainConfig is TrainConfig
