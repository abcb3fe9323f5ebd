"""Any sequence of changes, of any kind, against a slow oracle: a dict of rows and a loop."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from mdl_tf.index import Index
from mdl_tf.metrics import nearest_neighbors, recall_at_k

WIDTH = 3
NAMES = st.lists(st.integers(0, 40).map(str), min_size=1, max_size=12, unique=True)
# Limits so small that everything happens within a few steps.
SMALL = {
    "mdl_tf.index.store._HOLES": 6,
    "mdl_tf.index.kinds.FEW": 20,
    "mdl_tf.index.searching._FEW": 2,
    "mdl_tf.index.searching._FEW_SHARE": 0.0,
    "mdl_tf.index.searching._TAIL": 3,
    "mdl_tf.index.approximate._PER_CLUSTER": 8,
}


class Kill(BaseException):
    """The end of the process, for the code that it meets."""


class Changes(RuleBasedStateMachine):
    """An index, and a dict from name to (vector, label, age)."""

    kind = "exact"

    @initialize()
    def create(self):
        self.folder = Path(tempfile.mkdtemp())
        self.patches = [mock.patch(name, value) for name, value in SMALL.items()]
        for patch in self.patches:
            patch.start()
        self.rows, self.age, self.number = {}, 0, 0
        self.index = Index.create(self.folder / "0", None, self.kind)

    def teardown(self):
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    def draw(self, names, seed):
        rng = np.random.default_rng(seed)
        # On a grid, so that distances are often equal, and exact.
        return rng.integers(-2, 3, (len(names), WIDTH)).astype("f4"), rng.integers(0, 3, len(names))

    def parts(self, names, vectors, labels):
        """What a call puts one after the other: what is embedded, what is there, labels alone."""
        there = {row[0].tobytes() for row in self.rows.values()}
        parts = [], [], []
        for row in zip(names, vectors, labels, strict=True):
            old = self.rows.get(row[0])
            is_same = old is not None and np.array_equal(old[0], row[1])
            if not is_same:
                parts[row[1].tobytes() in there].append(row)
            elif old[1] != str(row[2]):
                parts[2].append(row)
        return parts

    def keep(self, *parts):
        for name, vector, label in itertools.chain(*parts[:2]):
            self.age += 1
            self.rows[name] = (vector, str(label), self.age)
        for name, vector, label in itertools.chain(*parts[2:]):
            self.rows[name] = (vector, str(label), self.rows[name][2])

    def is_kept(self, part):
        """Whether the index has a part, which it has as a whole or not at all."""
        found = []
        for name, vector, label in part:
            [row] = self.index._store.named(name) or [None]
            same = row is not None and row.label == str(label)
            found.append(same and np.array_equal(self.index.vectors([name])[0], vector))
        assert len(set(found)) <= 1
        return all(found)

    @rule(names=NAMES, seed=st.integers(0, 9))
    def add(self, names, seed):
        vectors, labels = self.draw(names, seed)
        parts = self.parts(names, vectors, labels)
        self.index.add(vectors, names=names, labels=labels)
        self.keep(*parts)

    @rule(seed=st.integers(0, 9))
    def add_many(self, seed):
        self.add([f"many {i}" for i in range(30)], seed)

    @rule(share=st.floats(0.1, 1), seed=st.integers(0, 9))
    def remove(self, share, seed):
        order = np.random.default_rng(seed).permutation(sorted(self.rows))
        names = order[: int(len(order) * share)].tolist()
        if names:
            assert self.index.remove(names) == len(names)
            for name in names:
                del self.rows[name]

    @rule()
    def open(self):
        self.index.close()
        self.index = Index.open(self.index.path)

    @rule()
    def save(self):
        self.number += 1
        path = self.folder / str(self.number)
        self.index.save(path)
        self.index.close()
        self.index = Index.open(path)

    @rule(
        names=NAMES,
        seed=st.integers(0, 9),
        moment=st.sampled_from(["vectors", "rows", "commit", "made", "replace"]),
    )
    def kill(self, names, seed, moment):
        vectors, labels = self.draw(names, seed)
        where = {
            "vectors": "mdl_tf.index.vectors.os.fsync",
            "rows": "mdl_tf.index.rows.Rows.add",
            "commit": "mdl_tf.index.rows.Rows.mark_changed",
            "made": "mdl_tf.index.approximate.Approximate.write",
            "replace": "mdl_tf.index.store.Path.unlink",
        }[moment]
        parts, kept = self.parts(names, vectors, labels), 0
        with mock.patch(where, side_effect=Kill):
            try:
                self.index.add(vectors, names=names, labels=labels)
                kept = 3
            except Kill:
                # What comes after the rows is derived from them.
                kept = 3 if moment == "made" else 0
        self.index.close()
        self.index = Index.open(self.index.path)
        if not kept and moment == "replace":
            # Behind the first part, the second, or all and the file that FAISS makes of them.
            kept = 1 + self.is_kept(parts[1])
            kept += kept == 2 and self.is_kept(parts[2])
        self.keep(*parts[:kept])

    @invariant()
    def equals_the_oracle(self):
        assert len(self.index) == len(self.rows)
        query = np.full(WIDTH, 0.25, "f4")
        for where in (None, {"label": ["0", "1"]}):
            expected = sorted(
                (float(np.sqrt(((vector.astype(float) - query) ** 2).sum())), age, name)
                for name, (vector, label, age) in self.rows.items()
                if where is None or label in where["label"]
            )
            for k in (1, 4, 1000):
                [hits] = self.index.search(query[None], k, where=where)
                # None twice, none that is gone, each with its own distance and label.
                assert len(hits) == min(k, len(expected))
                true = {name: far for far, _, name in expected}
                assert len({hit.name for hit in hits}) == len(hits)
                for hit in hits:
                    assert hit.distance == pytest.approx(true[hit.name], abs=1e-12)
                    assert hit.label == self.rows[hit.name][1]
                keys = [(hit.distance, self.rows[hit.name][2]) for hit in hits]
                assert keys == sorted(keys)
                if self.kind in ("exact", "flat") or k == 1000:
                    assert [hit.distance for hit in hits] == pytest.approx(
                        [far for far, _, _ in expected[:k]], abs=1e-12
                    )
                if self.kind == "exact" or k == 1000:
                    assert [hit.name for hit in hits] == [name for _, _, name in expected[:k]]


def check(kind, examples, steps):
    if kind != "exact":
        import faiss

        # Its threads wait for each other; there is little to do.
        faiss.omp_set_num_threads(1)
    machine = type(f"Changes_{kind}", (Changes,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # A shorter example would cost minutes of training.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_exact():
    check("exact", 8, 12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "pq"])
def test_approximate(kind):
    check(kind, 4, 10)


@pytest.mark.longest
@pytest.mark.parametrize("kind", ["exact", "flat", "ivf", "hnsw", "pq"])
def test_many_sequences(kind):
    check(kind, 60, 30)


def test_exact_equals_the_metrics():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(90, 6)), np.arange(90) % 9
    vectors += 1.5 * rng.normal(size=(9, 6))[labels]
    index = Index.build(None, vectors, labels=labels)
    near, far = nearest_neighbors(vectors.astype("f4"), k=4)
    right = []
    for i, hits in enumerate(index.search(vectors, 5)):
        assert hits[0].name == str(i)
        assert [int(hit.name) for hit in hits[1:]] == near[i].tolist()
        assert [hit.distance for hit in hits[1:]] == far[i].tolist()
        right.append(hits[1].label == str(labels[i]))
    assert np.mean(right) == recall_at_k(vectors.astype("f4"), labels, k=1)


WRITER = """
import sys
import numpy as np
from mdl_tf.index import Index, store
store._HOLES = 8
index, number = Index.open(sys.argv[1]), 0
while True:
    names = [f"{number} {i}" for i in range(40)]
    index.add(np.full((40, 3), number, "f4"), names=names)
    print("added", number, flush=True)
    if number >= 2:
        index.remove([f"{number - 2} {i}" for i in range(40)])
        print("removed", number - 2, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path):
    """Of what the writer has told, all is there; of the rest, a call as a whole or not at all."""
    rng = np.random.default_rng(0)
    for attempt in range(4):
        path = tmp_path / str(attempt)
        Index.create(path, None).close()
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        told = [writer.stdout.readline() for _ in range(rng.integers(3, 12))]
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.readlines()
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        told = [line.split() for line in told if line.endswith("\n")]
        with Index.open(path) as index:
            [hits] = index.search(np.zeros((1, 3)), 10**6)
            left = {}
            for hit in hits:
                number = hit.name.split()[0]
                left[number] = left.get(number, 0) + 1
                assert hit.distance == pytest.approx(int(number) * 3**0.5)
            assert set(left.values()) <= {40}
            expected = {n for what, n in told if what == "added"}
            expected -= {n for what, n in told if what == "removed"}
            # One more call may have been finished, and not told.
            assert len(expected ^ set(left)) <= 1
            index.add(np.full((1, 3), 1e6, "f4"), names=["after"])
            assert index.search(np.full((1, 3), 1e6), 1)[0][0].name == "after"
