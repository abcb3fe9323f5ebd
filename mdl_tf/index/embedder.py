"""The model of an index or a search: what turns its images, and the queries, into vectors."""

import contextlib
import functools
import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mdl_tf.checks import INPUT_RANGES, check_choice
from mdl_tf.config import ConfigError
from mdl_tf.files import replacing
from mdl_tf.images import file as image_file
from mdl_tf.images import plain
from mdl_tf.index import model_file
from mdl_tf.index.model_file import MODEL
from mdl_tf.progress import quiet

_BATCH = 64
SETTINGS, CALIBRATION = "model.json", "calibration.json"


class Embedder:
    """An embedder in a `.keras` file, loaded when it is first needed.

    Many images go through Keras. Single ones may go through a copy of the model for ONNX Runtime
    (the extra `onnx`), which needs no TensorFlow and answers in a thousandth of a second; their
    vectors are within 1e-4 of those of Keras. Threads may share an embedder.

    Args:
        path: of the `.keras` file.
        augment: the augmentation that it was trained with, of which some belong to the test as
            well. Defaults to `None`, none.
        output: name of the output that is the embedding, of a network with several. Defaults to
            `None`: it has one.
        input_range: what the network takes: `"0..255"`, `"0..1"` or `"-1..1"`. Defaults to `None`:
            0..255.

    Raises:
        ValueError: if the file cannot be read, or `input_range` is none of these.
    """

    def __init__(self, path, augment=None, *, output=None, input_range=None):
        if input_range is not None:
            check_choice("input_range", input_range, INPUT_RANGES)
        self.path, self.augment = Path(path), augment
        self.output, self.input_range = output, input_range
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ValueError(
                f"`model` must be a file that can be read. Received: {error}"
            ) from error
        # The same network sees another part of the image after another augmentation.
        choices = [str(choice) for choice in (output, input_range) if choice is not None]
        text = " ".join([image_file.digest(content), str(augment), *choices])
        self.digest = image_file.digest(text.encode())
        self._lock = threading.RLock()

    @functools.cached_property
    def model(self):
        """The `keras.Model`."""
        with quiet() if "tensorflow" not in sys.modules else contextlib.nullcontext():
            from mdl_tf.embedding import load_model, outputs

        with self._lock:
            model = load_model(self.path, compile=False)
            outputs.check_output(model, self.output)
            return model

    @functools.cached_property
    def runtime(self):
        """The copy of the model for ONNX Runtime, an `OnnxModel`; `None` if there is none."""
        return model_file.open_copy(self.path, self.digest)

    def prepare(self, report=None):
        """Make the copy for ONNX Runtime, once, if it is missing; it is kept beside the model.

        Args:
            report: a function that prints a line, called before it takes time. Defaults to `None`.

        Returns:
            Whether there is one: not without the packages of the extra `onnx`, and not of a network
            that comes out different.
        """
        from mdl_tf.export.runtime import is_installed

        with self._lock:
            if self.runtime is None:
                del self.runtime  # another process may have made one
            if self.runtime is None and is_installed("onnxruntime", "onnx", "tf2onnx"):
                note = model_file.failure_note(self.digest)
                if not note.is_file():
                    self._make_copy(note, report or (lambda _: None))
            return self.runtime is not None

    def _make_copy(self, note, report):
        report(f"Prepare {self.path.name} for quick answers, once")
        self.model  # noqa: B018  # loads TensorFlow without its remarks
        from mdl_tf.export.quick import make_copy

        places = model_file.copy_places(self.path, self.digest)
        reason = make_copy(self, places, note)
        if reason:
            report(f"ONNX Runtime cannot take it, Keras answers: {reason}")
        else:
            del self.runtime

    @property
    def input_shape(self):
        """What the model takes, `(None, H, W, 3)` or `(None, F)`."""
        if self.runtime is not None:
            return self.runtime.input_shape
        # To be asked by everybody, also before it is settled that Keras is needed.
        return self._stored_shape or self.model.input_shape

    @functools.cached_property
    def _stored_shape(self):
        return model_file.read_input_shape(self.path)

    @property
    def takes_images(self):
        """Whether it takes images, and not vectors of features."""
        return len(self.input_shape) == 4

    def embed_images(self, image_set, progress=None):
        """Embeddings of an `ImageSet`, in its order, by Keras.

        Args:
            image_set: of images, checked.
            progress: a function of (images done, images). Defaults to `None`.

        Returns:
            `(N, D)` float32.

        Raises:
            ValueError: if the model takes features.
        """
        self.check_images()
        model = self.model
        from mdl_tf import batches
        from mdl_tf.embedding import embed, units

        count = len(image_set)
        stream = batches.ordered(image_set, _BATCH, model.input_shape[1:3], self.augment)
        if self.input_range is not None:
            stream = stream.map(lambda x, y: (units.scale_pixels(x, self.input_range), y))
        told = progress and (lambda done, _: progress(done, count))
        with self._lock:
            return embed(model, stream, output=self.output, progress=told)[0]

    def embed_queries(self, image_set):
        """Embeddings of some images that an answer waits for, by the quickest way there is.

        Args:
            image_set: an `ImageSet` of images, checked.

        Returns:
            `(n, D)` float32.

        Raises:
            ValueError: if the model takes features, or a file cannot be read any more.
        """
        # Who has loaded TensorFlow has paid for it; else the copy is for the next time.
        if self.runtime is None and "tensorflow" not in sys.modules:
            self.prepare(functools.partial(print, file=sys.stderr))
        if self.runtime is None or image_set.boxes is not None:
            return self.embed_images(image_set)
        self.check_images()
        pictures = image_set.images if image_set.paths is None else image_set.paths
        return self._embed_quickly(pictures, image_file.read_again)

    def embed_pictures(self, pictures):
        """Embeddings of pictures in memory.

        Args:
            pictures: n of them, each pixels, uint8 `(h, w, 3)` RGB of any size or `(h, w)` grey; or
                the bytes of an image file, which are decoded and turned as a person sees them.

        Returns:
            `(n, D)` float32.

        Raises:
            OSError: if bytes are no image.
            ValueError: if the model takes features, or pixels are of another kind.
        """
        self.check_images()
        return self._embed_quickly(pictures, image_file.read)

    def _embed_quickly(self, pictures, read):
        size = self.input_shape[1:3]

        def see(picture):
            pixels = picture if hasattr(picture, "shape") else read(picture)
            return plain.see(pixels, size, self.augment)

        parts = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(pictures), _BATCH):
                pixels = np.stack(list(pool.map(see, pictures[start : start + _BATCH])))
                parts.append(self._embed_pixels(pixels))
        return np.concatenate(parts)

    def _embed_pixels(self, pixels):
        """Embeddings of uint8 `(n, H, W, 3)`."""
        if self.runtime is not None:
            return self.runtime.embed(pixels)
        model = self.model
        from mdl_tf.embedding import embed, units

        pixels = units.scale_pixels(pixels.astype(np.float32), self.input_range or "0..255")
        with self._lock:
            return embed(model, pixels, output=self.output)[0]

    def check_images(self):
        """Refuse a model that takes features.

        Raises:
            ValueError: if it does.
        """
        if not self.takes_images:
            raise ConfigError(
                "The model must be of a network that takes images. "
                f"Received: {self.path}, which takes features, {self.input_shape[1]} numbers"
            )

    def embed_features(self, features):
        """Embeddings of features, for a model that was trained on them.

        Args:
            features: `(N, F)` floats.

        Returns:
            `(N, D)` float32.

        Raises:
            ValueError: if the model takes images, or other features.
        """
        model = self.model
        from mdl_tf.embedding import embed

        features = np.asarray(features, np.float32)
        taken = self.input_shape
        if self.takes_images or features.ndim != 2 or features.shape[1] != taken[1]:
            wanted = "images" if self.takes_images else f"(N, {taken[1]}) features"
            raise ValueError(
                f"The index has a model that takes {wanted}. Received: shape {features.shape}"
            )
        with self._lock:
            return embed(model, features, output=self.output)[0]

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
        settings = {
            "augment": self.augment,
            "output": self.output,
            "input_range": self.input_range,
            "source": str(self.path.absolute()),
        }
        with replacing(folder / SETTINGS) as temporary:
            temporary.write_text(json.dumps(settings, indent=1) + "\n")


def open_embedder(model, *, output=None, input_range=None, name="model"):
    """The embedder of a run folder, of a `.keras` file, or of an index.

    Args:
        model: a path.
        output: of a `.keras` file, as for `Embedder`. Defaults to `None`.
        input_range: of a `.keras` file, as for `Embedder`. Defaults to `None`.
        name: of the argument `model`, for messages. Defaults to `"model"`.

    Returns:
        An `Embedder`; the same one again for a file that has not changed.

    Raises:
        ValueError: if there is no model, or `output` or `input_range` is none that there is.
    """
    if not isinstance(model, str | Path):
        raise ValueError(
            f"`{name}` must be the path of a run folder or a .keras file. "
            f"Received: {type(model).__name__}"
        )
    if input_range is not None:
        check_choice("input_range", input_range, INPUT_RANGES)
    from mdl_tf.runs.folder import find_run

    path, augment = Path(model).expanduser(), None
    # A run knows what its network sees of an image.
    path = find_run(path) or path
    if (path / SETTINGS).is_file():
        augment, output, input_range = _read_settings(path)
        path = path / MODEL
    elif path.is_dir():
        from mdl_tf.runs import Run

        run = Run.open(path)
        path, augment = run.model, run.config.augment
        if input_range not in (None, "0..255"):
            raise ConfigError(
                "`input_range` is for a .keras file of your own; the network of a run takes "
                f"0..255. Received: input_range={input_range!r} with {model}"
            )
    wanted = f"`{name}` must be a run folder with a model.keras, or a .keras file. Received: "
    if not path.is_file():
        raise ConfigError(f"{wanted}{model}, without {path}")
    if path.suffix != ".keras":
        raise ConfigError(f"{wanted}{model}, a file of another kind")
    return _opened(path.absolute(), path.stat().st_mtime_ns, augment, output, input_range)


# Searches often come one after the other.
@functools.lru_cache(maxsize=2)
def _opened(path, changed, augment, output, input_range):
    return Embedder(path, augment, output=output, input_range=input_range)


def _read_settings(folder):
    """The augmentation, output and units of the model of an index."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        # Those of 0.1.0 have neither of the last two.
        return settings["augment"], settings.get("output"), settings.get("input_range")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The index must have a {SETTINGS} that can be read. Received: {folder}, {error}"
        ) from error
