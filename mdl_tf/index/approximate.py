"""Approximate search with FAISS: it proposes candidates, the vectors themselves decide.

What FAISS makes is derived from the vectors and may be lost: row i of it is place i of the file of
vectors, as far as it goes. Later places are compared one by one until they are added; those of
removed rows are passed over.
"""

import re

import numpy as np

from mdl_tf.files import replacing
from mdl_tf.index.kinds import count_clusters

_ROWS = 2**16  # added at a time
_PER_CLUSTER = 128  # vectors to learn a cluster from
_CODE_BITS = 4  # of a code, of which FAISS compares 32 in one instruction
_PATTERN = re.compile(r"([a-z]+)-(\d+)-(\d+)\.faiss")


def import_faiss():
    """The package, which is an extra.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise ValueError(
            "Approximate search needs FAISS: pip install 'mdl_tf[faiss]'. Received: no package "
            "faiss"
        ) from None
    return faiss


def has_faiss():
    """Whether the package is installed; rows can be changed without it."""
    try:
        import_faiss()
    except ValueError:
        return False
    return True


def describe(name, width, count):
    """What FAISS shall make of so many vectors.

    Args:
        name: one of `KINDS`.
        width: D.
        count: of vectors.

    Returns:
        `(factory, settings)`: a text for `faiss.index_factory`, and it in words.
    """
    if name == "flat":
        return "Flat", {}
    if name == "hnsw":
        return "HNSW32,Flat", {"links": 32}
    clusters = count_clusters(count)
    if name == "ivf":
        return f"IVF{clusters},Flat", {"clusters": clusters}
    codes = max((n for n in range(1, width // 2 + 1) if width % n == 0), default=1)
    # Of a prime number of numbers: each has a code.
    codes = width if codes == 1 else codes
    settings = {"clusters": clusters, "codes": codes, "bits a code": _CODE_BITS}
    return f"IVF{clusters},PQ{codes}x{_CODE_BITS}fs", settings


def steps(name, clusters):
    """What a search may look at, the cheapest first; dicts for `Approximate.candidates`."""
    if name == "flat":
        return [{}]
    if name == "hnsw":
        return [{"beam": beam} for beam in (32, 64, 128, 256, 512)]
    probes = [2**n for n in range(2, 10) if 2**n < clusters] + [clusters]
    if name == "ivf":
        return [{"probes": n} for n in probes]
    return [
        {"probes": n, "candidates": candidates}
        for n, candidates in zip(probes, (8, 16, 32, 64, 64, 64, 64, 64, 64), strict=False)
    ]


class Approximate:
    """What FAISS has made of the first places of a file of vectors.

    Args:
        name: one of `KINDS`.
        index: of FAISS.
    """

    def __init__(self, name, index):
        self.name, self._index = name, index

    def __len__(self):
        return self._index.ntotal

    @classmethod
    def build(cls, name, vectors, places, progress=None):
        """Learn from the vectors that count, and take in all, holes as well.

        Args:
            name: one of `KINDS`, approximate.
            vectors: by place, `(P, D)` float32.
            places: those that count, int64, shape `(n,)`.
            progress: a function of (vectors done, vectors). Defaults to `None`.
        """
        faiss = import_faiss()
        factory, settings = describe(name, vectors.shape[1], len(places))
        index = faiss.index_factory(vectors.shape[1], factory)
        wanted = _PER_CLUSTER * settings.get("clusters", 1)
        step = max(1, len(places) // wanted)
        if not index.is_trained:
            index.train(np.ascontiguousarray(vectors[places[::step]]))
        made = cls(name, index)
        made._take_in(vectors, progress)
        return made

    def extended(self, vectors):
        """Another one with later vectors as well; this one may be in use."""
        made = Approximate(self.name, import_faiss().clone_index(self._index))
        made._take_in(vectors)
        return made

    def _take_in(self, vectors, progress=None):
        for start in range(len(self), len(vectors), _ROWS):
            self._index.add(np.ascontiguousarray(vectors[start : start + _ROWS]))
            if progress:
                progress(len(self), len(vectors))

    def candidates(self, queries, k, settings, mask=None):
        """Places that are likely to be the nearest.

        Args:
            queries: `(q, D)` float32.
            k: how many are wanted; a few more are given.
            settings: one of `steps`.
            mask: which of the places of this count, booleans. Defaults to `None`: all.

        Returns:
            Places in no order, -1 where there are no more, `(q, c)` int64.
        """
        faiss = import_faiss()
        # Rounding of float32 must not cost one of the last.
        count = k * settings["candidates"] + 64 if self.name == "pq" else k + k // 4 + 16
        count = min(count, len(self))
        share = 1.0 if mask is None else max(mask.mean(), 1e-3)
        chosen = {}
        if mask is not None:
            bits = np.packbits(mask, bitorder="little")
            chosen["sel"] = faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(bits))
        if self.name == "hnsw":
            beam = max(settings["beam"] / share, 2 * count)
            parameters = faiss.SearchParametersHNSW(efSearch=int(beam), **chosen)
        elif self.name == "flat":
            parameters = faiss.SearchParameters(**chosen)
        else:
            clusters = self._index.nlist
            enough = 4 * count * clusters / len(self)
            probes = int(min(clusters, max(settings["probes"], enough) / share))
            parameters = faiss.SearchParametersIVF(nprobe=max(1, probes), **chosen)
        return self._index.search(np.ascontiguousarray(queries), count, params=parameters)[1]

    def write(self, folder, generation):
        """Write a file, and remove what it makes superfluous.

        Args:
            folder: of the index.
            generation: of the file of vectors.
        """
        path = folder / f"{self.name}-{generation}-{len(self)}.faiss"
        with replacing(path) as temporary:
            import_faiss().write_index(self._index, str(temporary))
        for other in folder.glob("*.faiss"):
            if _PATTERN.fullmatch(other.name) and other != path:
                other.unlink(missing_ok=True)


def find(folder, name, generation, end):
    """The longest file of a folder that does not go beyond what is there; `(path, rows)` or `None`.

    A file that goes beyond is of a copy, whose later places hold something else.

    Args:
        folder: of the index.
        name: one of `KINDS`.
        generation: of the file of vectors.
        end: places that were ever written in it.
    """
    files = [(path, _PATTERN.fullmatch(path.name)) for path in folder.glob("*.faiss")]
    rows = {
        int(match[3]): path
        for path, match in files
        if match and match[1] == name and int(match[2]) == generation and int(match[3]) <= end
    }
    return (rows[max(rows)], max(rows)) if rows else None


def read(name, path):
    """What `Approximate.write` has written; `None` if it is gone or damaged."""
    faiss = import_faiss()
    try:
        return Approximate(name, faiss.read_index(str(path)))
    except RuntimeError:
        return None
