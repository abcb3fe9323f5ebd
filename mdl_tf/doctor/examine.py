"""What a diagnosis is made from: a run's history, its data, its network's embeddings, its loss."""

import csv
from typing import NamedTuple

import keras
import numpy as np

from mdl_tf import batches, datasets
from mdl_tf.config import ConfigError
from mdl_tf.embedding import embed, load_model
from mdl_tf.progress import ProgressLine
from mdl_tf.runs.data import BATCH, Data, read_collection
from mdl_tf.runs.network import build_loss

_SIZE = 2  # of an embedding


class SeenClasses(NamedTuple):
    """The classes that a run trains and validates on; those of the test are left alone."""

    images: datasets.ImageSet
    rows: np.ndarray  # (N,) which images of the whole data set they are
    sides: tuple  # C times "train" or "validation"

    @property
    def sizes(self):
        """Images of each training class."""
        training = np.equal(self.sides, "train")
        return np.bincount(self.images.labels)[training]

    @property
    def training_names(self):
        return [n for n, s in zip(self.images.class_names, self.sides, strict=True) if s == "train"]

    @property
    def validation(self):
        """Mask `(N,)` of the images of validation classes."""
        return np.equal(self.sides, "validation")[self.images.labels]

    def file_of(self, i):
        """The path of an image, or what stands for it."""
        if self.images.paths is not None:
            return str(self.images.paths[i])
        return f"{self.images.kind[:-1]} {self.rows[i]}"


def read_history(run):
    """The rows of `history.csv`, as dicts of numbers; none if no epoch is finished.

    Args:
        run: the `Run`.

    Raises:
        ConfigError: if it is no such file.
    """
    path = run.folder / "history.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            # The start, epoch 0, has no loss.
            rows = [
                {key: float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
                if row.get("epoch") not in ("0", "0.0")
            ]
        if any("loss" not in row or "epoch" not in row for row in rows):
            raise ValueError("no columns `epoch` and `loss`")
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise ConfigError(
            f"{path} must be what `mdl-tf train` writes. Received: {error}"
        ) from error
    return rows


def read_data(run, config, stream=None):
    """The training and validation classes of a run.

    Args:
        run: the `Run`.
        config: its `TrainConfig`.
        stream: where the progress goes. Defaults to standard output.

    Raises:
        ConfigError, ValueError: if the data are not there, or are split otherwise than they were.
    """
    with ProgressLine(f"Load {config.dataset}", stream=stream) as line:
        collection = read_collection(config, line)
        split = Data(*collection.split(**config.split))
        if run.read_json("classes.json") is not None:
            run.keep_classes(split.sides, new=False)
        ids = np.flatnonzero(np.not_equal(collection.sides, "test"))
        images = collection.images.classes(ids, config.dataset)
        line.done(len(images), images.kind)
    rows = np.flatnonzero(np.isin(collection.images.labels, ids))
    held_out = set() if split.validation is None else set(split.validation.class_names)
    sides = ("validation" if name in held_out else "train" for name in images.class_names)
    return SeenClasses(images, rows, tuple(sides))


def embeddings_of(run, config, images, stream=None):
    """The embeddings of images through a run's best model.

    Args:
        run: a `Run` with a `model.keras`.
        config: its `TrainConfig`.
        images: an `ImageSet`.
        stream: where the progress goes. Defaults to standard output.

    Returns:
        Shape `(N, D)` float32.
    """
    model = load_model(run.model, compile=False)
    stream_of = batches.ordered(images, BATCH, model.input_shape[1:3], config.augment)
    with ProgressLine("Embed training and validation", len(images), stream) as line:
        return embed(model, stream_of, progress=line)[0]


def loss_settings(config, num_classes):
    """The settings of a run's loss, those that were left out with their defaults."""
    return build_loss(config, num_classes).settings


def collapsed_loss(config, num_classes):
    """The loss of a batch whose embeddings are all equal, by the loss itself.

    Weights for each class are zero, so that no class is nearer than another; a boundary is as it
    begins.

    Args:
        config: a `TrainConfig`.
        num_classes: classes in its training set.

    Returns:
        A Python float.
    """
    loss = build_loss(config, num_classes)
    labels = np.repeat(np.arange(config.classes_per_batch), config.images_per_class)
    # Where all are equal it makes no difference how many numbers they have.
    embeddings = np.zeros((len(labels), _SIZE), np.float32)
    embeddings[:, 0] = 1
    if loss.has_weights:
        loss.attach(
            {
                name: keras.ops.zeros(shape) if len(shape) > 1 else initializer(shape)
                for name, (shape, initializer) in loss.weight_specs(_SIZE).items()
            }
        )
    return float(loss(labels, embeddings))
