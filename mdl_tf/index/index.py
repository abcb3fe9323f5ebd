"""`Index`: images or vectors that can be searched, added to and taken from."""

import json
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.files import replacing, temporary_folder
from mdl_tf.index import sources
from mdl_tf.index.answers import Confusion, vote
from mdl_tf.index.embedder import CALIBRATION, open_embedder
from mdl_tf.index.rows import Row
from mdl_tf.index.store import Store, as_vectors, is_index
from mdl_tf.index.where import check_columns
from mdl_tf.metrics import prepare
from mdl_tf.metrics.calibration import Calibration, calibrate

_PART = 2048  # images that are embedded and kept at a time
_FEATURES = 2**16  # the same of vectors
_GALLERIES = 4  # prepared at a time: of all rows, and of the latest filters


class Hit(NamedTuple):
    """An image that was found."""

    name: str  # path below the folder that it was added with, or the name that was given
    distance: float  # Euclidean, between embeddings
    label: str | None
    path: str  # of its file; empty if it is none
    columns: dict  # its further columns


class Changes(NamedTuple):
    """What `add` or `sync` has changed: numbers of images."""

    added: int
    changed: int  # of the same name, with other content
    unchanged: int  # not embedded again
    removed: int
    left_out: tuple  # `Problem`s, files that cannot be used


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
        self._galleries, self._lock = {}, threading.Lock()
        self._finalizer = temporary and weakref.finalize(
            self, shutil.rmtree, temporary, ignore_errors=True
        )

    @classmethod
    def build(cls, model, source, *, output=None, input_range=None, **options):
        """An index of images or features, in a temporary folder until it is saved.

        Args:
            model: what makes the vectors: a run folder, a `.keras` file or a `keras.Model`, of
                images or of features; `None` for vectors as they are.
            source: as for `add`.
            output: of a `.keras` file of a network with several outputs, the name of the one that
                is the embedding. Defaults to `None`.
            input_range: of a `.keras` file of your own, the pixels that it takes: `"0..255"`,
                `"0..1"` or `"-1..1"`. Defaults to `None`: 0..255.
            **options: as for `add`.

        Returns:
            An `Index`.

        Raises:
            ValueError: as `add`.
        """
        folder = tempfile.mkdtemp(prefix="mdl_tf-index-")
        try:
            chosen = {"output": output, "input_range": input_range}
            index = cls._create(Path(folder), model, temporary=folder, **chosen)
            index.add(source, **options)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return index

    @classmethod
    def create(cls, path, model, *, output=None, input_range=None):
        """An empty index in a new folder: what is added is kept at once.

        Args:
            path: of the folder; it must not exist.
            model: as for `build`.
            output: as for `build`. Defaults to `None`.
            input_range: as for `build`. Defaults to `None`.

        Returns:
            An `Index`.

        Raises:
            ValueError: if the folder exists or cannot be made, or there is no such model.
        """
        path = _new(path)
        try:
            with temporary_folder(path.parent, path.name) as folder:
                cls._create(folder, model, output=output, input_range=input_range).close()
                folder.rename(path)
        except OSError as error:
            raise ValueError(f"`path` must be writable. Received: {error}") from error
        return cls.open(path)

    @classmethod
    def _create(cls, folder, model, temporary=None, **chosen):
        embedder = _keep_model(folder, model, **chosen)
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
        path = Path(path).expanduser()
        if path.suffix == ".npz" and path.is_file():
            return _open_vectors(cls, path)
        if not is_index(path):
            raise ValueError(
                "`path` must be the folder of an index, or a file that `mdl-tf embed` wrote. "
                f"Received: path={str(path)!r}"
            )
        store = Store(path)
        digest = store.rows.fact("model")
        embedder = open_embedder(path) if (path / "model.json").is_file() else None
        if embedder is not None and embedder.digest != digest:
            raise ValueError(
                "The index must have the model that its vectors come from. "
                f"Received: {path}, with another model.keras"
            )
        return cls(store, embedder)

    def close(self):
        """Let go of the files."""
        self._store.close()
        self._galleries.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self):
        return len(self._store.rows)

    def __repr__(self):
        return f"Index({len(self):,} vectors of {self.width or 'no'} numbers, {str(self.path)!r})"

    @property
    def path(self):
        """The folder of the index."""
        return self._store.folder

    @property
    def width(self):
        """D, numbers in a vector; `None` in an empty index that has no model."""
        return self._store.width

    @property
    def columns(self):
        """Names of the further columns of rows, for filters."""
        return self._store.rows.columns()

    @property
    def labels(self):
        """Labels and how many images have each, `(label, count)`, the most frequent first."""
        return self._store.rows.labels()

    def delete(self):
        """Remove the folder of the index, and with it the index."""
        self.close()
        shutil.rmtree(self._store.folder)

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
            source: a folder of images; an `.npz` file of features, as for `--dataset npz`; or
                `(n, F)` floats: features for the model, or vectors if the index has none.
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
        contents = _read_source(source, names, labels, on_corrupt, progress)
        return self._put(contents, columns, progress, drop_others=False)

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
        return self._put(contents, columns, progress, drop_others=True)

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
        names = [names] if isinstance(names, str) else list(names)
        places = set()
        for name in names:
            rows = self._store.rows.named(str(name))
            if len(rows) != 1:
                many = ", ".join(f"{row.root}/{row.name}" for row in rows)
                raise ValueError(
                    "`names` must be of one image of the index each. Received: "
                    f"{str(name)!r}, which is {'of ' + many if rows else 'not there'}"
                )
            places.add(rows[0].place)
        self._store.remove(sorted(places))
        return len(places)

    def search(self, queries, k=10, *, where=None, threshold=None):
        """The nearest images of each query, nearest first; exact.

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
        found = self._search(self.embed(queries), k, where, threshold)
        return [[hit for hit, _ in hits] for hits in found]

    def _search(self, vectors, k, where, threshold):
        """For each vector a list of (`Hit`, place)."""
        rows = None
        while rows is None:
            state, gallery, places = self._gallery(where)
            if gallery is None:
                return [[] for _ in vectors]
            indices, distances = gallery.neighbors(vectors, min(k, len(places)))
            with self._store.rows.reading():
                # Else a place may have become another image's while vectors were compared.
                if self._store.rows.state() == state:
                    rows = self._store.rows.get(np.unique(places[indices]))
        return [
            [
                (_hit(rows[place], float(distance)), place)
                for place, distance in zip(places[near].tolist(), far, strict=True)
                if threshold is None or distance <= threshold
            ]
            for near, far in zip(indices, distances, strict=True)
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
        path = self.path / CALIBRATION
        if not path.is_file():
            return None
        try:
            return Calibration.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{error} File: {path}") from error

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
        calibration = self.calibration
        if calibration is None:
            raise ValueError(
                "The index must be calibrated, by `calibrate` or by a run with validation classes. "
                f"Received: {self.path}, without {CALIBRATION}; or give `threshold`"
            )
        return calibration.point(far).threshold

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
        if hasattr(source, "shape"):
            vectors, told = as_vectors(source, self.width), f"{len(source):,} vectors"
        else:
            contents = sources.read_folder(source, on_corrupt, progress)
            labels, count = contents.labels, len(contents.names)
            if None in labels:
                raise ValueError(
                    "`source` must have a subfolder for each class. Received: "
                    f"{source}, with {contents.names[labels.index(None)]} outside of them"
                )
            vectors = self._embed_contents(contents, list(range(count)), 0, count, progress)
            told = f"{count:,} images of {contents.root}"
        if labels is None or len(labels) != len(vectors):
            raise ValueError(
                "`labels` must be as many as the vectors. "
                f"Received: {0 if labels is None else len(labels):,} labels, {len(vectors):,} "
                "vectors"
            )
        _, numbers = np.unique(np.asarray(labels), return_inverse=True)
        calibration = calibrate(vectors, numbers, source=told)
        with replacing(self.path / CALIBRATION) as temporary:
            temporary.write_text(calibration.to_json(), encoding="utf-8")
        return calibration

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
            labels, answers = self._classify_itself(k)
        else:
            contents = sources.read_folder(source, on_corrupt, progress)
            everything = range(len(contents.names))
            vectors = self._embed_contents(contents, list(everything), 0, len(everything), progress)
            labels, answers = contents.labels, self.classify(vectors, k)
        pairs = [(a, b.label) for a, b in zip(labels, answers, strict=True) if a is not None]
        if not pairs:
            raise ValueError("`source` must have labels: subfolders. Received: none")
        return Confusion(*zip(*pairs, strict=True))

    def _classify_itself(self, k):
        k = check_integer("k", k, least=1)
        vectors, places = self._store.read()
        labels, answers = [], []
        for start in range(0, len(places), _PART):
            part = places[start : start + _PART]
            rows = self._store.rows.get(part)
            found = self._search(vectors[part], k + 1, None, None)
            for place, hits in zip(part.tolist(), found, strict=True):
                # Itself is among them, but where more than k are equal to it.
                others = [hit for hit, its in hits if its != place][:k]
                labels.append(rows[place].label)
                answers.append(vote(others))
        return labels, answers

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
            raise ValueError(
                "`queries` must be vectors: the index has no model for images. "
                f"Received: {len(images)} images"
            )
        return self._embedder.embed_queries(images)

    def save(self, path):
        """Write the index into a new folder.

        Args:
            path: of the folder; it must not exist.

        Raises:
            ValueError: if it exists or cannot be written.
        """
        path = _new(path)
        try:
            with temporary_folder(path.parent, path.name) as folder:
                self._store.copy_to(folder)
                folder.rename(path)
        except OSError as error:
            raise ValueError(f"`path` must be writable. Received: {error}") from error

    def _put(self, contents, columns, progress, *, drop_others):
        rows = self._store.rows
        columns = _columns_of_each(columns, contents)
        before = rows.of_root(contents.root)
        new = [
            i
            for i, name in enumerate(contents.names)
            if name not in before or before[name].digest != contents.digests[i]
        ]
        if contents.features is not None:
            # Seen whole before anything is added.
            as_vectors(contents.features, None if self._embedder else self.width)
        # Of files that were moved or copied.
        known = self._store.vectors_of([contents.digests[i] for i in new])
        missing = [i for i in new if contents.digests[i] not in known]
        size = _PART if contents.features is None else _FEATURES
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            vectors = self._embed_contents(contents, part, start, len(missing), progress)
            self._keep(contents, columns, part, vectors)
        moved = [i for i in new if contents.digests[i] in known]
        self._keep(contents, columns, moved, [known[contents.digests[i]] for i in moved])
        self._update(contents, columns, before, set(new))
        gone = []
        if drop_others:
            left = set(contents.names)
            gone = [row.place for name, row in before.items() if name not in left]
            if gone:
                self._store.remove(gone)
        changed = sum(contents.names[i] in before for i in new)
        return Changes(
            added=len(new) - changed,
            changed=changed,
            unchanged=len(contents.names) - len(new),
            removed=len(gone),
            left_out=tuple(contents.problems),
        )

    def _keep(self, contents, columns, part, vectors):
        if not part:
            return
        rows = [
            Row(
                *(-1, contents.root, contents.names[i], contents.labels[i], contents.digests[i]),
                columns[i],
            )
            for i in part
        ]
        self._store.add(rows, as_vectors(vectors, self.width))

    def _embed_contents(self, contents, part, done, count, progress):
        """Vectors of some of the contents, `(n, D)`, after `done` of `count`."""
        if contents.features is not None:
            features = contents.features[part]
            return self._embedder.embed_features(features) if self._embedder else features
        if self._embedder is None:
            raise ValueError(
                "`source` must be vectors: the index has no model for images. Received: a folder"
            )
        told = progress and (lambda number, _: progress(done + number, count))
        images = contents.images.unlabelled(np.array(part))
        return self._embedder.embed_images(images, told)

    def _update(self, contents, columns, before, new):
        """Give rows whose content has not changed the labels and columns of now."""
        updated = []
        for i, name in enumerate(contents.names):
            if i in new:
                continue
            row = before[name]._replace(label=contents.labels[i])
            # Columns that are not given stay.
            row = row._replace(columns={**row.columns, **columns[i]})
            if row != before[name]:
                updated.append(row)
        if updated:
            with self._store.rows.writing():
                self._store.rows.add(updated)

    def _gallery(self, where):
        """The state of the rows, the prepared gallery of a filter (or `None`), and its places."""
        key = json.dumps(where, sort_keys=True, default=_plain)
        with self._lock:
            state = self._store.rows.state()
            if self._galleries.get("state") != state:
                self._galleries = {"state": state}
            if key not in self._galleries:
                vectors, places = self._store.read(where)
                if len(self._galleries) > _GALLERIES:
                    # The oldest filter; that of all rows, "null", is the dear one.
                    oldest = next(k for k in self._galleries if k not in ("state", "null"))
                    del self._galleries[oldest]
                prepared = prepare(vectors, places) if len(places) else None
                self._galleries[key] = (prepared, places)
            return state, *self._galleries[key]


def _plain(value):
    """What JSON does not know, in a filter: sets and NumPy's numbers."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return value.item() if hasattr(value, "item") else repr(value)


def _hit(row, distance):
    path = str(Path(row.root) / row.name) if row.root else ""
    return Hit(row.name, distance, row.label, path, row.columns)


def _new(path):
    path = Path(path).expanduser().absolute()
    if path.exists():
        raise ValueError(f"`path` must not exist. Received: path={str(path)!r}")
    return path


def _keep_model(folder, model, **chosen):
    """Put a model into the folder of an index."""
    if model is None:
        return None
    if isinstance(model, str | Path):
        open_embedder(model, **chosen).keep(folder)
    elif hasattr(model, "save") and hasattr(model, "input_shape"):
        model.save(folder / "model.keras")
        open_embedder(folder / "model.keras", **chosen).keep(folder)
    else:
        raise ValueError(
            "`model` must be a run folder, a .keras file, a keras.Model or None. "
            f"Received: model={model!r}"
        )
    return open_embedder(folder)


def _read_source(source, names, labels, on_corrupt, progress):
    if not isinstance(source, str | Path):
        if not hasattr(source, "shape"):
            raise ValueError(
                "`source` must be a folder of images, an .npz file of features, or (n, F) floats. "
                f"Received: {type(source).__name__}"
            )
        return sources.read_features(source, names, labels)
    for name, value in (("names", names), ("labels", labels)):
        if value is not None:
            raise ValueError(
                f"`{name}` must be given with floats only. Received: {name} with {str(source)!r}"
            )
    if Path(source).suffix == ".npz":
        return sources.read_npz(source)
    return sources.read_folder(source, on_corrupt, progress)


def _columns_of_each(columns, contents):
    """The columns of each row, n dicts."""
    count = len(contents.names)
    if columns is None:
        return [{}] * count
    if contents.root:
        given = {name: values for name, values in columns.items() if isinstance(values, dict)}
        known = set(contents.names)
        for name, values in given.items():
            wrong = [path for path in values if path not in known]
            if wrong:
                raise ValueError(
                    "`columns` must have paths below the folder. "
                    f"Received: {name!r} of {wrong[0]!r}, which is not there"
                )
        columns = {
            name: [given[name].get(path) for path in contents.names] if name in given else values
            for name, values in columns.items()
        }
    return check_columns(columns, count)


def _open_vectors(cls, path):
    from mdl_tf.search import Vectors

    vectors = Vectors.load(path)
    folder = tempfile.mkdtemp(prefix="mdl_tf-index-")
    index = cls._create(Path(folder), None, temporary=folder)
    index._store.rows.set_fact("model", vectors.model)
    labels = [Path(name).parent.as_posix() for name in vectors.names]
    contents = sources.read_features(vectors.embeddings, vectors.names, labels)
    labels = [None if label == "." else label for label in labels]
    index._put(contents._replace(root=vectors.folder, labels=labels), None, None, drop_others=False)
    return index
