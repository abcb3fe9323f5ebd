"""Whole sets of images to metrics: through a model, as raw pixels, and for a run on any data."""

from typing import NamedTuple

import numpy as np

from mdl_tf import batches, datasets, metrics
from mdl_tf.metrics import retrieval
from mdl_tf.config.train_config import DATA_DIRS
from mdl_tf.config import ConfigError
from mdl_tf.datasets.image_set import SIDES
from mdl_tf.embedding import embed, load_model
from mdl_tf.progress import ProgressLine
from mdl_tf.metrics.columns import ks

BATCH = 64
RAW_SIZE = (32, 32)  # pixels of the raw-pixel baseline, in grey


class Embedded(NamedTuple):
    """What is known of a set through a model."""

    metrics: dict
    distances: tuple  # positive and negative ones, a sample, two arrays
    embeddings: np.ndarray  # (N, D)


def embedded(
    model,
    image_set,
    label,
    *,
    dataset=None,
    augment=None,
    clustering=True,
    seed=0,
    stream=None,
):
    """Metrics of a set through a model.

    Args:
        model: an embedder with a fixed input size.
        image_set: an `ImageSet`.
        label: what the progress line says.
        dataset: name of the data set, whose papers tell the K of Recall@K. Defaults to `None`:
            1, 2, 4, 8.
        augment: the augmentation of training, of which only what belongs to the test is done.
            Defaults to `None`.
        clustering: whether to compute NMI and F1. Defaults to `True`.
        seed: of k-means and of the sample of distances. Defaults to `0`.
        stream: where the progress goes. Defaults to standard output.

    Returns:
        An `Embedded`.
    """
    images = batches.ordered(image_set, BATCH, model.input_shape[1:3], augment)
    with ProgressLine(label, len(image_set), stream) as line:
        embeddings, labels = embed(model, images, progress=line)
    report = _retrieved(embeddings, image_set, dataset, clustering=clustering, seed=seed)
    distances = retrieval.sample_distances(embeddings, labels, seed=seed)
    return Embedded(report, distances, embeddings)


def options(config):
    """How a run's sets are measured, as arguments of `embedded`.

    Args:
        config: the `TrainConfig`.
    """
    names = ("dataset", "augment", "clustering")
    return {"seed": config.own_seed, **{name: getattr(config, name) for name in names}}


def raw_pixels(image_set, dataset=None, stream=None):
    """Metrics of the images themselves, grey and small, or of the features: without a network."""
    if image_set.features is not None:
        return _retrieved(image_set.features, image_set, dataset)
    pixels = []
    with ProgressLine("Raw pixels", len(image_set), stream) as line:
        for images, _ in batches.ordered(image_set, BATCH, RAW_SIZE):
            pixels += list(np.asarray(images).mean(axis=-1).reshape(len(images), -1))
            line(len(pixels))
    return _retrieved(np.array(pixels), image_set, dataset)


def _retrieved(vectors, image_set, dataset, clustering=False, seed=0):
    """Metrics of vectors: all among each other, or queries in a gallery if the set has them."""
    labels, queries = image_set.labels, image_set.queries
    options = {"ks": ks(dataset), "clustering": clustering, "seed": seed}
    if queries is None or queries.all():
        return metrics.evaluate(vectors, labels, **options)
    gallery = {"gallery": vectors[~queries], "gallery_labels": labels[~queries]}
    return metrics.evaluate(vectors[queries], labels[queries], **gallery, **options)


def evaluate_run(
    run,
    *,
    dataset=None,
    data_dir=None,
    split=None,
    crop_to_box=False,
    on_corrupt="error",
    clustering=True,
    stream=None,
):
    """Metrics of the best model of a run on a data set.

    Args:
        run: a `Run` with a `model.keras`.
        dataset: name of a data set. Defaults to that of the run.
        data_dir: folder or file of the data. Defaults to that of the run.
        split: `"train"`, `"validation"`, `"test"`, or `"all"`. Defaults to `"test"`, or `"all"`
            for somebody's own data (folder, csv, npz) of other classes than the run's.
        crop_to_box: whether to cut the images of another data set to its boxes; its own are as in
            training. Defaults to `False`.
        on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used; a run that left
            out files of its own data does so here. Defaults to `"error"`.
        clustering: whether to compute NMI and F1. Defaults to `True`.
        stream: where the progress goes. Defaults to standard output.

    Returns:
        A dict of metrics with `dataset`, `split`, `images` and `classes`.

    Raises:
        ConfigError: if the run has no model.
        ValueError: if the data set cannot be loaded or has no such split.
    """
    if not run.model.is_file():
        raise ConfigError(f"The run must have a model.keras. Received: {run.folder}")
    config = run.config
    own = dataset in (None, config.dataset) and data_dir in (None, config.data_dir)
    dataset = dataset or config.dataset
    data_dir = data_dir or (config.data_dir if own else None)
    with ProgressLine(f"Load {dataset}", stream=stream) as line:
        collection = datasets.read(
            dataset,
            data_dir=data_dir,
            crop_to_box=config.crop_to_box if own else crop_to_box,
            on_corrupt="skip" if own and config.on_corrupt == "skip" else on_corrupt,
            progress=line,
        )
        own = own or (dataset == config.dataset and _has_classes_of(run, collection))
        split = split or ("test" if own or dataset not in DATA_DIRS else "all")
        if split == "all":
            image_set = collection.images
        elif split in SIDES:
            sets = collection.split(**config.split)
            if own:
                run.keep_classes(dict(zip(SIDES, sets, strict=True)), new=False)
            image_set = sets[SIDES.index(split)]
        else:
            raise ValueError(f"`split` must be one of {(*SIDES, 'all')}. Received: split={split!r}")
        if image_set is None:
            raise ValueError(
                "`split` 'validation' is empty: the run has no validation classes"
                + (", its folds have: evaluate one." if config.cross_validated else ".")
            )
        line.done(len(image_set), image_set.kind)
    model = load_model(run.model, compile=False)
    if (config.backbone == "none") != (image_set.features is not None):
        raise ConfigError(
            f"The data set must be of what the run's network takes, "
            f"{'features' if config.backbone == 'none' else 'images'}. Received: {dataset}"
        )
    measured = embedded(
        model,
        image_set,
        f"Embed {image_set.name}",
        dataset=dataset,
        augment=config.augment,
        clustering=clustering,
        seed=config.own_seed,
        stream=stream,
    )
    # A stand-in says that it is one in its name.
    named = collection.images.name
    return {
        "dataset": named if named.startswith(dataset) else dataset,
        "split": split,
        "images": len(image_set),
        "classes": image_set.num_classes,
        **({"left_out": len(collection.problems)} if collection.problems else {}),
        **measured.metrics,
    }


def _has_classes_of(run, collection):
    """Whether a data set has the classes of the run's own: the same, in another place."""
    kept = run.read_json("classes.json", {})
    names = [name for side in kept.values() for name in side]
    return sorted(names) == sorted(collection.images.class_names)
