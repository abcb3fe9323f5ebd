"""Seconds of a search by a server of 10,000 images, from the upload to the answer.

    python tests/benchmarks/benchmark_serve.py

The network is EfficientNet-Lite0 at 224 x 224 with a head of 128 numbers, weights at random. 200
drawn images are in the index 50 times each, as the time does not depend on what they show. With
TensorFlow alone, and with ONNX Runtime (the extra `onnx`); uploads of 640 x 480 pixels and of 12
megapixels, one after the other, and a search by an image of the index.
"""

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from machine import machine
from PIL import Image

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from helpers.serving import serving  # noqa: E402

from mdl_tf.backbones import EfficientNetLite0  # noqa: E402
from mdl_tf.backbones.efficientnet_lite import preprocess_input  # noqa: E402
from mdl_tf.embedding import embedding_model  # noqa: E402
from mdl_tf.export import runtime  # noqa: E402
from mdl_tf.index import Index  # noqa: E402

IMAGES, COPIES, QUERIES = 200, 50, 30
RESULT = Path(__file__).with_name("serve.json")


def photograph(seed, size):
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "JPEG")
    return file.getvalue()


def build(folder):
    keras.utils.set_random_seed(0)
    network = EfficientNetLite0(input_shape=(224, 224, 3), weights=None)
    embedding_model(network, preprocess_input, 128).save(folder / "m.keras")
    with Index.create(folder / "i", folder / "m.keras") as index:
        # What is there is not embedded again under another name.
        for copies in (1, COPIES):
            for i in range(IMAGES):
                data = photograph(i, (320, 240))
                for copy in range(copies):
                    path = folder / "photos" / f"class {i}" / f"{copy}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            index.add(folder / "photos")
        assert len(index) == IMAGES * COPIES
    return folder / "i"


def measure(client, ask):
    seconds = []
    for turn in range(QUERIES):
        begin = time.monotonic()
        response = ask(turn)
        seconds.append(time.monotonic() - begin)
        assert response.status == 200, response
    return {
        "median": round(statistics.median(seconds), 4),
        "slowest": round(max(seconds), 4),
    }


def measure_server(path):
    with serving(path) as client:
        client.service.warm()
        [hit] = client.search(photograph(0, (64, 64)), k=1).json["hits"]
        # Drawn before, so that it is not measured.
        uploads = [photograph(1000 + turn, (640, 480)) for turn in range(QUERIES)]
        large = photograph(2000, (4000, 3000))
        return {
            "640 x 480": measure(client, lambda turn: client.search(uploads[turn])),
            "12 megapixels": measure(client, lambda turn: client.search(large)),
            "image of the index": measure(client, lambda turn: client.search_json(id=hit["id"])),
            "page": measure(client, lambda turn: client.send_form("/", uploads[turn])),
        }


def main():
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = build(Path(folder))
        result = {"machine": machine(), "images": IMAGES * COPIES}
        is_installed, runtime.is_installed = runtime.is_installed, lambda *names: False
        result["TensorFlow"] = measure_server(path)
        runtime.is_installed = is_installed
        result["ONNX Runtime"] = measure_server(path)
    text = json.dumps(result, indent=1)
    print(text)
    RESULT.write_text(text + "\n")


if __name__ == "__main__":
    main()
