"""What TensorBoard shows beside Keras's own scalars: distances, neighbours, a whole test set."""

import contextlib
from pathlib import Path

import tensorflow as tf

from mdl_tf.callbacks import projector
from mdl_tf.checks import check_integer
from mdl_tf.metrics import table
from mdl_tf.pictures.mosaic import NeighborMosaic


def open_run(log_dir, run):
    """A writer of TensorBoard events.

    Args:
        log_dir: folder of TensorBoard logs.
        run: name of the run in it, a subfolder, such as `"validation"`.

    Returns:
        A `tf.summary.SummaryWriter`.

    Raises:
        ValueError: if the folder cannot be written.
    """
    folder = Path(log_dir) / run
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tf.summary.create_file_writer(str(folder))
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"`log_dir` must be a folder that can be written. Received: log_dir={log_dir}, and "
            f"{folder} cannot be: {getattr(error, 'strerror', None) or error}"
        ) from error


def write_distances(distances):
    """Histograms of positive and negative distances, to TensorFlow's default writer, at its step.

    Args:
        distances: two arrays, as `retrieval.sample_distances` gives them; an empty one is left out.
    """
    for name, values in zip(("positive", "negative"), distances, strict=True):
        if len(values):
            tf.summary.histogram(f"distances/{name}", values, buckets=50)


def write_neighbors(mosaic, embeddings):
    """A picture of queries and their neighbours, to TensorFlow's default writer, at its step.

    Args:
        mosaic: a `NeighborMosaic`; nothing is written if it has no queries.
        embeddings: of the whole set, shape `(N, D)`.
    """
    if len(mosaic.queries):
        pixels = mosaic.draw(embeddings)
        tf.summary.image("neighbors", pixels[None], description=mosaic.description)


def write_test(
    log_dir,
    step,
    name,
    metrics,
    distances,
    image_set,
    embeddings,
    *,
    queries=8,
    neighbors=8,
    seed=0,
):
    """Writes what was measured of a test set at one moment of a training: before it, or after.

    Into the run `test`: the metrics as scalars `test/recall_at_1` and so on, histograms of positive
    and negative distances, a picture of some queries with their neighbours, always the same
    queries, and the embeddings for the projector, always of the same images. A set of features has
    no pictures.

    Args:
        log_dir: folder of TensorBoard logs.
        step: epochs that were trained.
        name: of the embeddings in the projector, such as `"untrained"` and `"trained"`.
        metrics: a dict of numbers, as `mdl_tf.metrics.evaluate` gives it; those that are `watched`
            in `metrics.table` are written.
        distances: positive and negative distances, as `retrieval.sample_distances` gives them.
        image_set: an `ImageSet`, the test set. Its `queries`, if any, search the rest of it.
        embeddings: of the whole set, shape `(N, D)`.
        queries: how many are shown, at most. Defaults to `8`.
        neighbors: how many are shown of each, at most. Defaults to `8`.
        seed: of the draw of queries, and of the images of the projector. Defaults to `0`.

    Raises:
        ValueError: if `queries`, `neighbors` or `seed` is no integer in its range, the name cannot
            be that of a file, or the folder cannot be written.
    """
    queries = check_integer("queries", queries, least=1)
    neighbors = check_integer("neighbors", neighbors, least=1)
    seed = check_integer("seed", seed, least=0)
    writer = open_run(log_dir, "test")
    with contextlib.closing(writer), writer.as_default(step=step):
        for key, value in metrics.items():
            metric = table.find(key)
            if metric is not None and metric.watched:
                tf.summary.scalar(f"test/{key}", value)
        write_distances(distances)
        if image_set.features is None:
            write_neighbors(NeighborMosaic(image_set, queries, neighbors, seed), embeddings)
    projector.write(Path(log_dir) / "test", name, embeddings, image_set, seed=seed)
