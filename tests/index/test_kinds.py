"""Approximate kinds: what they may lose is recall, and nothing else."""

import shutil
import sys

import numpy as np
import pytest

from mdl_tf import cli
from mdl_tf.index import Index, Kind

COUNT, WIDTH = 3000, 12
APPROXIMATE = ("ivf", "hnsw", "pq")
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(60, WIDTH))
VECTORS = (CENTRES[RNG.integers(0, 60, COUNT)] + 0.3 * RNG.normal(size=(COUNT, WIDTH))).astype("f4")
QUERIES = (CENTRES[:40] + 0.3 * RNG.normal(size=(40, WIDTH))).astype("f4")
SIZES = list(range(COUNT))


@pytest.fixture
def small(monkeypatch):
    """Filters are not searched exactly because they leave few, nor later places wait long."""
    monkeypatch.setattr("mdl_tf.index.searching._FEW", 50)
    monkeypatch.setattr("mdl_tf.index.searching._FEW_SHARE", 0.01)
    monkeypatch.setattr("mdl_tf.index.searching._tail", lambda count: 20)


@pytest.fixture(scope="module")
def exact():
    return Index.build(None, VECTORS, columns={"size": SIZES})


def build(path, kind):
    index = Index.create(path, None)
    index.add(VECTORS, columns={"size": SIZES})
    index.set_kind(kind)
    return index


def true_recall(index, k=10):
    shares = []
    for query, hits in zip(QUERIES, index.search(QUERIES, k), strict=True):
        far = np.sort(((VECTORS.astype(float) - query) ** 2).sum(axis=1)) ** 0.5
        shares.append(np.mean([hit.distance <= far[k - 1] + 1e-9 for hit in hits]))
    return np.mean(shares)


@pytest.mark.slow
def test_flat_equals_exact(tmp_path, exact, small):
    index = build(tmp_path / "i", "flat")
    assert index.kind.recall == 1
    for where in (None, {"size": {"<": 2000}}, {"size": {"<": 5}}, {"size": -1}):
        for k in (1, 10, 700, 5000):
            queries = QUERIES[: 2 if k > 10 else 40]
            assert index.search(queries, k, where=where) == exact.search(queries, k, where=where)
    assert index.search(QUERIES, 5, threshold=0.9) == exact.search(QUERIES, 5, threshold=0.9)
    assert index.classify(QUERIES[:3]) == exact.classify(QUERIES[:3])


@pytest.mark.slow
def test_poor_candidates_are_measured_as_poor(monkeypatch, small):
    index = Index.build(None, VECTORS)
    monkeypatch.setattr(
        "mdl_tf.index.approximate.Approximate.candidates",
        lambda self, queries, k, *_: np.tile(np.arange(k, 3 * k), (len(queries), 1)),
    )
    assert index.set_kind("ivf").recall < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_equal_distances_are_ordered_by_age(tmp_path, small, kind):
    # Each vector four times, far apart in age.
    vectors = np.concatenate([VECTORS[:600]] * 4)
    exact, index = Index.build(None, vectors), Index.create(tmp_path / "i", None)
    index.add(vectors)
    index.set_kind(kind)
    assert index.search(vectors[:50], 6) == exact.search(vectors[:50], 6)
    assert [hit.name for hit in index.search(vectors[:1], 4)[0]] == ["0", "600", "1200", "1800"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_recall_is_what_was_measured(tmp_path, exact, small, kind, capsys):
    index = Index.build(None, VECTORS, kind=kind, columns={"size": SIZES})
    told = capsys.readouterr().out
    assert told.startswith(f"{kind} (") and f"recall@10 {index.kind.recall:.3f} against" in told
    assert index.kind.recall > 0.9 and true_recall(index) > 0.9
    # Distances are those of the vectors, in float64, whatever FAISS keeps.
    found = {hit.name: hit.distance for hit in index.search(QUERIES[:1])[0]}
    expected = {hit.name: hit.distance for hit in exact.search(QUERIES[:1], 100)[0]}
    assert all(expected[name] == distance for name, distance in found.items())
    hits = index.search(QUERIES, 10, where={"size": {"<": 500}})
    assert all(len(row) == 10 and max(h.columns["size"] for h in row) < 500 for row in hits)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_it_follows_what_is_added_and_removed(tmp_path, small, kind):
    path = tmp_path / "i"
    index, reader = build(path, kind), Index.open(path)
    assert reader.search(QUERIES[:1], 1) == index.search(QUERIES[:1], 1)
    # A few wait and are found, many are taken in; removed ones are never found.
    for count in (5, 40):
        new = (QUERIES[:count] * 1.0001).astype("f4")
        names = [f"{count} {i}" for i in range(len(new))]
        index.add(new, names=names)
        for opened in (index, reader, Index.open(path)):
            assert [row[0].name for row in opened.search(new, 1)] == names
        index.remove(names)
        for opened in (index, reader):
            hits = opened.search(new, 10)
            assert not {hit.name for row in hits for hit in row} & set(names)
    # The same name with another vector.
    index.add(QUERIES[:1], names=["7"])
    assert reader.search(QUERIES[:1], 1)[0][0][:2] == ("7", 0.0)
    assert "7" not in [hit.name for hit in reader.search(VECTORS[7:8], 5)[0]]
    assert len(list(path.glob("*.faiss"))) == 1
    index.save(tmp_path / "copy")
    copy = Index.open(tmp_path / "copy")
    assert copy.kind == index.kind and len(list((tmp_path / "copy").glob("*.faiss"))) == 1
    assert copy.search(QUERIES, 10) == index.search(QUERIES, 10)
    # More holes than rows: closed up and made anew.
    index.remove([str(i) for i in range(10, 2000)])
    assert len(index) < 2000 and index.kind == Kind(kind) and not list(path.glob("*.faiss"))
    assert "fewer than 2,000" in str(index.kind)
    index.add(VECTORS[:1500])
    assert index.kind.recall > 0.9 and index.kind.rows == len(index)


@pytest.mark.slow
def test_what_was_made_may_be_lost(tmp_path, small):
    path = tmp_path / "i"
    index = build(path, "ivf")
    expected = index.search(QUERIES, 5)
    [file] = path.glob("*.faiss")
    for content in (None, b"no index", file.read_bytes()[:1000]):
        file.unlink()
        if content:
            file.write_bytes(content)
        assert Index.open(path).search(QUERIES, 5) == expected
    # A file that goes beyond what there is belongs to another copy.
    index.add(QUERIES, names=[f"q{i}" for i in range(40)])
    [longer] = path.glob("*.faiss")
    copy = tmp_path / "copy"
    build(copy, "ivf")
    shutil.copyfile(longer, copy / longer.name)
    other = Index.open(copy)
    other.add(VECTORS[:30] + 9, names=[f"new {i}" for i in range(30)])
    assert [row[0].name for row in other.search(VECTORS[:30] + 9, 1)][0] == "new 0"
    assert other.search(QUERIES, 5) == expected


@pytest.mark.slow
def test_kill_after_the_rows(tmp_path, small, monkeypatch):
    index = build(tmp_path / "i", "hnsw")

    class Kill(BaseException):
        pass

    def kill(*_):
        raise Kill

    monkeypatch.setattr("mdl_tf.index.approximate.Approximate.write", kill)
    new = (QUERIES * 1.0001).astype("f4")
    with pytest.raises(Kill):
        index.add(new, names=[f"new {i}" for i in range(40)])
    monkeypatch.undo()
    for opened in (index, Index.open(tmp_path / "i")):
        assert len(opened) == COUNT + 40
        assert [row[0].name for row in opened.search(new, 1)] == [f"new {i}" for i in range(40)]


@pytest.mark.slow
def test_from_a_few_to_many_and_back(tmp_path, capsys):
    np.savez(tmp_path / "few.npz", features=VECTORS[:500], labels=np.arange(500) % 50)
    np.savez(tmp_path / "many.npz", features=VECTORS, labels=np.arange(COUNT) % 50)
    path = str(tmp_path / "i")
    arguments = ["index", "build", "none", str(tmp_path / "few.npz"), "-o", path, "--kind", "ivf"]
    assert cli.main(arguments) == 0
    assert "ivf, searched exactly while there are fewer than 2,000" in capsys.readouterr().out
    assert cli.main(["index", "add", path, str(tmp_path / "many.npz")]) == 0
    assert cli.main(["index", "show", path]) == 0
    assert "Search: ivf (clusters 64, probes" in capsys.readouterr().out
    assert cli.main(["index", "kind", path, "hnsw"]) == 0
    assert "hnsw (links 32, beam" in capsys.readouterr().out
    assert Index.open(path).kind.name == "hnsw"
    assert cli.main(["index", "kind", path, "exact"]) == 0
    assert "Search: exact" in capsys.readouterr().out and not list((tmp_path / "i").glob("*.faiss"))


def test_without_the_package(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faiss", None)
    message = r"pip install 'mdl_tf\[faiss\]'"
    for call in (
        lambda: Index.build(None, VECTORS, kind="ivf"),
        lambda: Index.build(None, VECTORS).set_kind("hnsw"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match="`kind` must be .* kind='fast'"):
        Index.build(None, VECTORS, kind="fast")
    output = tmp_path / "i"
    np.savez(tmp_path / "f.npz", features=VECTORS[:9], labels=np.arange(9) % 3)
    arguments = ["none", str(tmp_path / "f.npz"), "-o", str(output), "--kind", "ivf"]
    assert cli.main(["index", "build", *arguments]) == 2
    error = capsys.readouterr().err
    assert "mdl_tf[faiss]" in error and error.count("\n") == 1 and not output.exists()
