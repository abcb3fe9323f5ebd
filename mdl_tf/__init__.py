"""Deep metric learning for Keras 3: train an embedding, retrieve with it, measure it.

The map of the library; a wing's public names are in its `__init__.py`, its guide in its README.md.

    train     datasets      names, paths, labels; train, validation, test: disjoint sets of classes
              images        path -> canvas (h, w, 3) uint8, kept if you like -> (H, W, 3)
              batches       plan of indices -> images (B, H, W, 3), labels (B,)          B = P * K
              backbones     Inception-BN and its ImageNet weights, or any network by name
              embedding     preprocessing -> backbone -> pooling -> dense, which begins from the
                            training classes if the backbone has learned -> unit length: (B, D)
              losses        distances (B, B), pairs -> (B,) per anchor; its mean is the loss
              optimizers    a learning-rate factor for some layers
              distribute    the same on several devices and machines

    evaluate  batches       every image once, in order
              embedding     embed(model, images) -> embeddings (N, D), labels (N,)
              metrics       neighbours, per-query numbers -> {"recall_at_1", "map_at_r", ...}
              callbacks     -> logs["val_recall_at_1"], TensorBoard

    search    search        a folder -> vectors (N, D); an image -> the nearest of them
              index         the same as a folder that grows, with filters, classes and thresholds
              export        the network for other programs: SavedModel, ONNX, LiteRT, OpenVINO

    around    config        every setting of a run, to and from JSON
              runs          a run: its folder, data, network, the loop that trains, its report
              recipes       published set-ups as configs, and the figures to hold a run against
              compare       the same network with several losses, searched alike; a report
              doctor        what may be wrong with a run, and what to do
              pictures      curves, contact sheets, neighbours
              cli           the command mdl-tf
              files, progress, words    files written whole, time left, texts

Axis letters, the same everywhere: `B` batch, `P` classes per batch, `K` images per class,
`D` embedding size, `N` images in a set, `Q` queries, `G` gallery, `k` neighbours,
`H` `W` pixels, `C` classes.

Importing this package loads neither TensorFlow nor scikit-learn; its parts load on first use.
"""

import os
import re
import sys
from importlib import metadata

import lazy_loader

__version__ = "0.2.0.dev0"
KERAS = "3.15.1"  # the first version in which no way is known to run code through a model file


def _refuse_old_keras():
    try:
        installed = metadata.version("keras")
    except metadata.PackageNotFoundError:
        return  # its own import says so
    numbers = [tuple(map(int, re.findall(r"\d+", text)[:3])) for text in (installed, KERAS)]
    if numbers[0] >= numbers[1]:
        return
    told = (
        f"mdl_tf needs keras {KERAS} or newer, since files of models can run programs in older "
        f"ones: pip install -U keras. Received: keras {installed}"
    )
    if os.path.basename(sys.argv[0] if sys.argv else "") in ("mdl-tf", "mdl-tf.exe"):
        print(f"mdl-tf: error: {told}", file=sys.stderr)
        sys.exit(2)
    raise ImportError(told)


_refuse_old_keras()

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "backbones",
        "batches",
        "callbacks",
        "compare",
        "config",
        "datasets",
        "distribute",
        "doctor",
        "embedding",
        "export",
        "index",
        "losses",
        "metrics",
        "optimizers",
        "pictures",
        "recipes",
        "runs",
        "search",
        "training_model",
    ],
    submod_attrs={"embedding": ["load_model"]},
)
