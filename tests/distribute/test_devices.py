"""The strategy of a process, and the settings that cannot be with several devices."""

import pytest
import tensorflow as tf
from helpers import tiny

from mdl_tf import distribute
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.distribute import devices
from mdl_tf.runs.replicas import find_strategy, resolve_devices


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As if the process had asked for no devices yet."""
    monkeypatch.setattr(devices, "_MADE", {})


def test_without_a_gpu_all_devices_are_one():
    strategy = distribute.strategy()
    assert strategy.num_replicas_in_sync == 1
    assert distribute.strategy("all") is strategy


def test_another_number_in_one_process_is_refused():
    distribute.strategy("all")
    with pytest.raises(ValueError, match="must be the same in one process"):
        distribute.strategy(1)


def test_virtual_devices_are_refused_when_tensorflow_has_begun():
    tf.constant(1.0)
    with pytest.raises(ValueError, match="before TensorFlow begins to compute"):
        distribute.strategy(3)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_devices(number):
    with pytest.raises(ValueError, match="`devices` must be an integer"):
        distribute.strategy(number)


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a", "b"])
    with pytest.raises(ValueError, match="at most the GPUs of this machine, 2"):
        distribute.strategy(3)


@pytest.mark.parametrize("given, kept", [(None, None), (2, "2"), ("2", "2"), ("all", "all")])
def test_devices_of_a_config(given, kept):
    config = TrainConfig(devices=given)
    assert config.devices == kept
    assert TrainConfig.from_kept(config.to_kept()) == config


@pytest.mark.parametrize("given", ["some", "0", 0, -1, 1.5, True, "2.0", ["2"]])
def test_what_a_config_refuses(given):
    with pytest.raises(ConfigError, match="`devices` must be all, or a number"):
        TrainConfig(devices=given)


def test_xla_and_devices_do_not_go_together():
    with pytest.raises(ConfigError, match="`jit` must be left out with `devices`"):
        TrainConfig(devices=2, jit=True)


def test_a_cluster_has_all_devices(monkeypatch):
    assert resolve_devices(TrainConfig()).devices is None
    hosts = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}'
    monkeypatch.setenv("TF_CONFIG", hosts)
    assert resolve_devices(TrainConfig()).devices == "all"
    assert resolve_devices(TrainConfig(devices=2)).devices == "2"
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        resolve_devices(TrainConfig())


class _Two:
    num_replicas_in_sync = 2


def test_batches_that_replicas_cannot_share(monkeypatch):
    monkeypatch.setattr(distribute, "strategy", lambda number: _Two(), raising=False)
    config = TrainConfig(devices=2, classes_per_batch=3, images_per_class=3)
    with pytest.raises(ConfigError, match="must be divisible by the replicas"):
        find_strategy(config)
    assert find_strategy(TrainConfig(devices=2, classes_per_batch=3, images_per_class=4))


def test_a_run_says_what_it_cannot_have(tmp_path):
    features = tiny.write_features(tmp_path / "f.npz")
    code, _, told = tiny.train(features, tmp_path, "r", "--devices", "some")
    assert code == 2 and "`devices` must be all" in told and told.count("\n") == 1
    # TensorFlow has begun in this process.
    code, _, told = tiny.train(features, tmp_path, "r", "--devices", "3", "--images-per-class", "4")
    assert code == 2 and "before TensorFlow begins" in told, told
    assert not (tmp_path / "r").exists()


def test_a_cluster_needs_a_name(tmp_path, monkeypatch):
    hosts = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}'
    monkeypatch.setenv("TF_CONFIG", hosts)
    code, _, told = tiny.call("train", "--runs-dir", tmp_path)
    assert code == 2 and "`--name` must be given with several workers" in told
    assert not list(tmp_path.iterdir())
