"""Writes runs_0_1_0.tar.xz: what version 0.1.0 kept on disk, for later ones to load.

Run it with mdl_tf 0.1.0 (commit a855aaa), in an empty folder, and copy the archive here:

    python make_runs_0_1_0.py

A digits run with `resume/`, two epochs of a run with a step schedule, and the history that 0.1.0
itself wrote when it went on to the third; a `MetricModel` with its optimizer; a comparison on
features; vectors; decoded images. The networks have few live channels, all other weights are 0, so
that the archive is small: a dead channel has no gradient, and stays dead.
"""

import contextlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

FOLDER = Path("sample").absolute()
os.environ["MDL_TF_HOME"] = str(FOLDER / "home")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# ruff: noqa: E402
import keras
import numpy as np
from PIL import Image

import mdl_tf
from mdl_tf import batches, cli, datasets, search
from mdl_tf.backbones.conv4 import Conv4, preprocess_input
from mdl_tf.embedding import embed, embedding_model
from mdl_tf.losses import ProxyAnchorLoss
from mdl_tf.optimizers import AdamW
from mdl_tf.training_model import MetricModel

LIVE = 4  # channels of each layer
RUN = (
    "--dataset digits --backbone conv4 --image-size 16 --classes-per-batch 3 --images-per-class 4 "
    "--epochs 2 --steps-per-epoch 4 --validation 0.4 --schedule step --embedding-dim 4 "
    "--repeatable --seed 3 --no-tensorboard --no-clustering"
)
COMPARE = (
    "--dataset npz --backbone none --losses margin_discriminate,proxy_anchor --search 2 --seeds 1 "
    "--classes-per-batch 3 --images-per-class 3 --epochs 2 --steps-per-epoch 4 --embedding-dim 4 "
    "--validation 0.5 --no-clustering"
)


def run(arguments):
    """A command of `mdl-tf`, which must succeed."""
    assert cli.main(arguments) == 0, arguments


def few_live_channels(path):
    """Weights of Conv4 in which all but a few channels are 0."""
    keras.utils.set_random_seed(0)
    network = Conv4((16, 16, 3))
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.array(layer.kernel)
            kernel[..., LIVE:] = 0
            kernel[:, :, LIVE:] *= kernel.shape[2] == 3
            layer.kernel.assign(kernel)
    network.save_weights(path)


def metric_model(weights):
    """A MetricModel after three steps, and what it says of some images."""
    network = Conv4((16, 16, 3))
    network.load_weights(weights)
    model = MetricModel(
        embedding_model(network, preprocess_input, embedding_dim=4), ProxyAnchorLoss(num_classes=5)
    )
    model.compile(AdamW(1e-3, learning_rate_factors={"proxies": 10}))
    train, _, test = datasets.load("digits", validation=0)
    stream = batches.balanced(train, 3, 4, image_size=(16, 16))
    model.fit(stream, steps_per_epoch=3, shuffle=False, verbose=0)
    model.save("metric_model.keras")
    images = next(iter(batches.ordered(test, 8, image_size=(16, 16))))[0]
    embeddings, _ = embed(model, np.asarray(images))
    np.savez("metric_model.npz", images=np.asarray(images, np.uint8), embeddings=embeddings)


def photos(folder):
    """A few pictures in two classes."""
    rng = np.random.default_rng(0)
    for name in ("round", "square"):
        for number in range(2):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Blocks, which are small as a file.
            blocks = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(6, 0).repeat(6, 1)
            Image.fromarray(blocks).save(path)


def main():
    """Everything, in the working folder, then the archive."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    os.chdir(FOLDER)
    few_live_channels("conv4.weights.h5")
    run(["train", *RUN.split(), "--weights", "conv4.weights.h5", "--name", "digits"])
    # What 0.1.0 makes of it when it goes on.
    shutil.copytree("runs/digits", "runs/longer")
    run(["train", "--resume", "runs/longer", "--epochs", "3"])
    expected = {
        "history": Path("runs/longer/history.csv").read_text(),
        "metrics": json.loads(Path("runs/longer/metrics.json").read_text()),
        "version": mdl_tf.__version__,
    }
    shutil.rmtree("runs/longer")

    metric_model("conv4.weights.h5")

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 6)
    centres = rng.normal(size=(12, 6))[labels]
    features = (centres + rng.normal(size=(72, 6))).astype(np.float32)
    np.savez("features.npz", features=features, labels=labels)
    run(["compare", *COMPARE.split(), "--data-dir", "features.npz", "--name", "losses"])
    expected["trials"] = sorted(str(p) for p in Path("runs/losses/trials").glob("*/*.json"))

    photos(Path("photos"))
    # A hundred thousand distances, of which a picture is drawn: a few do.
    distances = Path("runs/digits/resume/distances_untrained.npz")
    with np.load(distances) as stored:
        few = {name: values[::1000] for name, values in stored.items()}
    np.savez(distances, **few)

    vectors = search.embed_images("runs/digits", "photos")
    vectors.save("vectors.npz")
    hits = search.nearest("runs/digits", vectors, ["photos/round/0.png"], k=3)[0]
    expected["hits"] = [[hit.name, hit.distance] for hit in hits]

    sets = datasets.read("folder", data_dir="photos").images
    batches.ordered(sets, 4, image_size=(24, 24), cache="disk")
    expected["decoded"] = sorted(p.name for p in Path("home/decoded").glob("*/*"))

    Path("expected.json").write_text(json.dumps(expected, indent=1))
    # Only the data tell where they were; and pictures of figures are large.
    for pattern in ("*.png", "*.svg", "report.html", "report.md"):
        for path in Path("runs").rglob(pattern):
            path.unlink()
    for path in Path(".").rglob("*.json"):
        path.write_text(path.read_text().replace(str(FOLDER), "SAMPLE"))
    with tarfile.open("../runs_0_1_0.tar.xz", "w:xz", preset=9) as archive:
        for path in sorted(p for p in Path(".").rglob("*") if p.is_file()):
            if path.parts[:2] != ("home", "checks"):
                archive.add(path)


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        main()
    print(Path("../runs_0_1_0.tar.xz").stat().st_size, "bytes")
