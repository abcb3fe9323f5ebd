"""`Index`: images or vectors that can be searched, added to and taken from."""

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.files import temporary_folder
from mdl_tf.index import groups, postgres, sources, thresholds
from mdl_tf.index.answers import Confusion, classify_each, vote
from mdl_tf.index.changes import embed_contents, put
from mdl_tf.index.embedder import open_embedder
from mdl_tf.index.models import find_model, keep_model
from mdl_tf.index.place import is_address, is_index
from mdl_tf.index.searching import Searcher, as_hit
from mdl_tf.index.store import Store, as_vectors


class Index:
    """Images or vectors to search in, kept in a folder.

    `build`, `create` and `open` make one. Several threads and processes may search an index while
    one changes it; a kill loses at most the call that was not finished.

    Example:

    >>> index = Index.build("runs/photos", "photos")
    >>> index.save("photos.index")
    >>> index = Index.open("photos.index")
    >>> index.add("more")
    >>> index.search(["query.jpg"], k=10)[0]
    """

    def __init__(self, store, embedder=None, temporary=None):
        self._store, self._embedder = store, embedder
        # A server searches by itself.
        self._searcher = Searcher(store) if isinstance(store, Store) else store
        self._finalizer = temporary and weakref.finalize(
            self, shutil.rmtree, temporary, ignore_errors=True
        )

    @classmethod
    def build(cls, model, source, kind="exact", *, output=None, input_range=None, **options):
        """An index of images or features, in a temporary folder until it is saved.

        Args:
            model: what makes the vectors: a run folder, a `.keras` file or a `keras.Model`, of
                images or of features; `None` for vectors as they are.
            source: as for `add`.
            kind: as for `set_kind`; what it reaches is printed. Defaults to `"exact"`.
            output: of a `.keras` file of a network with several outputs, the name of the one that
                is the embedding. Defaults to `None`.
            input_range: of a `.keras` file of your own, the pixels that it takes: `"0..255"`,
                `"0..1"` or `"-1..1"`. Defaults to `None`: 0..255.
            **options: as for `add`.

        Returns:
            An `Index`.

        Raises:
            ValueError: as `add` and `set_kind`.
        """
        Searcher.check_kind(kind)
        folder = tempfile.mkdtemp(prefix="mdl_tf-index-")
        try:
            chosen = {"output": output, "input_range": input_range}
            index = cls._create(Path(folder), model, temporary=folder, **chosen)
            index.add(source, **options)
            if kind != "exact":
                print(index.set_kind(kind))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return index

    @classmethod
    def create(cls, path, model, kind="exact", *, output=None, input_range=None):
        """An empty index in a new folder: what is added is kept at once.

        Args:
            path: of the folder; it must not exist.
            model: as for `build`.
            kind: as for `set_kind`, from the first that are added on. Defaults to `"exact"`.
            output: as for `build`. Defaults to `None`.
            input_range: as for `build`. Defaults to `None`.

        Returns:
            An `Index`.

        Raises:
            ValueError: if the folder exists or cannot be made, or there is no such model.
        """
        Searcher.check_kind(kind)
        path = _new(path)
        try:
            with temporary_folder(path.parent, path.name) as folder:
                index = cls._create(folder, model, output=output, input_range=input_range)
                index.set_kind(kind)
                index.close()
                folder.rename(path)
        except OSError as error:
            raise ValueError(f"`path` must be writable. Received: {error}") from error
        return cls.open(path)

    @classmethod
    def _create(cls, folder, model, temporary=None, **chosen):
        embedder = keep_model(folder, model, **chosen)
        store = Store(folder, new=True)
        store.rows.set_fact("model", embedder.digest if embedder else None)
        return cls(store, embedder, temporary)

    @classmethod
    def open(cls, path):
        """An index that is there.

        Args:
            path: folder of an index; or an `.npz` file that `mdl-tf embed` wrote, which is opened
                as a copy in a temporary folder.

        Returns:
            An `Index`.

        Raises:
            ValueError: if it is neither, or damaged.
        """
        if is_address(path):
            return cls.connect(path)
        path = Path(path).expanduser()
        if path.suffix == ".npz" and path.is_file():
            return _open_vectors(cls, path)
        if not is_index(path):
            raise ValueError(
                "`path` must be the folder of an index, or a file that `mdl-tf embed` wrote. "
                f"Received: path={str(path)!r}"
            )
        store = Store(path)
        embedder = open_embedder(path) if (path / "model.json").is_file() else None
        if embedder is not None and embedder.digest != store.model:
            raise ValueError(
                "The index must have the model that its vectors come from. "
                f"Received: {path}, with another model.keras"
            )
        return cls(store, embedder)

    @classmethod
    def connect(cls, address, name="index", model=None, *, create=True):
        """An index on a PostgreSQL server with pgvector, for many writers and machines.

        Needs `pip install 'mdl_tf[postgres]'`. The model stays where it is; the server keeps its
        digest.

        Args:
            address: `postgresql://user@host:port/database`. A password is better told by
                `PGPASSWORD` or `~/.pgpass` than in it; it is written nowhere.
            name: of the index. Defaults to `"index"`.
            model: as for `build`, of the vectors that are there if there are any. Defaults to
                `None`: the run or file that the index was made with, if it is on this machine;
                else vectors alone can be searched.
            create: whether to make the index if it is not there. Defaults to `True`.

        Returns:
            An `Index`.

        Raises:
            ValueError: without the packages or the server, if there is no such index and none
                shall be made, or its vectors come from another model.
        """
        store = postgres.Postgres(address, name)
        try:
            embedder, temporary = find_model(store, model, create)
        except BaseException:
            store.close()
            raise
        return cls(store, embedder, temporary)

    @property
    def kind(self):
        """How the index is searched, a `Kind`: `name`, `settings`, and the `recall` measured."""
        return self._store.kind

    def set_kind(self, kind, progress=None):
        """Choose how the index is searched; that of before goes, the vectors stay.

        Approximate kinds compare a query with a part of the vectors, and decide among the
        candidates by their exact distances. They are made of the vectors there are, go on with
        those that come, and are made anew when the index is four times as large.

        Args:
            kind: `"exact"`; or with FAISS (`pip install 'mdl_tf[faiss]'`) `"ivf"`, clusters of
                which the nearest are searched; `"hnsw"`, a graph; `"pq"`, clusters of short
                codes, where memory is short; `"flat"`, all of them in float32. On a server
                `"ivf"` and `"hnsw"` are pgvector's.
            progress: a function of (vectors done, vectors). Defaults to `None`.

        Returns:
            A `Kind`, with recall@10 against exact search, measured on vectors of the index.

        Raises:
            ValueError: for another kind, or without its package.
        """
        self._searcher.check_kind(kind)
        return self._searcher.set_kind(kind, progress)

    def close(self):
        """Let go of the files."""
        self._store.close()
        self._searcher.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self):
        return len(self._store)

    def __repr__(self):
        return f"Index({len(self):,} vectors of {self.width or 'no'} numbers, {str(self.path)!r})"

    @property
    def path(self):
        """The folder of the index; of one on a server its address, without a password."""
        return self._store.folder if isinstance(self._store, Store) else self._store.place

    @property
    def width(self):
        """D, numbers in a vector; `None` in an empty index that has no model."""
        return self._store.width

    @property
    def columns(self):
        """Names of the further columns of rows, for filters."""
        return self._store.columns()

    @property
    def labels(self):
        """Labels and how many images have each, `(label, count)`, the most frequent first."""
        return self._store.labels()

    @property
    def takes_images(self):
        """Whether there is a model for images, so that a query may be one."""
        return self._embedder is not None and self._embedder.takes_images

    def delete(self):
        """Remove the folder of the index, and with it the index."""
        self._searcher.close()
        self._store.delete()

    def add(
        self,
        source,
        *,
        names=None,
        labels=None,
        columns=None,
        on_corrupt="error",
        progress=None,
    ):
        """Add images or vectors; what is there with the same content is not embedded again.

        Args:
            source: a folder of images; an `.npz` file of features, as for `--dataset npz`, or one
                that `mdl-tf embed` wrote with this model; or `(n, F)` floats: features for the
                model, or vectors if the index has none.
            names: n texts, of floats only, each another. An image of the same folder and name, or
                a vector of the same name, takes the place of the old one. Defaults to `None`: paths
                below the folder; numbers.
            labels: n texts or integers, of floats only. Defaults to `None`: the subfolders.
            columns: for filters, a dict from names to n values each, texts, numbers or truth
                values; of a folder a dict from names to dicts from a file's path below it to a
                value. Defaults to `None`, none.
            on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used. Defaults to
                `"error"`.
            progress: a function of (images done, images). Defaults to `None`.

        Returns:
            `Changes`.

        Raises:
            ValueError: if something is not as above, or does not fit the model. Nothing is added
                then, but what had been embedded of a folder when a call ended by a kill stays.
        """
        contents = sources.read_source(source, names, labels, on_corrupt, progress)
        return self._change(contents, columns, progress)

    def sync(self, folder, *, columns=None, on_corrupt="error", progress=None):
        """Make the index have of a folder what is in it now: add, embed anew, remove.

        Args:
            folder: of images; what was added from other folders stays.
            columns: as for `add`. Defaults to `None`, none.
            on_corrupt: as for `add`. Defaults to `"error"`.
            progress: as for `add`. Defaults to `None`.

        Returns:
            `Changes`.

        Raises:
            ValueError: as `add`.
        """
        contents = sources.read_folder(folder, on_corrupt, progress)
        return self._change(contents, columns, progress, drop_others=True)

    def _change(self, contents, columns, progress, **options):
        if contents.model is None:
            self._check_model()
        changes = put(self._store, self._embedder, contents, columns, progress, **options)
        self._searcher.catch_up(progress)
        return changes

    def remove(self, names):
        """Remove images.

        Args:
            names: texts or one text: names, or whole paths of files.

        Returns:
            How many were removed.

        Raises:
            ValueError: if there is no image of a name, or two of different folders; nothing is
                removed then.
        """
        removed = {row.place: row for row in self._named(names)}
        self._store.remove(list(removed.values()))
        self._searcher.catch_up()
        return len(removed)

    def vectors(self, names):
        """The vectors of images that are in the index, such as to search for one of them.

        Args:
            names: as for `remove`.

        Returns:
            `(n, D)` float32, in their order.

        Raises:
            ValueError: if there is no image of a name, or two of different folders.
        """
        rows = self._named(names)
        vectors = self._store.vectors_of([row.digest for row in rows])
        missing = [row.name for row in rows if row.digest not in vectors]
        if missing:
            raise ValueError(
                "`names` must be of one image of the index each. "
                f"Received: {missing[0]!r}, which has just been removed"
            )
        return np.array([vectors[row.digest] for row in rows], np.float32)

    def _named(self, names):
        """The `Row` of each name."""
        names = [names] if isinstance(names, str) else list(names)
        rows_of_all = []
        for name in names:
            rows = self._store.named(str(name))
            if len(rows) != 1:
                many = ", ".join(f"{row.root}/{row.name}" for row in rows)
                raise ValueError(
                    "`names` must be of one image of the index each. Received: "
                    f"{str(name)!r}, which is {'of ' + many if rows else 'not there'}"
                )
            rows_of_all += rows
        return rows_of_all

    def search(self, queries, k=10, *, where=None, threshold=None):
        """The nearest images of each query, nearest first; exact unless `set_kind` said otherwise.

        Args:
            queries: image files or one, as paths; pixels, `(n, H, W, 3)` uint8; or vectors
                `(n, D)`, floats: as this model makes them.
            k: how many, fewer if there are not so many. Defaults to `10`.
            where: a filter: a dict from `"name"`, `"label"`, `"root"` or one of `columns` to a
                value, a list of values, or a dict of comparisons such as `{"<": 10}`. Defaults to
                `None`: all images.
            threshold: the largest distance of a hit. Defaults to `None`: any.

        Returns:
            For each query a list of at most k `Hit`s.

        Raises:
            ValueError: if a query cannot be used, or another argument is not as above.
        """
        k = check_integer("k", k, least=1)
        nearest = self._searcher.nearest(self.embed(queries), k, where)
        return [
            [as_hit(row, far) for row, far in pairs if threshold is None or far <= threshold]
            for pairs in nearest
        ]

    def classify(self, queries, k=5, *, where=None, threshold=None):
        """The class of each query, by the vote of its nearest images.

        Args:
            queries: as for `search`.
            k: images that vote, each with one over its distance. Defaults to `5`.
            where: as for `search`. Defaults to `None`.
            threshold: the largest distance of an image that votes. Defaults to `None`: any.

        Returns:
            For each query an `Answer`: `label`, `share`, `shares`, `hits`; without a label where
            nobody can vote.

        Raises:
            ValueError: as `search`.
        """
        return [vote(hits) for hits in self.search(queries, k, where=where, threshold=threshold)]

    def match(self, queries, *, far=1e-3, threshold=None, where=None):
        """The nearest image of each query if it is near enough to be of the same class.

        Args:
            queries: as for `search`.
            far: false accept rate that can be afforded: the share of pairs of two classes that are
                taken for one. A search compares with all images, so in an index of n the share of
                queries with a wrong match may be n times as large. Defaults to `1e-3`.
            threshold: the largest distance of a match, in place of `far`. Defaults to `None`.
            where: as for `search`. Defaults to `None`.

        Returns:
            For each query a `Hit`, or `None` if there is nothing like it.

        Raises:
            ValueError: as `search` and `threshold_at`.
        """
        threshold = self.threshold_at(far) if threshold is None else threshold
        hits = self.search(queries, 1, where=where, threshold=threshold)
        return [row[0] if row else None for row in hits]

    @property
    def calibration(self):
        """What distances mean, a `metrics.calibration.Calibration`; `None` if nobody has told."""
        return thresholds.read_calibration(self._store)

    def threshold_at(self, far=1e-3):
        """The largest distance to call the same, for a false accept rate.

        Args:
            far: share of pairs of two classes that may be taken for one. Defaults to `1e-3`.

        Returns:
            A float.

        Raises:
            ValueError: if the index is not calibrated, or the calibration cannot tell of so low a
                rate.
        """
        return thresholds.threshold_at(self._store, far)

    def calibrate(self, source, labels=None, *, on_corrupt="error", progress=None):
        """Settle what distances mean, on classes that neither trained the model nor test it.

        Args:
            source: a folder with a subfolder for each class; or vectors, `(n, D)`, with `labels`.
            labels: n integers or texts, of vectors. Defaults to `None`, a folder.
            on_corrupt: as for `add`. Defaults to `"error"`.
            progress: as for `add`. Defaults to `None`.

        Returns:
            A `Calibration`; it is kept with the index.

        Raises:
            ValueError: as `metrics.calibration.calibrate`, or if images have no labels.
        """
        return thresholds.settle(self._store, self._embedder, source, labels, on_corrupt, progress)

    def confusion(self, source=None, *, k=5, on_corrupt="error", progress=None):
        """Which classes are taken for which others, by `classify`.

        Args:
            source: a folder with a subfolder for each class, whose images are classified. Defaults
                to `None`: each labelled image of the index, by the others.
            k: as for `classify`. Defaults to `5`.
            on_corrupt: as for `add`. Defaults to `"error"`.
            progress: as for `add`. Defaults to `None`.

        Returns:
            A `Confusion`.

        Raises:
            ValueError: if no image has a label.
        """
        if source is None:
            labels, answers = classify_each(self._store, self._searcher, k, progress)
        else:
            contents = sources.read_folder(source, on_corrupt, progress)
            vectors = embed_contents(self._embedder, contents, progress=progress)
            labels, answers = contents.labels, self.classify(vectors, k)
        pairs = [(a, b.label) for a, b in zip(labels, answers, strict=True) if a is not None]
        if not pairs:
            raise ValueError("`source` must have labels: subfolders. Received: none")
        return Confusion(*zip(*pairs, strict=True))

    def cluster(
        self,
        k=None,
        *,
        method=None,
        threshold=None,
        far=None,
        smallest=None,
        where=None,
        seed=0,
        progress=None,
    ):
        """Groups of images that are alike, without labels.

        Args:
            k: how many groups. Defaults to `None`: as many as there are.
            method: `"kmeans"` (k groups, any number of images); `"agglomerative"` (average linkage,
                k groups or as many as are farther apart than `threshold`; at most 15,000 images
                that hang together); `"hdbscan"` (as many as are dense, at most 10,000 images).
                Defaults to `None`: k-means with `k`, else agglomerative with a threshold or a
                calibrated index, else HDBSCAN.
            threshold: of `"agglomerative"`: the mean distance up to which two groups are one.
            far: in place of `threshold`, of a calibrated index: the false accept rate of the
                distance. Defaults to `None`: 0.01, or the lowest that the calibration can tell.
            smallest: images of a group, at least; those of smaller ones are outliers. Defaults to
                `None`: 1 with k-means, 2 with agglomerative, 5 with HDBSCAN.
            where: as for `search`. Defaults to `None`: all images.
            seed: of k-means. Defaults to `0`.
            progress: a function of (images done, images). Defaults to `None`.

        Returns:
            `Groups`, the largest first.

        Raises:
            ValueError: if an argument is not as above or does not go with the others, or for more
                images than the method takes.
        """
        return groups.cluster(
            self._store,
            k,
            method=method,
            threshold=threshold,
            far=far,
            smallest=smallest,
            where=where,
            seed=seed,
            progress=progress,
        )

    def near_duplicates(self, threshold=None, *, where=None, progress=None):
        """Groups of images that show nearly the same; nothing is removed.

        Args:
            threshold: the largest distance of an image to another one of its group. Defaults to
                `None`: a tenth of the median distance of two images.
            where: as for `search`. Defaults to `None`: all images.
            progress: a function of (images done, images). Defaults to `None`.

        Returns:
            `Groups` of two or more; the images that have no near-duplicate are its `outliers`.

        Raises:
            ValueError: if an argument is not as above.
        """
        return groups.find_near_duplicates(self._store, threshold, where=where, progress=progress)

    def embed(self, queries):
        """The vectors of queries.

        Args:
            queries: as for `search`.

        Returns:
            `(n, D)` float32.

        Raises:
            ValueError: if one cannot be used, or vectors have another width.
        """
        images = sources.read_queries(queries)
        if images is None:
            return as_vectors(queries, self.width)
        if self._embedder is None:
            self._check_model()
            raise ValueError(
                "`queries` must be vectors: the index has no model for images. "
                f"Received: {len(images)} images"
            )
        return self._embedder.embed_queries(images)

    def embed_pictures(self, pictures):
        """The vectors of pictures in memory, each of its own size.

        Args:
            pictures: n of them, each pixels, uint8 `(h, w, 3)`, or the bytes of an image file.

        Returns:
            `(n, D)` float32.

        Raises:
            OSError: if bytes are no image.
            ValueError: if the index has no model for images, or pixels are of another kind.
        """
        if not self.takes_images:
            raise ValueError("`pictures` must be for an index with a model for images.")
        return self._embedder.embed_pictures(pictures)

    def prepare(self, report=None):
        """Load and make all that a search needs, so that the first is as quick as the others.

        The model, with its copy for ONNX Runtime where that can be made, and the vectors.

        Args:
            report: a function that prints a line, called before it takes time. Defaults to `None`.
        """
        if self.takes_images:
            self._embedder.prepare(report)
            self.embed_pictures([np.zeros((64, 64, 3), np.uint8)])
        if len(self):
            self.search(np.zeros((1, self.width), np.float32), 1)

    def _check_model(self):
        if self._embedder is None and self._store.model is not None:
            raise ValueError(
                "The index must have its model, to embed what comes: connect(..., model=...). "
                f"Received: {self._store.place}, whose model is not on this machine"
            )

    def save(self, path):
        """Write the index into a new folder; of one on a server a copy that needs none.

        Args:
            path: of the folder; it must not exist.

        Raises:
            ValueError: if it exists or cannot be written.
        """
        path = _new(path)
        try:
            with temporary_folder(path.parent, path.name) as folder:
                self._check_model()
                self._store.copy_to(folder)
                if self._embedder is not None and not (folder / "model.json").exists():
                    self._embedder.keep(folder)
                folder.rename(path)
        except OSError as error:
            raise ValueError(f"`path` must be writable. Received: {error}") from error


def _new(path):
    if is_address(path):
        # Its words may hold a password.
        raise ValueError("`path` must be a folder. Received: an address; see `Index.connect`")
    path = Path(path).expanduser().absolute()
    if path.exists():
        raise ValueError(f"`path` must not exist. Received: path={str(path)!r}")
    return path


def _open_vectors(cls, path):
    contents = sources.read_vectors(path)
    folder = tempfile.mkdtemp(prefix="mdl_tf-index-")
    index = cls._create(Path(folder), None, temporary=folder)
    index._store.rows.set_fact("model", contents.model)
    put(index._store, None, contents)
    return index
