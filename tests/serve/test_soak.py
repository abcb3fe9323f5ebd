"""50 clients at the same time for a minute: no error, and memory stays as it is."""

import io
import os
import re
import statistics
import subprocess
import threading
import time

import keras
import numpy as np
import pytest
from helpers import commands
from helpers.serving import Client
from PIL import Image

from mdl_tf.backbones import Conv4
from mdl_tf.embedding import embedding_model
from mdl_tf.index import Index

CLIENTS, SECONDS = 50, 60


def memory(pid):
    """MB that a process holds."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def photograph(seed):
    """A JPEG of its own size, as no two telephones make the same."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (15 + seed % 7, 20, 3), np.uint8)
    image = Image.fromarray(pixels).resize((640 + 16 * (seed % 9), 480))
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


@pytest.mark.longest
def test_fifty_clients_for_a_minute(tmp_path):
    for i in range(200):
        path = tmp_path / "photos" / f"class {i // 10}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photograph(i))
    keras.utils.set_random_seed(0)
    embedding_model(Conv4((64, 64, 3))).save(tmp_path / "m.keras")
    with Index.create(tmp_path / "i", tmp_path / "m.keras") as index:
        index.add(tmp_path / "photos")
    server = subprocess.Popen(
        [*commands.COMMAND, "serve", str(tmp_path / "i"), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while not (page := re.search(r"Page: \S+:(\d+)/", server.stdout.readline())):
            pass
        client = Client(int(page[1]), None)
        end, seconds, errors, held = time.monotonic() + SECONDS, [], [], []

        def go_on(number):
            turn = number
            while time.monotonic() < end:
                begin = time.monotonic()
                found = client.search(photograph(turn), k=5)
                seconds.append(time.monotonic() - begin)
                turn += CLIENTS
                if found.status != 200:
                    errors.append(found)
                    continue
                hits = found.json["hits"]
                others = [
                    client.get(hits[turn % 5]["image"]),
                    client.search_json(id=hits[0]["id"]),
                    client.get(f"/?id={hits[1]['id']}"),
                ]
                errors.extend(response for response in others if response.status != 200)

        threads = [threading.Thread(target=go_on, args=(i,)) for i in range(CLIENTS)]
        [thread.start() for thread in threads]
        while time.monotonic() < end:
            time.sleep(1)
            held.append(memory(server.pid))
        [thread.join() for thread in threads]
    finally:
        server.terminate()
        code = server.wait(20)
    # After the first third: the first pictures and graphs are there then.
    begin, last = statistics.median(held[20:30]), statistics.median(held[-10:])
    print(
        f"{len(seconds):,} searches by {CLIENTS} clients in {SECONDS} s; median "
        f"{statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s; memory "
        f"{held[0]:.0f}, {begin:.0f}, {last:.0f} MB at the start, after a third, at the end"
    )
    assert not errors, errors[:3]
    assert code == 0
    assert len(seconds) > 2 * CLIENTS
    assert last - begin < 30, held
