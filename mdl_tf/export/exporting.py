"""`export`: write a network in another format, load it again, compare."""

import contextlib
import importlib
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf import __version__
from mdl_tf.config import ConfigError
from mdl_tf.export import samples
from mdl_tf.export.formats import FORMATS, check_format
from mdl_tf.files import replacing, temporary_folder

TOLERANCE = 1e-4  # of the numbers of unit vectors
# One that resizes rounds a pixel in some ten thousand to the number beside it.
TOLERANCE_OF_RESIZING = 1e-3


class Exported(NamedTuple):
    """What was written, and how it compares with the network in Keras."""

    path: Path
    size: int  # bytes
    takes: str  # what goes in, in words
    gives: str  # what comes out
    compared: str  # on what
    difference: float  # the largest of a number of a vector
    milliseconds: float  # of a single image or row of features
    recall: float | None = None  # Recall@1 with `int8`, on labelled data of the run
    recall_before: float | None = None  # the same of the network in Keras
    recall_images: int = 0  # how many images they are of


def export(
    model,
    to="onnx",
    path=None,
    *,
    images=None,
    any_size=False,
    int8=False,
    overwrite=False,
    output=None,
    input_range=None,
):
    """Write a network for another program: bytes of images in, vectors out, all between inside.

    The file is loaded again by the runtime of its format and compared with Keras, on the run's
    data or other real images; one that differs is not kept.

    Args:
        model: a run folder, a `.keras` file, an index, or a `keras.Model` of images or features.
        to: `"savedmodel"`, `"onnx"`, `"litert"` or `"openvino"`. Defaults to `"onnx"`.
        path: of the file, or the folder of a SavedModel. Defaults to `None`: the name of the run
            and the suffix of the format, in the working folder.
        images: folder of images to compare on. Defaults to `None`: the run's validation data, or
            test data; generated glyphs where there are none.
        any_size: whether the network resizes images itself, those of a batch having one size.
            Defaults to `False`: it takes images of its own size.
        int8: whether a LiteRT file has weights of 8 bits: a quarter of the size, and not quite the
            same vectors, so that Recall@1 before and after is measured. Defaults to `False`.
        overwrite: whether what is at `path` may be replaced. Defaults to `False`.
        output: as for `mdl_tf.search.embed_images`. Defaults to `None`.
        input_range: as for `mdl_tf.search.embed_images`. Defaults to `None`.

    Returns:
        An `Exported`.

    Raises:
        ValueError: if an argument is not one of the above, a package is missing, something is at
            `path`, or the vectors differ by more than 1e-4 (of unit vectors; 1e-3 with `any_size`).

    Example:

    >>> mdl_tf.export.export("runs/photos", to="onnx", path="photos.onnx").difference
    """
    chosen = check_format(to)
    if int8 and to != "litert":
        raise ConfigError(f"`int8` is of 'litert' only. Received: int8=True with to={to!r}")
    if int8 and any_size:
        raise ConfigError("`int8` and `any_size` must not be given together. Received: both")
    path = check_path(model, chosen, path, overwrite)
    network, run, augment = _open(model, output, input_range)
    from mdl_tf.export.graph import deployable

    of_network = deployable(network.model, network.output, network.input_range)
    [given] = of_network.inputs
    of_images, size = len(given.shape) == 4, tuple(given.shape[1:3])
    if images is not None and not of_images:
        raise ConfigError("`images` is for a network of images. Received: one of features")
    graph = of_network
    if any_size:
        graph = deployable(
            *(network.model, network.output, network.input_range), any_size=True, augment=augment
        )
    sample = samples.find_samples(run, of_images, given.shape[1], images)
    inputs = samples.some_inputs(sample.images)
    expected = of_network.predict_on_batch(samples.as_batch(inputs, size, augment))
    facts = {
        "made_by": f"mdl_tf {__version__}",
        "takes": describe_input(given.shape, augment, any_size),
        "gives": _describe_output(expected),
    }
    if network.digest and not any_size:
        facts["digest"] = network.digest
    format_module = importlib.import_module(f"mdl_tf.export.{chosen.module}")
    with _written(path, chosen) as temporary:
        options = {"int8": True} if int8 else {}
        with _telling_of(to):
            format_module.write(graph, temporary, facts, **options)
            function = format_module.load(temporary)
            vectors = _embed_all(function, inputs, size, augment, any_size)
        difference = float(np.abs(vectors - expected).max())
        longest = max(1.0, float(np.linalg.norm(expected, axis=1).max()))
        tolerance = TOLERANCE_OF_RESIZING if any_size else TOLERANCE
        if not int8 and not difference <= tolerance * longest:
            raise ValueError(
                f"The vectors of an exported network must be those of Keras, within {tolerance}. "
                f"Received: {to}, off by {difference:.1e} on {sample.source}; nothing is kept"
            )
        single = samples.as_rgb(inputs[0]) if any_size else None
        single = samples.as_batch(inputs[:1], size, augment) if single is None else single
        milliseconds = samples.measure_time(function, single)
        recalls = {}
        if int8 and sample.is_labelled:
            before = samples.recall(of_network.predict_on_batch, sample.images, size, augment)
            after = samples.recall(function, sample.images, size, augment)
            recalls = {
                "recall": after[0],
                "recall_before": before[0],
                "recall_images": before[1],
            }
    return Exported(
        path,
        _measure_size(path),
        facts["takes"],
        facts["gives"],
        f"{len(inputs)} of {sample.source}" if images is None else sample.source,
        difference,
        milliseconds,
        **recalls,
    )


def check_path(model, chosen, path, overwrite):
    """Where a file goes, before anything is loaded.

    Args:
        model: as for `export`.
        chosen: a `Format`.
        path: as for `export`.
        overwrite: as for `export`.

    Returns:
        A `Path`.

    Raises:
        ConfigError: if there is something, or its name does not fit the format.
    """
    if path is None:
        name = Path(model).expanduser().absolute() if isinstance(model, str | Path) else None
        stem = "embedder" if name is None else name.stem if name.suffix == ".keras" else name.name
        path = f"{stem}{chosen.suffix}"
    path = Path(path).expanduser().absolute()
    if not chosen.is_folder and path.suffix != chosen.suffix:
        raise ConfigError(f"`path` must end in {chosen.suffix}. Received: path={str(path)!r}")
    if path.exists() and not overwrite:
        raise ConfigError(
            "`path` must be new, or be overwritten by `overwrite` (--overwrite). "
            f"Received: {path}, which exists"
        )
    if path.exists() and path.is_dir() != chosen.is_folder:
        raise ConfigError(
            f"`path` must be a {'folder' if chosen.is_folder else 'file'} to be overwritten. "
            f"Received: path={str(path)!r}"
        )
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise ConfigError(
            "`path` must be a SavedModel to be overwritten. "
            f"Received: {path}, a folder of something else"
        )
    return path


def describe_input(shape, augment, any_size):
    """What an exported network takes, in words for people who have nothing but the file.

    Args:
        shape: of the input of the network, `(None, H, W, 3)` or `(None, F)`.
        augment: the augmentation of its training.
        any_size: whether it resizes images itself.

    Returns:
        A text.
    """
    if len(shape) == 2:
        return f"features, float32 (n, {shape[1]})"
    height, width = shape[1:3]
    if any_size:
        return "image, uint8 RGB (n, h, w, 3) of any size, resized inside"
    from mdl_tf.images import plain

    (high, wide), keep_aspect = plain.canvas(augment, (height, width))
    text = f"image, uint8 RGB (n, {height}, {width}, 3): "
    if keep_aspect:
        text += f"resized in proportion to just cover {high} x {wide}"
    else:
        text += f"stretched to {high} x {wide}"
    text += ", bilinear with antialiasing"
    return text + (", the middle of it" if (high, wide) != (height, width) else "")


def _describe_output(vectors):
    lengths = np.linalg.norm(vectors, axis=1)
    unit = np.abs(lengths - 1).max() < 1e-3
    return f"embedding, float32 (n, {vectors.shape[1]}){', of unit length' if unit else ''}"


class _Network(NamedTuple):
    """A model in memory, as an `Embedder` has it."""

    model: object
    output: str | None
    input_range: str | None
    digest: str | None = None


def _open(model, output, input_range):
    """The network, its `Run` or `None`, and the augmentation that it was trained with."""
    if hasattr(model, "predict_on_batch"):
        return _Network(model, output, input_range), None, None
    from mdl_tf.index.embedder import open_embedder

    embedder = open_embedder(model, output=output, input_range=input_range)
    from mdl_tf.runs import Run
    from mdl_tf.runs.folder import find_run

    folder = find_run(Path(model).expanduser())
    return embedder, folder and Run.open(folder), embedder.augment


@contextlib.contextmanager
def _written(path, chosen):
    """A temporary path that becomes `path` when the block ends without an error."""
    try:
        if chosen.is_folder:
            with temporary_folder(path.parent, path.name) as temporary:
                yield temporary
                shutil.rmtree(path, ignore_errors=True)
                temporary.rename(path)
        elif chosen is FORMATS["openvino"]:
            with temporary_folder(path.parent, path.name) as folder:
                yield folder / path.name
                # One without the other must never be of another network.
                path.unlink(missing_ok=True)
                for name in (path.with_suffix(".bin").name, path.name):
                    (folder / name).replace(path.parent / name)
        else:
            with replacing(path) as temporary:
                yield temporary
    except OSError as error:
        raise ConfigError(f"`path` must be writable. Received: {error}") from error


@contextlib.contextmanager
def _telling_of(to):
    """What a converter or a runtime does not know, in a line."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    # Each has kinds of errors of its own.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"`to` must be a format that knows all layers of the network; nothing is kept. "
            f"Received: to={to!r}, which says: {reason}"
        ) from error


def _embed_all(function, inputs, size, augment, any_size):
    if any_size:
        return np.concatenate([function(samples.as_rgb(pixels)) for pixels in inputs])
    batch = samples.as_batch(inputs, size, augment)
    # One alone, and the rest: the batch may be of any size.
    parts = [function(part) for part in (batch[:1], batch[1:]) if len(part)]
    return np.concatenate(parts)


def _measure_size(path):
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    files = path.rglob("*") if path.is_dir() else files
    return sum(file.stat().st_size for file in files if file.is_file())
