"""TensorBoard events that more than one part of the library writes."""

from pathlib import Path

import tensorflow as tf


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
