"""An index on a PostgreSQL server: the same answers as that of a folder."""

import itertools
import sys
import threading

import keras
import numpy as np
import pytest
from helpers.models import average_colour
from PIL import Image

from mdl_tf import cli
from mdl_tf.index import Index
from mdl_tf.index.postgres_where import as_sql
from mdl_tf.serve.refusal import Refusal
from mdl_tf.serve.service import Service

NUMBERS = itertools.count()
RNG = np.random.default_rng(0)


@pytest.fixture
def connect(server):
    made = []

    def connect(name=None, **options):
        made.append(Index.connect(server, name or f"index {next(NUMBERS)}", **options))
        return made[-1]

    yield connect
    for index in made:
        index.close()


def grid(count, width=4):
    # Distances are often equal.
    return RNG.integers(-2, 3, (count, width)).astype("f4")


WHERE = [
    None,
    {"label": "a"},
    {"label": ["a", "c"]},
    {"label": None},
    {"label": {"!=": None}},
    {"label": {"<": "b"}},
    {"label": {"!=": "a"}},
    {"label": []},
    {"name": ["0", "3", "999999"]},
    {"name": 3},
    {"root": ""},
    {"price": {"<": 10}},
    {"price": {">=": 1.5, "<": 20}},
    {"price": 12},
    {"price": 12.0},
    {"price": [12, 2.5, "x"]},
    {"price": None},
    {"price": {"!=": None}},
    {"price": {"!=": 12}},
    {"price": "12"},
    {"new": True, "label": "a"},
    {"new": 1},
    {"new": {"<": True}},
    {"mixed": {"<": "m"}},
    {"mixed": {">": 0.3}},
    {"mixed": {"=": 0.1 + 0.2}},
    {"mixed": {"!=": "x"}},
    {"a \"q' %s ? $.": "ü; DROP TABLE rows"},
    {"a \"q' %s ? $.": {"!=": "x"}},
]


@pytest.mark.slow
def test_it_equals_an_index_of_a_folder(connect, tmp_path):
    vectors, count = grid(700), 700
    labels = RNG.choice(["a", "b", "c", "Ä", None], count).tolist()
    columns = {
        "price": RNG.choice([1, 12, 2.5, 2**60, None], count).tolist(),
        "new": RNG.choice([True, False, None], count).tolist(),
        "mixed": [[0.1 + 0.2, "x", "a", 0.3, True, None, -7][i % 7] for i in range(count)],
        "a \"q' %s ? $.": RNG.choice(["x", "ü; DROP TABLE rows", None], count).tolist(),
    }
    ours, folder = connect(), Index.create(tmp_path / "i", None)
    queries = np.concatenate([vectors[:3], grid(3) + np.float32(0.25)])
    for index in (ours, folder):
        assert index.search(queries) == [[]] * 6 and len(index) == 0 and index.width is None
        options = {"labels": labels, "columns": columns}
        assert index.add(vectors, **options)[:4] == (count, 0, 0, 0)
        assert index.add(vectors, **options)[:4] == (0, 0, count, 0)
        # Others take their place, and are the youngest then.
        assert index.add(vectors[5:25] + 1, names=[str(i) for i in range(20)])[:2] == (0, 20)
        assert index.add(vectors[40:50], labels=["new"] * 10, names=[str(i) for i in range(40, 50)])
        assert index.remove([str(i) for i in range(100, 200)]) == 100
        with pytest.raises(ValueError, match="which is not there"):
            index.remove(["3", "100"])
    assert len(ours) == len(folder) == count - 100
    assert ours.labels == folder.labels and ours.columns == folder.columns
    for k, filters in ((7, WHERE), (1, WHERE[:2]), (3000, WHERE[:2])):
        for where in filters:
            expected = folder.search(queries, k, where=where)
            assert ours.search(queries, k, where=where) == expected, where
    assert ours.search(queries, 5, threshold=1.1) == folder.search(queries, 5, threshold=1.1)
    assert ours.classify(queries, 5) == folder.classify(queries, 5)
    assert (ours.confusion(k=3).counts == folder.confusion(k=3).counts).all()
    calibration = ours.calibrate(vectors[:600], np.arange(600) % 20)
    theirs = folder.calibrate(vectors[:600], np.arange(600) % 20)
    assert ours.calibration.to_json() == theirs.to_json() == calibration.to_json()
    assert ours.match(queries, far=0.1) == folder.match(queries, far=0.1)
    for wrong in ({"size": 1}, {"label": {"like": 1}}):
        with pytest.raises(ValueError, match="`where` must"):
            ours.search(queries, where=wrong)
    with pytest.raises(ValueError, match="Vectors must have the 4 numbers"):
        ours.add(np.zeros((1, 5)))
    ours.save(tmp_path / "copy")
    copy = Index.open(tmp_path / "copy")
    assert copy.search(queries, 9) == ours.search(queries, 9) and copy.threshold_at(0.1)


def test_filters_are_never_part_of_the_text():
    for where in WHERE:
        text, values = as_sql(where, {"price", "new", "mixed", "a \"q' %s ? $."})
        assert "DROP" not in text and "a \"q'" not in text and text.count("%s") == len(values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_kinds_of_a_server(connect, kind):
    centres = RNG.normal(size=(40, 8))
    vectors = (centres[RNG.integers(0, 40, 2500)] + 0.3 * RNG.normal(size=(2500, 8))).astype("f4")
    index, exact = connect(), Index.build(None, vectors, labels=np.arange(2500) % 50)
    index.add(vectors[:500], labels=np.arange(500) % 50)
    assert index.set_kind(kind).is_exact and "searched exactly" in str(index.kind)
    index.add(vectors, labels=np.arange(2500) % 50)
    assert index.kind.recall > 0.95 and index.kind.rows == 2500
    true, ours = exact.search(vectors[:50] + 0.1, 10), index.search(vectors[:50] + 0.1, 10)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(names(true), names(ours), strict=True)]
    assert np.mean(shares) > 0.9
    # A filter that leaves few, and more than an index would give.
    where = {"label": "7"}
    assert index.search(vectors[:3], 60, where=where) == exact.search(vectors[:3], 60, where=where)
    assert len(index.search(vectors[:1], 2400)[0]) == 2400
    index.remove([str(i) for i in range(100)])
    assert min(int(hit.name) for hit in index.search(vectors[:1], 50)[0]) >= 100
    assert index.set_kind("exact").is_exact
    with pytest.raises(ValueError, match="`kind` must be .* kind='pq'"):
        index.set_kind("pq")


def names(hits):
    return [[hit.name for hit in row] for row in hits]


@pytest.mark.slow
def test_many_writers(connect):
    first = connect()
    others = [connect(first._store.name) for _ in range(4)]
    wrong = []

    def write(index, number):
        try:
            for i in range(5):
                # The same names by all, and some of its own.
                index.add(grid(20) + number, names=[f"shared {j}" for j in range(20)])
                index.add(grid(5), names=[f"{number} {i} {j}" for j in range(5)])
                index.search(grid(1), 5)
            index.remove([f"{number} 0 {j}" for j in range(5)])
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(x, n)) for n, x in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(first) == 20 + 4 * 20
    found = sorted(hit.name for hit in first.search(grid(1), 999)[0])
    assert len(set(found)) == 100


@pytest.mark.slow
def test_a_lost_connection_is_made_again(connect):
    index, other = connect(), connect()
    index.add(grid(9))
    other._store._server.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND application_name = 'mdl_tf'"
    )
    with pytest.raises(ValueError, match="The server must answer"):
        index.search(grid(1))
    assert len(index.search(grid(1), 9)[0]) == 9


@pytest.mark.slow
def test_images_and_their_model(connect, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    average_colour().save("colours.keras")
    for name, colour in {
        "a/x.png": (250, 0, 0),
        "a/y.png": (9, 0, 0),
        "b/z.png": (0, 9, 0),
    }.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), colour).save(tmp_path / "photos" / name)
    index = connect("photos", model="colours.keras")
    assert index.add("photos")[:4] == (3, 0, 0, 0) and index.sync("photos")[:4] == (0, 0, 3, 0)
    # The model is found where it was; elsewhere it has to be told.
    again = connect("photos", create=False)
    assert again.search(["photos/a/x.png"], 1)[0][0].name == "a/x.png"
    (tmp_path / "colours.keras").rename("moved.keras")
    far = connect("photos")
    assert far.search(np.array([[1.0, 0, 0]]), 1)[0][0].name == "a/x.png"
    for call in (
        lambda: far.search(["photos/a/x.png"]),
        lambda: far.add("photos"),
        lambda: far.add(np.eye(3)),
        lambda: far.save("copy"),
    ):
        with pytest.raises(ValueError, match="must have its model"):
            call()
    index = connect("photos", model="moved.keras")
    (tmp_path / "photos/a/x.png").unlink()
    assert index.sync("photos")[:4] == (0, 0, 2, 1)
    index.save("copy")
    assert Index.open("copy").search(["photos/b/z.png"], 1)[0][0].distance < 1e-6
    with pytest.raises(ValueError, match="`model` must be the one that the vectors"):
        connect("photos", model=keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="`name` must be of an index that is there"):
        connect("nowhere", create=False)


@pytest.mark.slow
def test_the_command_line(server, tmp_path, capsys):
    np.savez(tmp_path / "f.npz", features=grid(40), labels=np.arange(40) % 4)
    source = str(tmp_path / "f.npz")

    def run(*arguments):
        code = cli.main(list(arguments))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    code, out, _ = run("index", "build", "none", source, "-o", server, "--name", "cli")
    assert code == 0 and "40 added" in out
    code, _, error = run("index", "build", "none", source, "-o", server, "--name", "cli")
    assert code == 2 and "go on with `mdl-tf index add" in error
    code, out, _ = run("index", "add", server, source, "--name", "cli")
    assert code == 0 and "0 added, 0 changed, 40 as they were" in out
    code, out, _ = run("index", "remove", server, "f/0", "--name", "cli")
    assert code == 0 and out == "1 removed, 39 left\n"
    code, out, _ = run("index", "show", server, "--name", "cli")
    assert code == 0 and "39 vectors of 4 numbers" in out and "Search: exact" in out
    code, _, error = run("index", "show", server, "--name", "nowhere")
    assert code == 2 and "must be of an index that is there" in error and error.count("\n") == 1
    code, _, error = run("search", server, "no.jpg", "--name", "cli")
    assert code == 2 and error.count("\n") == 1


SECRET = "geheim/ü 1"
QUOTED = "geheim%2F%C3%BC%201"


@pytest.mark.slow
def test_a_password_is_written_nowhere(server, tmp_path, capsys, monkeypatch):
    secret = server.replace("postgres:@", f"postgres:{QUOTED}@")
    assert QUOTED in secret
    monkeypatch.chdir(tmp_path)
    np.savez("f.npz", features=grid(40), labels=np.arange(40) % 4)
    index = Index.connect(secret, "secret")
    index.add(grid(3))
    texts = [repr(index), str(index.path), repr(index._store), repr(vars(index._store))]
    texts.append(repr(vars(index._store._server)))
    index.save("copy")
    texts += [str(path.read_bytes()) for path in (tmp_path / "copy").iterdir()]
    texts.append(str(index._store._server.fetch("SELECT * FROM mdl_tf_indexes")))
    wrong = [
        secret.replace("postgresql://", "postgresql://x y"),
        secret.replace("host=", "hosst="),
        f"postgresql://postgres:{QUOTED}@localhost:1/postgres",
        f"postgresql://postgres:{QUOTED}@localhost:port/postgres",
        f"postgresql://nobody:{QUOTED}@/nothing?{server.split('?')[1]}",
    ]
    for address in wrong:
        with pytest.raises(ValueError) as told:
            Index.connect(address, "x")
        texts += [str(told.value), str(told.value.__cause__)]
        for arguments in (
            ["index", "build", "none", "f.npz", "-o", address],
            ["index", "show", address],
            ["index", "add", address, "f.npz"],
            ["search", address, "q.jpg"],
        ):
            assert cli.main(arguments) == 2
    for arguments in (
        ["index", "build", "none", "f.npz", "-o", secret, "--name", "secret"],
        ["index", "show", secret, "--name", "secret"],
        ["index", "add", secret, "f.npz", "--name", "secret"],
        ["search", secret, "q.jpg", "--name", "secret"],
    ):
        cli.main(arguments)
    with pytest.raises(ValueError) as told:
        Index.create(secret, None)
    shown = capsys.readouterr()
    texts += [str(told.value), shown.out, shown.err]
    for text in texts:
        assert "geheim" not in text


def test_without_the_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"pip install 'mdl_tf\[postgres\]'"):
        Index.connect("postgresql://nowhere/x")


@pytest.mark.slow
def test_it_is_served(connect, server):
    index = connect("served")
    index.add(RNG.normal(size=(30, 4)).astype("f4"), labels=["a", "b"] * 15)
    service = Service(server, name="served", threshold=1.0)
    service.warm()
    [entry] = service.examples(1, "b")
    answer = service.search_entry(entry.id, 5, {"label": "b"})
    [expected] = index.search(index.vectors(entry.hit.name), 6, where={"label": "b"})
    assert [found.hit for found in answer.entries] == expected[1:]
    index.remove(entry.hit.name)
    with pytest.raises(Refusal, match="no longer in the index"):
        service.search_entry(entry.id, 5)
    with pytest.raises(ValueError, match="of an index that is there"):
        Service(server, name="nobody's")
