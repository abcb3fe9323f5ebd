"""Deep metric learning for Keras 3: train an embedding, retrieve with it, measure it.

The map of the library, in the order in which data passes through it:

    train     datasets      names, paths, labels; train, validation, test: disjoint sets of classes
              images        path -> canvas (h, w, 3) uint8, kept by image_cache -> (H, W, 3)
              batches       plan of indices -> images (B, H, W, 3), labels (B,)          B = P * K
              backbones     Inception-BN and its ImageNet weights, or any network by name
              embedding     preprocessing -> backbone -> pooling -> dense -> unit length: (B, D)
              distances     -> (B, B);  pairs -> positive and negative masks (B, B)
              losses        -> (B,) per anchor; its mean is the loss
              training_model    an embedder with a loss that has weights of its own
              optimizers        a learning-rate factor for some layers
              batch_norm        trained, frozen, or with its running statistics only

    evaluate  batches       every image once, in order
              embedding     embed(model, images) -> embeddings (N, D), labels (N,)
              retrieval     neighbours and per-query numbers, by blocks of queries
              metrics       -> {"recall_at_1", "map_at_r", ...}
              callbacks     -> logs["val_recall_at_1"], TensorBoard

    search    search        a folder -> vectors (N, D); an image -> the nearest of them

    around    config      every setting of a run, to and from JSON
              setting     one of them: what it may be
              recipes     published set-ups as configs, and the figures to hold a run against
              assemble    config -> model, loss, optimizer
              phases      a warm-up with the network frozen, and then the rest
              trainable   which layers learn, and put back as it was
              evaluation  a whole set of images -> metrics
              doctor      what may be wrong with a run, and what to do
              runs, run_callbacks, progress, plots, report
              board       what TensorBoard shows besides scalars: summaries, mosaic, projector
              browse      a data set -> a contact sheet
              thumbnails  images of a set -> small pictures
              image_file  what a person sees in a file, and what is wrong with it
              files       where things are kept, written whole or not at all
              train       one run: run_data, run_fit, run_report
              cross_validation  a run for each fold, separated and concatenated
              compare     the same network with several losses, searched alike; a report
              cli

Axis letters, the same everywhere: `B` batch, `P` classes per batch, `K` images per class,
`D` embedding size, `N` images in a set, `Q` queries, `G` gallery, `k` neighbours,
`H` `W` pixels, `C` classes.

Importing this package loads neither TensorFlow nor scikit-learn; its parts load on first use.
"""

import importlib

__version__ = "0.1.0"

_PARTS = (
    "assemble",
    "backbones",
    "batch_norm",
    "batches",
    "board",
    "browse",
    "callbacks",
    "compare",
    "config",
    "cross_validation",
    "datasets",
    "distances",
    "doctor",
    "embedding",
    "evaluation",
    "files",
    "image_cache",
    "image_file",
    "images",
    "losses",
    "metrics",
    "mosaic",
    "optimizers",
    "pairs",
    "phases",
    "plan",
    "plots",
    "progress",
    "projector",
    "recipes",
    "report",
    "retrieval",
    "run_callbacks",
    "run_data",
    "run_fit",
    "run_report",
    "runs",
    "search",
    "setting",
    "summaries",
    "thumbnails",
    "train",
    "trainable",
    "training_model",
)

__all__ = ["load_model", *_PARTS]


def __getattr__(name):
    if name == "load_model":
        return importlib.import_module("mdl_tf.embedding").load_model
    if name in _PARTS:
        return importlib.import_module(f"mdl_tf.{name}")
    raise AttributeError(f"module 'mdl_tf' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
