"""Find the same thing again: a folder of images as vectors, and the nearest of them to an image.

>>> vectors = search.embed_images("runs/photos", "holiday")
>>> vectors.save("vectors.npz")
>>> for hit in search.nearest("runs/photos", vectors, ["query.jpg"], k=10)[0]:
...     print(hit.distance, hit.name)
"""

import contextlib
import dataclasses
import filecmp
import functools
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from mdl_tf import batches, datasets
from mdl_tf.checks import check_integer
from mdl_tf.config import ConfigError
from mdl_tf.datasets.own import folder as image_folder
from mdl_tf.embedding import embed, load_model
from mdl_tf.files import replacing
from mdl_tf.images import file as image_file
from mdl_tf.metrics import retrieval
from mdl_tf.pictures import thumbnails
from mdl_tf.reading import read_arrays
from mdl_tf.runs import Run
from mdl_tf.words import clean

BATCH = 64
SHOWN = 20  # rows and columns of a picture
_LONGEST = 26  # letters of a name in it
_SAME = 1e-3  # the largest distance of an image and its copy, which rounding parts
_COPIES = 8  # of a query that are passed over at most


class Hit(NamedTuple):
    """An image that was found."""

    name: str  # path below the folder that was searched
    distance: float  # Euclidean, between embeddings
    path: str  # of its file


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """The embeddings of images with their names; `save` and `load` keep order and names.

    The file is also a data set of features (`--dataset npz`), its labels the subfolders.

    Args:
        embeddings: `(N, D)` float32.
        names: N paths below `folder`, with `/`.
        folder: where the images were, an absolute path.
        model: what stands for the model that made them; another one's cannot be compared.
        left_out: `Problem`s, files that could not be used. Defaults to none.
    """

    embeddings: np.ndarray
    names: tuple
    folder: str
    model: str
    left_out: tuple = ()

    def __len__(self):
        return len(self.names)

    def __repr__(self):
        return f"Vectors({len(self):,} of {self.embeddings.shape[1]} numbers, {self.folder!r})"

    def path(self, i):
        """The file of image `i`."""
        return str(Path(self.folder) / self.names[i])

    def save(self, path):
        """Write an `.npz` file, whole or not at all.

        Raises:
            ValueError: if the name does not end in `.npz` or cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix != ".npz":
            raise ValueError(f"`path` must end in .npz. Received: path={path}")
        try:
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez(
                    file,
                    embeddings=self.embeddings,
                    names=np.array(self.names),
                    labels=np.array([str(Path(name).parent) for name in self.names]),
                    folder=np.array(self.folder),
                    model=np.array(self.model),
                )
        except OSError as error:
            raise ValueError(f"`path` must be writable. Received: {error}") from error

    @classmethod
    def load(cls, path):
        """The vectors in a file that `save` wrote.

        Raises:
            ValueError: if it is not there or no such file.
        """
        path = Path(path).expanduser()
        try:
            stored = read_arrays(path, ("embeddings", "names", "folder", "model"))
            _check_stored(stored)
        except FileNotFoundError:
            raise ValueError(
                f"The vectors must be a file that `mdl-tf embed` wrote. Received: {path}, which "
                "is not there"
            ) from None
        except ValueError as error:
            raise ValueError(
                f"The vectors must be a file that `mdl-tf embed` wrote. Received: {path}, which "
                f"{error}: embed the folder again"
            ) from error
        return cls(
            stored["embeddings"],
            tuple(stored["names"].tolist()),
            str(stored["folder"]),
            str(stored["model"]),
        )


def _check_stored(stored):
    """Refuse arrays that are not those of `Vectors`, with a text that completes "the file ..."."""
    for name in ("embeddings", "names", "folder", "model"):
        if name not in stored:
            raise ValueError(f"has no array {name!r}")
    embeddings, names = stored["embeddings"], stored["names"]
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or not embeddings.size:
        raise ValueError(f"has embeddings of shape {embeddings.shape}, {embeddings.dtype}")
    if not np.isfinite(embeddings).all():
        raise ValueError("has embeddings that are NaN or infinite")
    if names.dtype.kind != "U" or names.shape != (len(embeddings),):
        raise ValueError(f"has {names.size:,} names for {len(embeddings):,} embeddings")
    for name in ("folder", "model"):
        if stored[name].dtype.kind != "U" or stored[name].ndim:
            raise ValueError(f"has a {name!r} that is no text")
    for name in names.tolist():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"has the name {clean(name, 80)!r}, which is not below its folder")


def embed_images(run, folder, *, on_corrupt="error", progress=None):
    """The embeddings of all images below a folder, at any depth, in the order of their paths.

    Args:
        run: a run folder, or a `.keras` file of an embedder.
        folder: of images; subfolders need not be classes. Or one image file.
        on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used. Defaults to
            `"error"`.
        progress: a function of (images done, images), called while files are looked into, and
            while they are embedded. Defaults to `None`.

    Returns:
        `Vectors`.

    Raises:
        CorruptImagesError: a ValueError that lists the files that cannot be used.
        ValueError: if the run has no model of images, or the folder no images.
    """
    model, augment, digest = _opened(run)
    folder = Path(folder).expanduser()
    if folder.is_file():
        collection, folder = _one_image(folder), folder.parent
    else:
        collection = image_folder.read_any(folder)
    collection = datasets.check(collection, on_corrupt, progress, singles=True)
    images = collection.images
    embeddings = _embedded(model, augment, images, progress)
    root = Path(folder).absolute()
    names = tuple(Path(path).absolute().relative_to(root).as_posix() for path in images.paths)
    return Vectors(embeddings, names, str(root), digest, collection.problems)


def _one_image(path):
    images = datasets.ImageSet(path.name, np.zeros(1, np.int64), (".",), paths=(str(path),))
    return datasets.Collection(images, ("test",))


def nearest(run, vectors, queries, k=10, *, leave_out_query=False):
    """The nearest images of each query, nearest first; exact search, in blocks.

    Args:
        run: the run folder or `.keras` file that made the vectors.
        vectors: `Vectors`, or the path of their file.
        queries: paths of image files, or one path.
        k: how many, at most as many as there are vectors. Defaults to `10`.
        leave_out_query: whether to pass over the query itself, where its own file, or one of equal
            content, is among the images. Defaults to `False`.

    Returns:
        For each query a list of k `Hit`s, fewer if there are no more.

    Raises:
        ValueError: if a query cannot be used, the vectors are another model's, or `k` is too large.
    """
    if not isinstance(vectors, Vectors):
        vectors = Vectors.load(vectors)
    k = check_integer("k", k, least=1, most=len(vectors))
    model, augment, digest = _opened(run)
    if vectors.model != digest:
        raise ValueError(
            "The vectors must come from the same model as the queries' embeddings: embed the "
            f"folder again. Received: vectors of {vectors.folder} by another model than {run}, or "
            "by the same trained with another `augment`, which a .keras file does not tell"
        )
    images = _queries(queries)
    embeddings = _embedded(model, augment, images)
    wanted = min(k + _COPIES, len(vectors)) if leave_out_query else k
    indices, distances = retrieval.nearest_neighbors(embeddings, vectors.embeddings, wanted)
    hits = [
        [Hit(vectors.names[i], float(d), vectors.path(i)) for i, d in zip(row, far, strict=True)]
        for row, far in zip(indices, distances, strict=True)
    ]
    if leave_out_query:
        pairs = zip(images.paths, hits, strict=True)
        hits = [[hit for hit in row if not _is_query(path, hit)][:k] for path, row in pairs]
    return hits


def _is_query(query, hit):
    """Whether a hit is the query: its file, or a copy of it."""
    with contextlib.suppress(OSError):
        return hit.distance < _SAME and filecmp.cmp(query, hit.path, shallow=False)
    return False


def list_images(paths):
    """Image files, and those below folders, in their order.

    Args:
        paths: of files and folders.

    Returns:
        A list of texts.

    Raises:
        ValueError: if a folder has no images.
    """
    files = []
    for path in paths:
        folder = Path(path).expanduser()
        files += image_folder.read_any(folder).images.paths if folder.is_dir() else [str(path)]
    return files


def class_of(path, vectors):
    """The class of an image file: the subfolder that it is in, if there are images of that class.

    Args:
        path: of the file, also one that is not among the images.
        vectors: the `Vectors` of a folder with a subfolder per class.

    Returns:
        A text, as in the names of the vectors; `None` if it is not known.
    """
    classes = {str(PurePosixPath(name).parent) for name in vectors.names}
    place, root = Path(path).expanduser().absolute().parent, Path(vectors.folder)
    if place.is_relative_to(root):
        name = place.relative_to(root).as_posix()
        return name if name in classes and name != "." else None
    return place.name if place.name in classes else None


def _queries(queries):
    queries = [queries] if isinstance(queries, str | Path) else queries
    paths = tuple(str(Path(path).expanduser()) for path in queries)
    if not paths:
        raise ValueError("`queries` must be at least one image file. Received: none")
    images = datasets.ImageSet("queries", np.zeros(len(paths), np.int64), ("query",), paths=paths)
    try:
        return datasets.check(datasets.Collection(images, ("test",)), singles=True).images
    except datasets.CorruptImagesError as error:
        listed = "; ".join(f"{path} {reason}" for path, reason in error.problems)
        raise ValueError(
            f"`queries` must be image files that can be used. Received: {listed}"
        ) from error


def picture(queries, hits, vectors=None):
    """The first queries with the first images that were found, a row each, `SHOWN` at most of both.

    Args:
        queries: paths of image files.
        hits: for each query a list of `Hit`s, as `nearest` gives them.
        vectors: the `Vectors` that were searched, whose subfolders are classes: where that of a
            query is known, images of it have a green frame, and others are crossed out. Defaults
            to `None`: classes are not looked at.

    Returns:
        A matplotlib `Figure`; an image that is not there any more is a grey square.
    """
    from mdl_tf.pictures import plots

    queries = [Path(path).expanduser() for path in queries[:SHOWN]]
    hits = [row[:SHOWN] for row in hits[:SHOWN]]
    classes = [None if vectors is None else class_of(path, vectors) for path in queries]
    return plots.neighbor_grid(
        [image_file.thumbnail(path) for path in queries],
        [[_thumbnail(hit.path) for hit in row] for row in hits],
        hits=[
            [None if own is None else _parent(hit.name) == own for hit in row]
            for own, row in zip(classes, hits, strict=True)
        ],
        titles=[
            clean(path.name, _LONGEST) + (f"\n{clean(own, _LONGEST)}" if own else "")
            for path, own in zip(queries, classes, strict=True)
        ],
        captions=[
            [f"{hit.distance:.3f}\n{clean(hit.name, _LONGEST)}" for hit in row] for row in hits
        ],
    )


def _parent(name):
    return str(PurePosixPath(name).parent)


def _thumbnail(path):
    try:
        return image_file.thumbnail(path)
    except OSError:
        return thumbnails.missing(160)


def _opened(run):
    """The model of a run or file, the augmentation it was trained with, and a digest of it."""
    if not isinstance(run, str | Path):
        raise ValueError(
            "`run` must be the path of a run folder or a .keras file. "
            f"Received: {type(run).__name__}"
        )
    path, augment = Path(run).expanduser(), None
    if path.is_dir():
        opened = Run.open(path)
        path, augment = opened.model, opened.config.augment
    if not path.is_file():
        raise ConfigError(
            "The run must be a run folder with a model.keras, or a .keras file. "
            f"Received: {run}, without {path}"
        )
    if path.suffix in (".h5", ".hdf5", ".npz"):
        raise ConfigError(
            "The run must be a run folder with a model.keras, or a .keras file. "
            f"Received: {run}, a file of another kind"
        )
    model, content = _loaded(path, path.stat().st_mtime_ns)
    if len(model.input_shape) != 4:
        raise ConfigError(
            f"The run must be of a network that takes images. Received: {run}, which takes "
            f"features, {model.input_shape[1]} numbers"
        )
    # The same network sees another part of the image after another augmentation.
    return model, augment, image_file.digest(f"{content} {augment}".encode())


@functools.lru_cache(maxsize=2)
def _loaded(path, changed):
    """The model in a file and a digest of it; kept, as searches often come one after the other."""
    return load_model(path, compile=False), image_file.digest(path.read_bytes())


def _embedded(model, augment, images, progress=None):
    stream = batches.ordered(images, BATCH, model.input_shape[1:3], augment)
    count = len(images)
    return embed(model, stream, progress=progress and (lambda done, _: progress(done, count)))[0]
