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
import re
import warnings
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from mdl_tf import datasets
from mdl_tf.checks import check_integer
from mdl_tf.datasets.own import folder as image_folder
from mdl_tf.datasets.usable import check_files
from mdl_tf.files import replacing
from mdl_tf.images import file as image_file
from mdl_tf.index.embedder import open_embedder
from mdl_tf.index.queries import list_images  # noqa: F401, for those who search
from mdl_tf.metrics import prepare
from mdl_tf.pictures import thumbnails
from mdl_tf.reading import read_arrays
from mdl_tf.words import clean

SHOWN = 20  # rows and columns of a picture
_SAMPLE = 16  # images by which the units of a network are judged
_LONGEST = 26  # letters of a name in it
_SAME = 1e-3  # the largest distance of an image and its copy, which rounding parts
_ARRAYS = ("embeddings", "names", "folder", "model")
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
        output: name of the model's output that they are, or `None` if it has one.
        input_range: units of the pixels that it was given, or `None` for 0..255.
        digests: N texts, of the contents of the files. Defaults to none.
    """

    embeddings: np.ndarray
    names: tuple
    folder: str
    model: str
    left_out: tuple = ()
    output: str | None = None
    input_range: str | None = None
    digests: tuple = ()

    def __len__(self):
        return len(self.names)

    def __repr__(self):
        return f"Vectors({len(self):,} of {self.embeddings.shape[1]} numbers, {self.folder!r})"

    @functools.cached_property
    def prepared(self):
        """The embeddings prepared for search, once for all queries."""
        return prepare(self.embeddings)

    def path(self, i):
        """The file of image `i`."""
        return str(Path(self.folder) / self.names[i])

    def save(self, path):
        """Write an `.npz` file, whole or not at all.

        Raises:
            ValueError: if the name does not end in `.npz` or cannot be written.
        """
        path = Path(path).expanduser()
        chosen = {"output": self.output, "input_range": self.input_range}
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
                    digests=np.array(self.digests, "U"),
                    **{name: np.array(value) for name, value in chosen.items() if value},
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
            # Those of 0.1.0 have none of the last three.
            stored = read_arrays(path, (*_ARRAYS, "output", "input_range", "digests"))
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
            output=str(stored.get("output", "")) or None,
            input_range=str(stored.get("input_range", "")) or None,
            digests=tuple(np.ravel(stored.get("digests", ())).tolist()),
        )


def _check_stored(stored):
    """Refuse arrays that are not those of `Vectors`, with a text that completes "the file ..."."""
    for name in _ARRAYS:
        if name not in stored:
            raise ValueError(f"has no array {name!r}")
    embeddings, names = stored["embeddings"], stored["names"]
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or not embeddings.size:
        raise ValueError(f"has embeddings of shape {embeddings.shape}, {embeddings.dtype}")
    if not np.isfinite(embeddings).all():
        raise ValueError("has embeddings that are NaN or infinite")
    if names.dtype.kind != "U" or names.shape != (len(embeddings),):
        raise ValueError(f"has {names.size:,} names for {len(embeddings):,} embeddings")
    digests = stored.get("digests", names)
    if digests.size and (digests.dtype.kind != "U" or digests.shape != names.shape):
        raise ValueError(f"has {digests.size:,} digests for {len(embeddings):,} embeddings")
    for name in ("folder", "model"):
        if stored[name].dtype.kind != "U" or stored[name].ndim:
            raise ValueError(f"has a {name!r} that is no text")
    for name in names.tolist():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"has the name {clean(name, 80)!r}, which is not below its folder")


def embed_images(
    run, folder, *, output=None, input_range=None, on_corrupt="error", shard=None, progress=None
):
    """The embeddings of all images below a folder, at any depth, in the order of their paths.

    Args:
        run: a run folder, or a `.keras` file of an embedder.
        folder: of images; subfolders need not be classes. Or one image file.
        output: name of the output that is the embedding, of a `.keras` file of a network with
            several. Defaults to `None`: it has one.
        input_range: what a network of your own takes: `"0..255"`, `"0..1"` or `"-1..1"`. Defaults
            to `None`: 0..255, and a warning if the network seems to expect something else.
        on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used. Defaults to
            `"error"`.
        shard: `"i/n"`, to embed every n-th image from the i-th on, of a folder that n processes or
            machines share. Defaults to `None`: all.
        progress: a function of (images done, images), called while files are looked into, and
            while they are embedded. Defaults to `None`.

    Returns:
        `Vectors`.

    Raises:
        CorruptImagesError: a ValueError that lists the files that cannot be used.
        ValueError: if the run has no model of images, or the folder no images, or `output` or
            `input_range` is none that there is.
    """
    embedder = open_embedder(run, output=output, input_range=input_range, name="run")
    embedder.check_images()
    folder = Path(folder).expanduser()
    if folder.is_file():
        collection, folder = _one_image(folder), folder.parent
    else:
        collection = image_folder.read_any(folder)
    if shard is not None:
        collection = _take_shard(collection, shard)
    collection = datasets.check(collection, on_corrupt, progress, singles=True)
    images = collection.images
    if not Path(run).expanduser().is_dir():
        _doubt(embedder, images)
    embeddings = embedder.embed_images(images, progress)
    root = Path(folder).absolute()
    names = tuple(Path(path).absolute().relative_to(root).as_posix() for path in images.paths)
    return Vectors(
        *(embeddings, names, str(root), embedder.digest, collection.problems),
        output=output,
        input_range=input_range,
        digests=tuple(digest.decode() for digest in images.digests.tolist()),
    )


def check_shard(shard):
    """The numbers of a shard.

    Args:
        shard: a text such as `"2/8"`.

    Returns:
        `(i, n)`, with i from 1 to n.

    Raises:
        ValueError: for something else.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(shard))
    numbers = tuple(map(int, match.groups())) if match else (0, 0)
    if not 1 <= numbers[0] <= numbers[1]:
        raise ValueError(
            f"`shard` must be i/n, with i from 1 to n, such as 2/8. Received: shard={shard!r}"
        )
    return numbers


def _take_shard(collection, shard):
    number, count = check_shard(shard)
    images = collection.images
    if len(images) < count:
        raise ValueError(
            f"`shard` must have an image. Received: shard={shard!r} of {len(images):,} images"
        )
    # Every n-th, so that all have equally many of a folder of large images.
    part = images.unlabelled(np.arange(number - 1, len(images), count))
    return datasets.Collection(part, ("test",))


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
    embedder = open_embedder(
        run, output=vectors.output, input_range=vectors.input_range, name="run"
    )
    if vectors.model != embedder.digest:
        raise ValueError(
            "The vectors must come from the same model as the queries' embeddings: embed the "
            f"folder again. Received: vectors of {vectors.folder} by another model than {run}, or "
            "by the same trained with another `augment`, which a .keras file does not tell"
        )
    images = check_files(queries, "queries")
    embeddings = embedder.embed_queries(images)
    wanted = min(k + _COPIES, len(vectors)) if leave_out_query else k
    indices, distances = vectors.prepared.neighbors(embeddings, wanted)
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


def _doubt(embedder, images):
    """Warn of a file whose network ends in classes, or was trained on pixels in other units."""
    from mdl_tf import batches
    from mdl_tf.embedding import units

    model = embedder.model
    classifier = units.find_classifier(model) if embedder.output is None else None
    if classifier:
        warnings.warn(
            f"The network ends in {classifier}, which are no embeddings: save the part before it, "
            "keras.Model(model.inputs, model.layers[-2].output).save('embedder.keras')",
            stacklevel=3,
        )
    if embedder.input_range is None and None not in model.input_shape[1:3]:
        sample = images.take(np.arange(min(_SAMPLE, len(images))))
        pixels, _ = next(iter(batches.ordered(sample, _SAMPLE, model.input_shape[1:3], None)))
        doubt = units.doubt_units(model, np.asarray(pixels))
        if doubt:
            warnings.warn(
                f"The network {doubt}. If it was trained on other pixels, say so: "
                "input_range='0..1' or '-1..1' (--input-range); with '0..255' this is not said.",
                stacklevel=3,
            )
