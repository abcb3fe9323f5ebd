"""An index against a slow oracle: a dict of rows, and distances one by one."""

import json
import operator
import threading

import numpy as np
import pytest

from mdl_tf.index import Index
from mdl_tf.index.store import Store

WIDTH = 6
COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Oracle:
    """Rows in a dict; everything else is a loop."""

    def __init__(self):
        self.rows = {}  # name: (vector, label, columns)

    def search(self, query, k, fits):
        found = [
            (float(np.sqrt(((np.float64(vector) - np.float64(query)) ** 2).sum())), name)
            for name, (vector, label, columns) in self.rows.items()
            if fits(name, label, columns)
        ]
        return sorted(found)[:k]


def draw(rng, count):
    # On a grid, so that distances are often equal, and exact.
    return rng.integers(-2, 3, (count, WIDTH)).astype(np.float32)


def check(index, oracle, rng):
    assert len(index) == len(oracle.rows)
    query = draw(rng, 1) + np.float32(0.25)
    filters = [
        (None, lambda *_: True),
        ({"label": "1"}, lambda name, label, columns: label == "1"),
        (
            {"size": {"<": 3}},
            lambda name, label, columns: "size" in columns and columns["size"] < 3,
        ),
        ({"label": ["0", "2"]}, lambda name, label, columns: label in ("0", "2")),
    ]
    for where, fits in filters:
        if where and "size" in where and "size" not in index.columns:
            continue
        hits = index.search(query, k=4, where=where)[0]
        expected = oracle.search(query[0], 4, fits)
        assert [hit.distance for hit in hits] == pytest.approx([d for d, _ in expected], abs=1e-6)
        for hit in hits:
            vector, label, columns = oracle.rows[hit.name]
            assert (hit.label, hit.columns) == (label, columns)
            assert hit.distance == pytest.approx(np.linalg.norm(vector - query[0]), abs=1e-6)
    if oracle.rows:
        # Everything is found, each once.
        [hits] = index.search(query, k=10**6)
        assert sorted(hit.name for hit in hits) == sorted(oracle.rows)


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_changes(tmp_path, monkeypatch, seed):
    monkeypatch.setattr("mdl_tf.index.store._HOLES", 5)
    rng, oracle = np.random.default_rng(seed), Oracle()
    index = Index.create(tmp_path / "first.index", None)
    for step in range(40):
        action = rng.choice(["add", "again", "remove", "open", "save"], p=[0.3, 0.2, 0.3, 0.1, 0.1])
        if action in ("add", "again"):
            count = int(rng.integers(1, 8))
            names = [f"{'x' if action == 'add' else step}{i}" for i in rng.permutation(20)[:count]]
            vectors, labels = draw(rng, count), rng.integers(0, 4, count)
            sizes = [int(size) if size < 5 else None for size in rng.integers(0, 7, count)]
            index.add(vectors, names=names, labels=labels, columns={"size": sizes})
            for i, name in enumerate(names):
                # What is not given of what is there already stays.
                old = oracle.rows.get(name, (None, None, {}))
                same = old[0] is not None and np.array_equal(old[0], vectors[i])
                columns = {} if sizes[i] is None else {"size": sizes[i]}
                columns = {**old[2], **columns} if same else columns
                oracle.rows[name] = (vectors[i], str(labels[i]), columns)
        elif action == "remove" and oracle.rows:
            names = list(rng.permutation(sorted(oracle.rows))[: rng.integers(1, 9)])
            assert index.remove(names) == len(names)
            for name in names:
                del oracle.rows[name]
        elif action == "open":
            index.close()
            index = Index.open(index.path)
        elif action == "save":
            index.save(tmp_path / f"{step}.index")
            index.close()
            index = Index.open(tmp_path / f"{step}.index")
            # Holes are gone.
            assert index._store.rows.end == len(oracle.rows)
        check(index, oracle, rng)


def test_many_holes_are_closed_up(tmp_path, monkeypatch):
    monkeypatch.setattr("mdl_tf.index.store._HOLES", 10)
    rng = np.random.default_rng(0)
    index = Index.create(tmp_path / "i", None)
    index.add(draw(rng, 100))
    before = index.search(draw(rng, 1), k=30)
    [file] = (tmp_path / "i").glob("vectors-*")
    assert file.stat().st_size == 100 * WIDTH * 4
    index.remove([str(i) for i in range(60)])
    [file] = (tmp_path / "i").glob("vectors-*")
    assert file.stat().st_size == 40 * WIDTH * 4
    left = [hit.name for hit in index.search(draw(rng, 1), k=100)[0]]
    assert sorted(left) == [str(i) for i in range(60, 100)]
    assert before


@pytest.mark.parametrize("moment", ["vectors", "rows", "commit"])
def test_a_kill_loses_the_unfinished_call_alone(tmp_path, monkeypatch, moment):
    rng = np.random.default_rng(0)
    path = tmp_path / "i"
    index = Index.create(path, None)
    vectors = draw(rng, 20)
    index.add(vectors[:10])

    class Kill(BaseException):
        pass

    def kill(*_, **__):
        raise Kill

    if moment == "vectors":
        monkeypatch.setattr("mdl_tf.index.vectors.os.fsync", kill)
    else:
        name = "add" if moment == "rows" else "mark_changed"
        monkeypatch.setattr(f"mdl_tf.index.rows.Rows.{name}", kill)
    with pytest.raises(Kill):
        index.add(vectors[10:], names=[str(i) for i in range(10, 20)])
    monkeypatch.undo()
    for again in (index, Index.open(path)):
        assert len(again) == 10
        assert again.search(vectors[3:4], k=1)[0][0].distance == 0
    again.add(vectors[10:], names=[str(i) for i in range(10, 20)])
    expected = np.linalg.norm(vectors - vectors[15], axis=1)
    distances = [hit.distance for hit in again.search(vectors[15:16], k=20)[0]]
    assert distances == pytest.approx(sorted(expected.tolist()), abs=1e-6)


def test_another_process_sees_what_is_added(tmp_path):
    first = Index.create(tmp_path / "i", None)
    first.add(np.eye(3, dtype=np.float32))
    second = Index.open(tmp_path / "i")
    query = np.array([[0, 0, 2]], np.float32)
    assert second.search(query, k=1)[0][0].distance == 1
    first.add(query, names=["new"])
    assert second.search(query, k=1)[0][0] == ("new", 0.0, None, "", {})
    first.remove("new")
    assert second.search(query, k=1)[0][0].name == "2"


def test_what_changes_during_a_search_is_searched_again(tmp_path, monkeypatch):
    """Places are numbered anew when holes are closed up: none may get another image's name."""
    monkeypatch.setattr("mdl_tf.index.store._HOLES", 1)
    index, other = Index.create(tmp_path / "i", None), None
    index.add(np.eye(6, dtype=np.float32))
    other = Index.open(tmp_path / "i")
    gallery = index._searcher._view

    def changed_meanwhile(where):
        found = gallery(where)
        if len(other) == 6:
            other.remove([str(i) for i in range(5)])
        return found

    monkeypatch.setattr(index._searcher, "_view", changed_meanwhile)
    [hits] = index.search(np.eye(6, dtype=np.float32)[5:], k=6)
    assert [(hit.name, hit.distance) for hit in hits] == [("5", 0.0)]


def test_threads_search_while_one_adds(tmp_path):
    rng = np.random.default_rng(0)
    index = Index.create(tmp_path / "i", None)
    index.add(draw(rng, 50))
    wrong = []

    def search():
        for _ in range(30):
            hits = index.search(np.zeros((1, WIDTH), np.float32), k=60)[0]
            distances = [hit.distance for hit in hits]
            if len(hits) < 50 or distances != sorted(distances):
                wrong.append(hits)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(10):
        index.add(draw(rng, 3), names=[f"{i} {j}" for j in range(3)])
    for thread in threads:
        thread.join()
    assert not wrong and len(index) == 80


FILTERS = [
    ({"label": "a"}, ["0", "1"]),
    ({"label": ["a", "c"]}, ["0", "1", "4"]),
    ({"label": None}, ["3"]),
    ({"label": {"!=": None}}, ["0", "1", "2", "4"]),
    ({"price": {"<": 10}}, ["0", "2"]),
    ({"price": {">=": 1.5, "<": 20}}, ["1", "2"]),
    ({"price": 12}, ["1"]),
    ({"price": None}, ["3", "4"]),
    ({"new": True, "label": "a"}, ["0"]),
    ({"a \"q' $.": "ü; DROP TABLE rows"}, ["2"]),
    ({"a \"q' $.": {"!=": "x"}}, ["2"]),
    ({"price": "12"}, []),
    ({"name": ["0", "3", "9"]}, ["0", "3"]),
    ({"label": []}, []),
]


@pytest.fixture(scope="module")
def filtered():
    columns = {
        "price": [1, 12, 2.5, None, None],
        "new": [True, False, None, True, None],
        "a \"q' $.": ["x", None, "ü; DROP TABLE rows", None, None],
    }
    labels = ["a", "a", "b", None, "c"]
    return Index.build(None, np.eye(5, dtype=np.float32), labels=labels, columns=columns)


@pytest.mark.parametrize(("where", "names"), FILTERS, ids=[str(where) for where, _ in FILTERS])
def test_filters(filtered, where, names):
    # As JSON has it, too.
    for asked in (where, json.loads(json.dumps(where))):
        [hits] = filtered.search(np.zeros((1, 5), np.float32), k=9, where=asked)
        assert sorted(hit.name for hit in hits) == names


def test_a_threshold_leaves_out_what_is_farther():
    index = Index.build(None, np.array([[0.0], [1.0], [2.0]]))
    for threshold, names in ((-1, []), (0, ["0"]), (1, ["0", "1"]), (1.5, ["0", "1"])):
        [hits] = index.search(np.array([[0.0]]), threshold=threshold)
        assert [hit.name for hit in hits] == names


def test_an_empty_index_finds_nothing(tmp_path):
    index = Index.create(tmp_path / "i", None)
    assert index.search(np.zeros((2, 3))) == [[], []]
    index.save(tmp_path / "copy")
    assert len(Index.open(tmp_path / "copy")) == 0


VECTORS = np.eye(3, dtype=np.float32)
WRONG = [
    (lambda i: i.search(np.zeros((1, 4))), "Vectors must have the 3 numbers .* Received: 4"),
    (lambda i: i.search(np.full((1, 3), np.nan)), "Vectors must be finite .* Received: NaN"),
    (lambda i: i.search(VECTORS, k=0), "`k` must be .* Received: k=0"),
    (lambda i: i.search(VECTORS, where={"size": 1}), "`where` must name columns .* 'size'"),
    (lambda i: i.search(VECTORS, where={"label": {"like": 1}}), "`where` .* comparisons .*'like'"),
    (lambda i: i.search(VECTORS, where={"label": {}}), "`where` must have comparisons"),
    (lambda i: i.search(VECTORS, where={"label": [None]}), "`where` must have None alone"),
    (lambda i: i.search(VECTORS, where={"label": {"<": None}}), "`where` must have None alone"),
    (lambda i: i.search(VECTORS, where={"label": np.nan}), "finite numbers.* Received: 'label'"),
    (lambda i: i.search(VECTORS, where="label"), "`where` must be a dict .* where='label'"),
    (lambda i: i.search([]), "`queries` must be at least one image file"),
    (lambda i: i.search("no.jpg"), "`queries` must be image files .* no.jpg is not there"),
    (
        lambda i: i.search(np.zeros((1, 8, 8, 3), np.uint8)),
        "`queries` must be vectors: .* no model",
    ),
    (lambda i: i.add(np.zeros((2, 4))), "Vectors must have the 3 numbers .* Received: 4"),
    (lambda i: i.add(np.zeros(3)), "Vectors must be .* Received: shape"),
    (lambda i: i.add(VECTORS, names=["a"]), "`names` must be as many .* 1 names, 3 vectors"),
    (lambda i: i.add(VECTORS, names=["a"] * 3), "`names` must be texts, each another"),
    (lambda i: i.add(VECTORS, labels=["a"]), "`labels` must be as many"),
    (
        lambda i: i.add(VECTORS, columns={"size": [1]}),
        "`columns` must have 3 values .* 1 of 'size'",
    ),
    (lambda i: i.add(VECTORS, columns={"label": [1] * 3}), "`columns` must have names .* 'label'"),
    (lambda i: i.add(VECTORS, columns={"a": [[1]] * 3}), "Columns must have texts.*'a': "),
    (lambda i: i.add(VECTORS, columns={"a": [2**70] * 3}), "Columns must have texts.*'a': "),
    (lambda i: i.add([1, 2]), "`source` must be a folder .* Received: list"),
    (lambda i: i.add("nowhere"), "folder that exists"),
    (lambda i: i.add("f.npz", names=["a"]), "`names` must be given with floats only"),
    (lambda i: i.remove("9"), "`names` must be of one image .*'9', which is not there"),
    (lambda i: i.remove(["0", "9"]), "`names` must be of one image .*'9', which is not there"),
    (lambda i: i.save(i.path), "`path` must not exist"),
    (lambda i: Index.open("nowhere.index"), "`path` must be the folder of an index"),
    (lambda i: Index.build("nowhere", VECTORS), "`model` must be a run folder"),
    (lambda i: Index.build(3, VECTORS), "`model` must be a run folder.* model=3"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_is_told_and_changes_nothing(call, message):
    index = Index.build(None, VECTORS)
    with pytest.raises(ValueError, match=message):
        call(index)
    assert len(index) == 3 and index.search(VECTORS[:1], k=3)[0][0].name == "0"


@pytest.mark.parametrize("damage", ["rows gone", "rows cut", "no rows", "vectors cut", "later"])
def test_a_damaged_index(tmp_path, damage):
    path = tmp_path / "i"
    index = Index.create(path, None)
    index.add(VECTORS)
    index.close()
    table, [vectors] = path / "rows.sqlite", path.glob("vectors-*")
    if damage == "rows gone":
        table.unlink()
    elif damage == "rows cut":
        table.write_bytes(table.read_bytes()[:5000])
    elif damage == "no rows":
        table.write_bytes(b"no table at all" * 100)
    elif damage == "vectors cut":
        vectors.write_bytes(vectors.read_bytes()[:-4])
    else:
        store = Store(path)
        store.rows.set_fact("version", 99)
        store.close()
    with pytest.raises(ValueError, match="(must be|must have).*Received: .*i"):
        Index.open(path).search(VECTORS)
