"""Integer arguments of metrics and callbacks: NumPy's are taken, booleans and others refused."""

import numpy as np
import pytest

from mdl_tf.callbacks import NeighborBoard, RetrievalMetrics, projector
from mdl_tf.callbacks.summaries import write_test
from mdl_tf.datasets import ImageSet
from mdl_tf.metrics import cluster, evaluate, nearest_neighbors, recall_at_k, sample_distances

LABELS = np.repeat(np.arange(3), 4)
POINTS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
IMAGES = ImageSet("set", LABELS, tuple("abc"), images=np.zeros((12, 4, 4, 3), np.uint8))
RETRIEVAL = RetrievalMetrics((IMAGES.images, LABELS))


def measure_recall(folder, **argument):
    recall_at_k(POINTS, LABELS, **argument)


def search(folder, **argument):
    nearest_neighbors(POINTS, **argument)


def sample(folder, **argument):
    sample_distances(POINTS, LABELS, **argument)


def group(folder, **argument):
    cluster(POINTS, **{"n_clusters": 3, **argument})


def measure(folder, **argument):
    evaluate(POINTS, LABELS, clustering=True, **argument)


def watch(folder, **argument):
    RetrievalMetrics((IMAGES.images, LABELS), **argument)


def show(folder, **argument):
    NeighborBoard(RETRIEVAL, IMAGES, folder, **argument)


def summarize(folder, **argument):
    write_test(folder, 0, "trained", {}, ([1.0], [2.0]), IMAGES, POINTS, **argument)


def project(folder, **argument):
    projector.write(folder, "trained", POINTS, IMAGES, **argument)


# The smallest and the largest value of each argument.
CASES = [
    (measure_recall, "k", 1, None),
    (search, "k", 1, 11),
    (sample, "n_pairs", 1, None),
    (sample, "seed", 0, None),
    (group, "n_clusters", 1, 12),
    (group, "seed", 0, 2**32 - 1),
    (measure, "seed", 0, 2**32 - 1),
    (watch, "every", 1, None),
    (watch, "clustering_every", 0, None),
    (watch, "seed", 0, 2**32 - 1),
    (show, "queries", 1, None),
    (show, "neighbors", 1, None),
    (show, "seed", 0, None),
    (summarize, "queries", 1, None),
    (summarize, "neighbors", 1, None),
    (summarize, "seed", 0, None),
    (project, "images", 1, None),
    (project, "classes", 1, None),
    (project, "side", 1, None),
    (project, "seed", 0, None),
]


@pytest.mark.parametrize(("call", "name", "least", "most"), CASES)
def test_integers_are_taken_and_others_refused(call, name, least, most, tmp_path):
    for value in (least + 1, np.int64(least), np.uint8(least + 2)):
        call(tmp_path, **{name: value})
    out_of_range = [least - 1]
    if most is not None:
        call(tmp_path, **{name: most})
        out_of_range.append(most + 1)
    for value in (True, False, np.True_, 2.0, np.float32(2), "2", None, [2], *out_of_range):
        with pytest.raises(ValueError) as raised:
            call(tmp_path, **{name: value})
        assert str(raised.value).startswith(f"`{name}` must be an integer, at least {least}")
        assert str(raised.value).endswith(f" Received: {name}={value!r}")


@pytest.mark.parametrize("call", [evaluate, lambda points, labels, ks: watch("", ks=ks)])
def test_the_same_of_each_k(call):
    for ks in ((1, 2), [np.int64(3)], np.array([4, 5])):
        call(POINTS, LABELS, ks=ks)
    for ks in ((1, True), (1.0,), ("1",), (0,), "12", 3, None):
        with pytest.raises(ValueError) as raised:
            call(POINTS, LABELS, ks=ks)
        assert str(raised.value) == (
            f"`ks` must be positive integers, such as (1, 2, 4, 8). Received: ks={ks!r}"
        )
