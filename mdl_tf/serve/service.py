"""An index as clients see it: entries by opaque ids, answers, small pictures."""

import collections
import io
import json
import os
import secrets
import threading
import time
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_integer, check_number
from mdl_tf.images import file as image_file
from mdl_tf.index import Index
from mdl_tf.index.place import ROWS
from mdl_tf.serve.refusal import Refusal

SIDE = 360  # pixels of a small picture, its longer side
_IDS = 50_000  # of entries that were shown, some 30 MB
_PICTURES = 64 * 2**20  # bytes of small pictures that are kept
_FRESH = 3  # seconds that the list of labels is kept
_DRAWN = 24  # vectors, whose neighbors are examples


class Verdict(NamedTuple):
    """Up to which distance two are called the same, and why."""

    threshold: float | None  # `None`: nobody knows
    far: float | None  # false accept rate; `None` for a threshold that was given
    reason: str  # for people


class Entry(NamedTuple):
    """An image of the index, as it is shown."""

    id: str
    hit: object  # an `index.Hit`

    @property
    def has_file(self):
        """Whether it is a file, which may be gone."""
        return bool(self.hit.path)


class Answer(NamedTuple):
    """What a search found."""

    entries: list
    verdict: Verdict
    images: int  # in the index
    seconds: float
    query: Entry | None = None  # the image of the index that was looked for

    def same(self, entry):
        """Whether an entry is called the same as the query; `None` if nobody knows."""
        threshold = self.verdict.threshold
        return None if threshold is None else entry.hit.distance <= threshold


class Service:
    """An index, its model loaded, for several threads.

    The index may be changed or replaced by other processes meanwhile.

    Args:
        path: folder of the index, an `.npz` file of vectors, or the address of a server, as for
            `Index.connect`.
        far: false accept rate of "the same", where the index is calibrated; where its calibration
            cannot tell, the lowest that it can. Defaults to `1e-3`.
        threshold: the largest distance that is called the same, in place of `far`. Defaults to
            `None`.
        name: of an index on a server, as for `Index.connect`. Defaults to `None`: its default.
        model: of an index on a server, as for `Index.connect`. Defaults to `None`.

    Raises:
        ValueError: as `Index.open` and `Index.connect`, or if another argument is not as above.
    """

    def __init__(self, path, far=1e-3, threshold=None, *, name=None, model=None):
        self._address = str(path) if "://" in str(path) else None
        self._path = os.path.abspath(os.path.expanduser(path))
        self._name, self._model = name or "index", model
        self._far = check_number("far", far, above=0, below=1)
        self._threshold = threshold and check_number("threshold", threshold, least=0)
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(16)
        self._entries = collections.OrderedDict()
        self._pictures, self._held = collections.OrderedDict(), 0
        self._examples = {}
        self._contents, self._of, self._until = None, None, 0
        self._stamp = self._look()
        self._index = self._open()

    def _open(self):
        if self._address is None:
            return Index.open(self._path)
        return Index.connect(self._address, self._name, self._model, create=False)

    @property
    def name(self):
        """Of the index, without the folders above it."""
        return os.path.basename(self._path) if self._address is None else self._name

    @property
    def path(self):
        """Of the index; of one on a server its address without a password."""
        return self._path if self._address is None else str(self._index.path)

    @property
    def index(self):
        """The index, opened again if another one is in its place.

        Raises:
            Refusal: if it is gone.
        """
        stamp = self._look()
        with self._lock:
            if stamp != self._stamp:
                # The old one is closed when the last search in it has ended.
                try:
                    self._index = self._open()
                except ValueError as error:
                    raise Refusal(
                        503, f"The index {self.name} cannot be read just now.", {"Retry-After": "5"}
                    ) from error
                self._stamp = stamp
            return self._index

    def _look(self):
        """What tells that another index has taken the place of this one."""
        if self._address is not None:
            return None
        for name in (ROWS, ""):
            try:
                status = os.stat(os.path.join(self._path, name) if name else self._path)
                return status.st_dev, status.st_ino, 0 if name else status.st_mtime_ns
            except OSError:
                continue
        return None

    def warm(self, report=None):
        """Load the model and prepare the vectors: the first search is as quick as others then.

        Args:
            report: as for `Index.prepare`. Defaults to `None`.
        """
        self.index.prepare(report)

    @property
    def takes_pictures(self):
        """Whether the index has a model that takes images."""
        return self.index.takes_images

    def contents(self):
        """Labels, how many images have each, and how many there are; as of some seconds ago.

        Returns:
            `(labels, images)`: as `Index.labels`, and an integer.
        """
        index, now = self.index, time.monotonic()
        if now > self._until or self._of is not index:
            self._contents, self._of = (index.labels, len(index)), index
            self._until = now + _FRESH
        return self._contents

    def verdict(self):
        """What "the same" means here, a `Verdict`."""
        if self._threshold is not None:
            reason = f"at most {self._threshold:.3g}, as the server was told"
            return Verdict(self._threshold, None, reason)
        calibration = self.index.calibration
        if calibration is None or not calibration.points:
            return Verdict(None, None, "The index is not calibrated")
        try:
            point = calibration.point(self._far)
        except ValueError:
            point = calibration.points[-1]
        rate = f"1 in {1 / point.far:,.0f} pairs of two classes is as near"
        if calibration.has_few_classes:
            rate += f". It was settled on {calibration.classes} classes alone, which says little"
        return Verdict(point.threshold, point.far, f"at most {point.threshold:.3f}; {rate}")

    def search_pixels(self, pixels, k, where=None, threshold=None):
        """The nearest entries of a picture.

        Args:
            pixels: uint8, shape `(h, w, 3)`.
            k: how many.
            where: as for `Index.search`. Defaults to `None`.
            threshold: as for `Index.search`. Defaults to `None`.

        Returns:
            An `Answer`.

        Raises:
            ValueError: as `Index.search`.
        """
        begin, index = time.monotonic(), self.index
        vectors = index.embed_pictures([pixels])
        return self._answer(index, vectors, k, where, threshold, begin)

    def search_vector(self, vector, k, where=None, threshold=None):
        """The nearest entries of a vector; see `search_pixels`.

        Args:
            vector: D numbers.
            k: how many.
            where: as for `Index.search`. Defaults to `None`.
            threshold: as for `Index.search`. Defaults to `None`.

        Returns:
            An `Answer`.
        """
        begin, index = time.monotonic(), self.index
        try:
            vectors = np.asarray([vector], np.float64)
        except (ValueError, TypeError):
            raise ValueError("`vector` must be a list of numbers. Received: another") from None
        return self._answer(index, index.embed(vectors), k, where, threshold, begin)

    def search_entry(self, key, k, where=None, threshold=None):
        """The nearest other entries of one; see `search_pixels`.

        Args:
            key: its id.
            k: how many.
            where: as for `Index.search`. Defaults to `None`.
            threshold: as for `Index.search`. Defaults to `None`.

        Returns:
            An `Answer`.

        Raises:
            Refusal: if there is no such entry any more.
        """
        begin, entry, index = time.monotonic(), self.entry(key), self.index
        try:
            vectors = index.vectors([entry.hit.path or entry.hit.name])
        except ValueError as error:
            raise Refusal(404, "This image is no longer in the index. Search again.") from error
        answer = self._answer(index, vectors, k + 1, where, threshold, begin)
        others = [other for other in answer.entries if other.id != key][:k]
        return answer._replace(entries=others, query=entry)

    def _answer(self, index, vectors, k, where, threshold, begin):
        entries = self._search(index, vectors, k, where, threshold)
        seconds = time.monotonic() - begin
        return Answer(entries, self.verdict(), len(index), seconds)

    def _search(self, index, vectors, k, where, threshold):
        k = check_integer("k", k, least=1)
        [hits] = index.search(vectors, k, where=where, threshold=threshold)
        return [self._remember(hit) for hit in hits]

    def search_files(self, queries, k, where=None, threshold=None, far=None):
        """What `mdl-tf search` asks, in the same words as without a server.

        Args:
            queries: paths of image files.
            k: how many.
            where: as for `Index.search`. Defaults to `None`.
            threshold: as for `Index.search`. Defaults to `None`.
            far: as for `Index.threshold_at`, in place of `threshold`. Defaults to `None`.

        Returns:
            As `Index.search`.

        Raises:
            ValueError: as `Index.search`.
        """
        index = self.index
        if far is not None:
            threshold = index.threshold_at(far)
        return index.search(queries, k, where=where, threshold=threshold)

    def examples(self, count, label=None):
        """Some entries to begin with.

        Args:
            count: how many at most.
            label: that they must have. Defaults to `None`: any.

        Returns:
            A list of `Entry`s, the same ones for a minute.
        """
        index, now = self.index, time.monotonic()
        with self._lock:
            entries, until = self._examples.get(label, ((), 0))
        if now < until:
            return list(entries)
        if not len(index):
            return []
        # There is no call for any rows, but the neighbors of anything are some.
        vectors = np.random.default_rng(0).normal(size=(_DRAWN, index.width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        where = None if label is None else {"label": label}
        hits = {
            (hit.path or hit.name): hit
            for row in zip(*index.search(vectors, count, where=where), strict=True)
            for hit in row
        }
        entries = [self._remember(hit) for hit in list(hits.values())[:count]]
        with self._lock:
            if len(self._examples) > 100:
                self._examples.clear()
            self._examples[label] = entries, now + 60
        return entries

    def entry(self, key):
        """The entry of an id.

        Raises:
            Refusal: if there is none.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
        if entry is None:
            raise Refusal(404, "This image is of an earlier search. Search again.")
        return entry

    def _remember(self, hit):
        """The entry of a hit, which can be asked for from now on."""
        content = json.dumps([hit.path, hit.name]).encode()
        key = image_file.digest(self._secret + content)
        entry = Entry(key, hit)
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > _IDS:
                self._entries.popitem(last=False)
        return entry

    def picture(self, key):
        """A small picture of an entry.

        Args:
            key: its id.

        Returns:
            The bytes of a JPEG file; `None` if it has no file, or that cannot be read any more.

        Raises:
            Refusal: if there is no such entry.
        """
        path = self.entry(key).hit.path
        if not path:
            return None
        try:
            stamp = key, os.stat(path).st_mtime_ns
        except OSError:
            return None
        with self._lock:
            if stamp in self._pictures:
                self._pictures.move_to_end(stamp)
                return self._pictures[stamp]
        try:
            content = as_jpeg(image_file.thumbnail(path, SIDE))
        except Exception:  # each format has errors of its own
            return None
        with self._lock:
            self._held += len(content) - len(self._pictures.get(stamp, b""))
            self._pictures[stamp] = content
            while self._held > _PICTURES:
                self._held -= len(self._pictures.popitem(last=False)[1])
        return content


def as_jpeg(pixels):
    """Pixels as a JPEG file.

    Args:
        pixels: uint8, shape `(h, w, 3)`.

    Returns:
        Bytes.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()
