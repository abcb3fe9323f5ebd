"""Processes that are the workers of one cluster on this machine."""

import json
import os
import socket
import subprocess


def start(command, workers, **options):
    """Start a command once for each worker, each with its `TF_CONFIG`.

    Args:
        command: program and arguments, or a function from the number of a worker to them.
        workers: how many.
        **options: of `subprocess.Popen`.

    Returns:
        The processes, the chief first.
    """
    hosts = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    processes = []
    environment = options.pop("env", os.environ)
    for index in range(workers):
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                command(index) if callable(command) else command,
                env={**environment, "TF_CONFIG": json.dumps(config)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                **options,
            )
        )
    return processes


def finish(processes, seconds=400):
    """Exit code, output and errors of each."""
    told = [each.communicate(timeout=seconds) for each in processes]
    return [(each.returncode, *texts) for each, texts in zip(processes, told, strict=True)]


def _free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
