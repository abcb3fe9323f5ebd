"""The model of an index: what turns its images, and the queries, into vectors."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np

from mdl_tf.files import replacing
from mdl_tf.images import file as image_file

_BATCH = 64
MODEL, SETTINGS, CALIBRATION = "model.keras", "model.json", "calibration.json"


class Embedder:
    """An embedder in a `.keras` file, loaded when it is first needed.

    Args:
        path: of the `.keras` file.
        augment: the augmentation that it was trained with, of which some belong to the test as
            well. Defaults to `None`, none.

    Raises:
        ValueError: if the file cannot be read.
    """

    def __init__(self, path, augment=None):
        self.path, self.augment = Path(path), augment
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ValueError(
                f"`model` must be a file that can be read. Received: {error}"
            ) from error
        # The same network sees another part of the image after another augmentation.
        self.digest = image_file.digest(f"{image_file.digest(content)} {augment}".encode())

    @functools.cached_property
    def model(self):
        """The `keras.Model`."""
        from mdl_tf.embedding import load_model

        return load_model(self.path, compile=False)

    @property
    def takes_images(self):
        """Whether it takes images, and not vectors of features."""
        return len(self.model.input_shape) == 4

    def embed_images(self, image_set, progress=None):
        """Embeddings of an `ImageSet`, in its order.

        Args:
            image_set: of images, checked.
            progress: a function of (images done, images). Defaults to `None`.

        Returns:
            `(N, D)` float32.

        Raises:
            ValueError: if the model takes features.
        """
        from mdl_tf import batches
        from mdl_tf.embedding import embed

        if not self.takes_images:
            raise ValueError(
                "`model` must take images. Received: one that takes "
                f"{self.model.input_shape[1]} numbers: give it features"
            )
        count = len(image_set)
        stream = batches.ordered(image_set, _BATCH, self.model.input_shape[1:3], self.augment)
        told = progress and (lambda done, _: progress(done, count))
        return embed(self.model, stream, progress=told)[0]

    def embed_features(self, features):
        """Embeddings of features, for a model that was trained on them.

        Args:
            features: `(N, F)` floats.

        Returns:
            `(N, D)` float32.

        Raises:
            ValueError: if the model takes images, or other features.
        """
        from mdl_tf.embedding import embed

        features = np.asarray(features, np.float32)
        taken = self.model.input_shape
        if self.takes_images or features.ndim != 2 or features.shape[1] != taken[1]:
            wanted = "images" if self.takes_images else f"(N, {taken[1]}) features"
            raise ValueError(
                f"The index has a model that takes {wanted}. Received: shape {features.shape}"
            )
        return embed(self.model, features)[0]

    def keep(self, folder):
        """Write the model and what belongs to it into the folder of an index.

        Args:
            folder: that of the index.
        """
        folder = Path(folder)
        if self.path != folder / MODEL:
            with replacing(folder / MODEL) as temporary:
                shutil.copyfile(self.path, temporary)
            # A run has one beside its model; it belongs to the model.
            calibration = self.path.with_name(CALIBRATION)
            if calibration.is_file():
                with replacing(folder / CALIBRATION) as temporary:
                    shutil.copyfile(calibration, temporary)
        with replacing(folder / SETTINGS) as temporary:
            settings = {"augment": self.augment, "source": str(self.path.absolute())}
            temporary.write_text(json.dumps(settings, indent=1) + "\n")


def open_embedder(model):
    """The embedder of a run folder, of a `.keras` file, or of an index.

    Args:
        model: a path.

    Returns:
        An `Embedder`.

    Raises:
        ValueError: if there is no model.
    """
    path = Path(model).expanduser()
    if (path / SETTINGS).is_file():
        try:
            settings = json.loads((path / SETTINGS).read_text())
            return Embedder(path / MODEL, settings["augment"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"The index must have a {SETTINGS} that can be read. Received: {path}, {error}"
            ) from error
    if path.is_dir():
        from mdl_tf.runs import Run

        run = Run.open(path)
        return Embedder(run.model, run.config.augment)
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(
            "`model` must be a run folder, a .keras file or a keras.Model. "
            f"Received: model={str(model)!r}"
        )
    return Embedder(path)
