"""Classes by vote, against scikit-learn; and which are confused."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from mdl_tf.index import Index

RNG = np.random.default_rng(0)
LABELS = np.repeat(["ant", "bee", "cat", "dog"], 15)
CENTRES = RNG.normal(size=(4, 5))
VECTORS = (np.repeat(CENTRES, 15, axis=0) + 0.7 * RNG.normal(size=(60, 5))).astype(np.float32)


@pytest.fixture(scope="module")
def index():
    return Index.build(None, VECTORS, labels=LABELS)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_the_vote_is_that_of_scikit_learn(index, k):
    queries = np.concatenate([RNG.normal(size=(40, 5)), VECTORS[:3]]).astype(np.float32)
    theirs = KNeighborsClassifier(k, weights="distance").fit(VECTORS, LABELS)
    shares = theirs.predict_proba(queries)
    for answer, label, row in zip(
        index.classify(queries, k), theirs.predict(queries), shares, strict=True
    ):
        assert answer.label == label
        assert answer.share == pytest.approx(row.max(), rel=1e-5)
        expected = {name: s for name, s in zip(theirs.classes_, row, strict=True) if s}
        assert answer.shares == pytest.approx(expected, rel=1e-5)
        assert len(answer.hits) == k and list(answer.shares.values())[0] == answer.share


def test_nobody_near_enough_no_answer(index):
    [answer] = index.classify(np.full((1, 5), 100.0), threshold=3)
    assert answer == (None, 0.0, {}, [])
    [answer] = index.classify(VECTORS[:1], where={"label": "dog"})
    assert answer.label == "dog" and answer.share == 1


def test_confusion_of_the_index_leaves_each_image_out(index):
    answers = []
    for i in range(60):
        others = np.arange(60) != i
        theirs = KNeighborsClassifier(3, weights="distance").fit(VECTORS[others], LABELS[others])
        answers.append(theirs.predict(VECTORS[i : i + 1])[0])
    confusion = index.confusion(k=3)
    expected = confusion_matrix(LABELS, answers)
    np.testing.assert_array_equal(confusion.counts[:, :-1], expected)
    assert 0.3 < confusion.right == np.trace(expected) / 60 < 0.95
    worst = confusion.rows()[0]
    i = int(np.argmin(np.diag(expected)))
    assert (worst.label, worst.images) == (sorted(set(LABELS))[i], 15)
    assert worst.right == expected[i, i] / 15
    off = expected[i] * (np.arange(4) != i)
    assert (worst.confused_with, worst.confused) == (sorted(set(LABELS))[off.argmax()], off.max())


def test_copies_do_not_vote_for_themselves():
    # Five times the same vector, of five classes: each is left out by place, not by distance.
    index = Index.build(None, np.zeros((5, 2)), labels=list("abcde"))
    confusion = index.confusion(k=4)
    assert confusion.right == 0 and confusion.counts.sum() == 5


def test_no_labels():
    with pytest.raises(ValueError, match="must have labels"):
        Index.build(None, VECTORS).confusion()


def test_match_by_a_rate(index, tmp_path):
    index.save(tmp_path / "i")
    index = Index.open(tmp_path / "i")
    with pytest.raises(ValueError, match="must be calibrated"):
        index.match(VECTORS[:1])
    rng = np.random.default_rng(1)
    classes = rng.normal(size=(30, 5))
    others = (np.repeat(classes, 4, axis=0) + 0.3 * rng.normal(size=(120, 5))).astype(np.float32)
    names = np.repeat([f"class {i}" for i in range(30)], 4)
    calibration = index.calibrate(others, names)
    threshold = index.threshold_at(0.01)
    assert threshold == pytest.approx(calibration.point(0.01).threshold, rel=1e-8)
    # Kept with the index, and with its copies.
    index.save(tmp_path / "copy")
    again = Index.open(tmp_path / "copy")
    queries = np.concatenate([VECTORS[:2] + 0.9 * threshold * np.eye(5)[0], np.full((1, 5), 99.0)])
    near = np.linalg.norm(VECTORS - queries[0], axis=1).min()
    hits = again.match(queries, far=0.01)
    assert hits[0].distance == pytest.approx(near, rel=1e-5) and hits[2] is None
    assert again.match(queries[:1], threshold=0.99 * near) == [None]
    (tmp_path / "copy/calibration.json").write_text("{}")
    with pytest.raises(ValueError, match="must be one that was kept.*calibration.json"):
        again.match(queries)


@pytest.mark.parametrize(
    ("source", "labels", "message"),
    [
        (VECTORS, None, "`labels` must be as many as the vectors. Received: 0 labels, 60"),
        (VECTORS, LABELS[:3], "`labels` must be as many as the vectors. Received: 3 labels, 60"),
        (VECTORS, np.arange(60), "`labels` must hold a class with two images"),
        (VECTORS[:, :3], LABELS, "Vectors must have the 5 numbers"),
        ("nowhere", None, "folder that exists"),
    ],
)
def test_wrong_calibrations(index, source, labels, message):
    with pytest.raises(ValueError, match=message):
        index.calibrate(source, labels)
    assert index.calibration is None
