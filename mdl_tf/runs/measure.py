"""A whole set of images to metrics: through a model, as features, or as raw pixels."""

from typing import NamedTuple

import numpy as np

from mdl_tf import batches, metrics
from mdl_tf.embedding import embed
from mdl_tf.metrics import columns
from mdl_tf.progress import ProgressLine
from mdl_tf.runs.data import BATCH

RAW_SIZE = (32, 32)  # pixels of the raw-pixel baseline, in grey


class Measured(NamedTuple):
    """What is known of a set through a model."""

    metrics: dict
    distances: tuple  # positive and negative ones, a sample, two arrays
    embeddings: np.ndarray  # (N, D)


def measure_set(
    model,
    image_set,
    label,
    *,
    image_batches=None,
    dataset=None,
    augment=None,
    clustering=True,
    verification=False,
    seed=0,
    stream=None,
    output=None,
):
    """Metrics of a set through a model.

    Args:
        model: an embedder with a fixed input size.
        image_set: an `ImageSet`.
        label: what the progress line says.
        image_batches: batches of the set in its order, such as cached ones. Defaults to `None`:
            decoded anew in the size of the model.
        dataset: name of the data set, whose papers tell the K of Recall@K. Defaults to `None`:
            1, 2, 4, 8.
        augment: the augmentation of training, of which only what belongs to the test is done.
            Defaults to `None`.
        clustering: whether to compute NMI and F1. Defaults to `True`.
        verification: whether to compute equal error rate and true accept rates. Defaults to
            `False`.
        seed: of k-means and of the samples of distances. Defaults to `0`.
        stream: where the progress goes. Defaults to standard output.
        output: name of the output that is the embedding, of a model with several. Defaults to
            `None`.

    Returns:
        A `Measured`.

    Raises:
        ValueError: if the batches are not those of the set.
    """
    if image_batches is None:
        # Of a frozen network the features have been made of what it sees.
        seen = augment if image_set.features is None else None
        image_batches = batches.ordered(image_set, BATCH, model.input_shape[1:3], seen)
    with ProgressLine(label, len(image_set), stream) as line:
        embeddings, labels = embed(model, image_batches, output=output, progress=line)
    if not np.array_equal(labels, image_set.labels):
        raise ValueError(
            "`image_batches` must be those of `image_set`, in its order. Received: "
            f"{len(labels):,} other labels for {image_set!r}"
        )
    return measure_embeddings(
        embeddings,
        image_set,
        dataset=dataset,
        clustering=clustering,
        verification=verification,
        seed=seed,
    )


def measure_embeddings(
    embeddings, image_set, *, dataset=None, clustering=True, verification=False, seed=0
):
    """Metrics of the embeddings of a set.

    Args:
        embeddings: `(N, D)`.
        image_set: an `ImageSet`.
        dataset: as for `measure_set`. Defaults to `None`.
        clustering: whether to compute NMI and F1. Defaults to `True`.
        verification: as for `measure_set`. Defaults to `False`.
        seed: of k-means and of the samples of distances. Defaults to `0`.

    Returns:
        A `Measured`.
    """
    report = _measure_vectors(
        embeddings,
        image_set,
        dataset,
        clustering=clustering,
        verification=verification,
        seed=seed,
    )
    distances = metrics.sample_distances(embeddings, image_set.labels, seed=seed)
    return Measured(report, distances, embeddings)


def measure_features(features, image_set, dataset=None, verification=False):
    """Metrics of features as people use them: of unit length.

    Args:
        features: `(N, F)`.
        image_set: an `ImageSet`.
        dataset: as for `measure_set`. Defaults to `None`.
        verification: as for `measure_set`. Defaults to `False`.

    Returns:
        A dict of metrics.
    """
    features = np.asarray(features, np.float32)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    features = features / np.maximum(lengths, 1e-12)
    return _measure_vectors(features, image_set, dataset, verification=verification)


def measure_options(config):
    """How a run's sets are measured, as arguments of `measure_set`.

    Args:
        config: the `TrainConfig`.
    """
    names = ("dataset", "augment", "clustering", "verification")
    return {"seed": config.own_seed, **{name: getattr(config, name) for name in names}}


def measure_raw(image_set, dataset=None, stream=None, verification=False):
    """Metrics of the images themselves, grey and small, or of the features of unit length.

    Args:
        image_set: an `ImageSet`.
        dataset: name of the data set, as for `measure_set`. Defaults to `None`.
        stream: where the progress goes. Defaults to standard output.
        verification: as for `measure_set`. Defaults to `False`.

    Returns:
        A dict of metrics.
    """
    if image_set.features is not None:
        return measure_features(image_set.features, image_set, dataset, verification)
    pixels = []
    with ProgressLine("Raw pixels", len(image_set), stream) as line:
        for images, _ in batches.ordered(image_set, BATCH, RAW_SIZE):
            pixels += list(np.asarray(images).mean(axis=-1).reshape(len(images), -1))
            line(len(pixels))
    return _measure_vectors(np.array(pixels), image_set, dataset, verification=verification)


def _measure_vectors(vectors, image_set, dataset, **options):
    """Metrics of vectors: all among each other, or queries in a gallery if the set has them."""
    labels, queries = image_set.labels, image_set.queries
    options["ks"] = columns.ks(dataset)
    if queries is None or queries.all():
        return metrics.evaluate(vectors, labels, **options)
    gallery = {"gallery": vectors[~queries], "gallery_labels": labels[~queries]}
    return metrics.evaluate(vectors[queries], labels[queries], **gallery, **options)
