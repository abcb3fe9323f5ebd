"""Which machines train together: what the environment variable `TF_CONFIG` says. Loads little."""

import json
import os
from typing import NamedTuple

VARIABLE = "TF_CONFIG"
_FORM = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


class Cluster(NamedTuple):
    """The workers of a training, and which of them this process is.

    Args:
        workers: addresses, `"host:port"`, the chief first.
        index: of this process among them, from 0.
    """

    workers: tuple
    index: int

    @property
    def is_chief(self):
        """Whether this process writes the run: the chief, or the first worker without one."""
        return self.index == 0


def read_cluster():
    """The cluster of `TF_CONFIG`.

    Returns:
        A `Cluster`, or `None` if there is no such variable, or one worker alone.

    Raises:
        ValueError: for a `TF_CONFIG` that is no such JSON, with other tasks than workers and a
            chief, or whose task is none of them.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if text in ("", "{}"):
        return None
    try:
        settings = json.loads(text)
        jobs, task = settings.get("cluster", {}), settings.get("task", {})
        others = set(jobs) - {"chief", "worker"}
        addresses = [("chief", i, each) for i, each in enumerate(jobs.get("chief", []))]
        addresses += [("worker", i, each) for i, each in enumerate(jobs.get("worker", []))]
    except (AttributeError, TypeError, ValueError):
        raise ValueError(_message("is no such JSON", text)) from None
    if not jobs:
        return None
    if others:
        raise ValueError(_message(f"has the job {min(others)!r}: all must be workers", text))
    if len(jobs.get("chief", [])) > 1:
        raise ValueError(_message("has several chiefs", text))
    wrong = [each for _, _, each in addresses if not isinstance(each, str) or ":" not in each]
    if wrong or len({each for _, _, each in addresses}) < len(addresses):
        raise ValueError(_message("must name a host and a port of its own for each worker", text))
    places = [(job, i) for job, i, _ in addresses]
    place = (task.get("type", "worker"), task.get("index"))
    if place not in places or isinstance(place[1], bool):
        raise ValueError(_message("has a `task` that is none of its workers", text))
    if len(addresses) == 1:
        return None
    return Cluster(tuple(each for _, _, each in addresses), places.index(place))


def _message(why, text):
    shown = text if len(text) < 300 else f"{text[:300]} ..."
    return f"`{VARIABLE}` must be of the form {_FORM}. Received: {shown}, which {why}"
