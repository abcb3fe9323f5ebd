"""`TF_CONFIG`: which workers there are, and which of them this is."""

import json

import pytest

from mdl_tf.distribute import read_cluster

HOSTS = ["host0:2222", "host1:2222"]


def say(monkeypatch, cluster, index=0, kind="worker"):
    value = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(value))


@pytest.mark.parametrize("text", ["", "{}", '{"task": {"index": 0}}'])
def test_no_cluster(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    assert read_cluster() is None


def test_one_worker_is_no_cluster(monkeypatch):
    say(monkeypatch, {"worker": HOSTS[:1]})
    assert read_cluster() is None


def test_the_first_worker_is_the_chief(monkeypatch):
    say(monkeypatch, {"worker": HOSTS}, 0)
    assert read_cluster() == (tuple(HOSTS), 0) and read_cluster().is_chief
    say(monkeypatch, {"worker": HOSTS}, 1)
    assert not read_cluster().is_chief


def test_a_chief_comes_before_the_workers(monkeypatch):
    say(monkeypatch, {"chief": ["h:1"], "worker": HOSTS}, 0, "worker")
    assert read_cluster().index == 1 and not read_cluster().is_chief
    say(monkeypatch, {"chief": ["h:1"], "worker": HOSTS}, 0, "chief")
    assert read_cluster().is_chief


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "no such JSON"),
        ("[1]", "no such JSON"),
        ('{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}}', "the job 'ps'"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"index": 0}}', "of its own"),
        ('{"cluster": {"worker": ["a", "b:1"]}, "task": {"index": 0}}', "of its own"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "none of its workers"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 2}}', "none of its workers"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": "0"}}', "none of its workers"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief"}}', "several chiefs"),
    ],
)
def test_what_is_no_cluster_is_refused(text, why, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="`TF_CONFIG` must be of the form") as error:
        read_cluster()
    assert why in str(error.value) and "\n" not in str(error.value)
