"""Groups without labels: against SciPy's linkage, and what is told of each image."""

import csv
import io

import numpy as np
import pytest
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from mdl_tf.index import Index, grouping
from mdl_tf.index.grouping import TooMany, find_components, group_by_linkage

RNG = np.random.default_rng(0)
LABELS = np.repeat(["ant", "bee", "cat", "dog"], [20, 15, 10, 5])
CENTRES = 3 * RNG.normal(size=(4, 6))
VECTORS = np.repeat(CENTRES, [20, 15, 10, 5], axis=0) + 0.3 * RNG.normal(size=(50, 6))
VECTORS = VECTORS.astype(np.float32)


@pytest.fixture(scope="module")
def index():
    return Index.build(None, VECTORS, labels=LABELS)


def numbers(groups, count=50):
    """The group of each vector; an outlier has one of its own."""
    result = -np.arange(count)
    for group in groups:
        result[[int(member.name) for member in group.members]] = group.number
    return result


def same(one, other):
    return adjusted_rand_score(one, other) == 1


@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 2), (9, 3), (400, 5), (700, 8)])
def test_average_linkage_up_to_a_distance_is_that_of_scipy(n, d):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n // 6 + 1, d))[rng.integers(0, n // 6 + 1, n)]
    x = (x + 0.2 * rng.normal(size=(n, d))).astype(np.float32)
    for threshold in (0.0, 0.3, 0.6, 1.0, 9.0):
        if n == 1:
            assert group_by_linkage(x, None, threshold).tolist() == [0]
            continue
        for method, grouped in (("average", group_by_linkage(x, None, threshold)),
                                ("single", find_components(x, threshold))):  # fmt: skip
            expected = fcluster(linkage(x.astype(np.float64), method), threshold, "distance")
            assert same(expected, grouped), (threshold, method)


def test_a_pair_exactly_at_the_distance_is_one_group_also_far_from_the_origin():
    for shift in (0, 1000):
        # 0.5 apart, exactly in float32; the third is one step farther.
        x = np.array([[0, 0], [0.5, 0], [1.0001, 0]], np.float32) + np.float32(shift)
        assert find_components(x, 0.5).tolist() == [0, 0, 1]
        assert group_by_linkage(x[:2], None, 0.5).tolist() == [0, 0]
        assert find_components(x, np.nextafter(0.5, 0)).tolist() == [0, 1, 2]
    copies = np.repeat(100 * RNG.normal(size=(40, 16)), 3, axis=0).astype(np.float32)
    assert same(np.repeat(np.arange(40), 3), find_components(copies, 0.0))


def test_methods_are_those_of_scikit_learn(index):
    found = index.cluster(k=7, seed=3)
    assert same(numbers(found), KMeans(7, n_init=1, random_state=3).fit_predict(VECTORS))
    found = index.cluster(smallest=6)
    expected = HDBSCAN(min_cluster_size=6, copy=True).fit_predict(VECTORS)
    assert same(numbers(found)[expected >= 0], expected[expected >= 0])
    assert len(found.outliers) == (expected < 0).sum() and found.kind == "hdbscan"
    tree = linkage(VECTORS.astype(np.float64), "average")
    expected = fcluster(tree, 9, "maxclust")
    assert same(numbers(index.cluster(k=9, method="agglomerative", smallest=1)), expected)
    assert same(numbers(index.cluster(threshold=0.7)), fcluster(tree, 0.7, "distance"))


def test_what_is_told_of_groups_and_their_images(index):
    groups = index.cluster(threshold=2.0)
    assert [len(group.members) for group in groups] == [20, 15, 10, 5]
    assert groups.agreement == (1, 1) and groups.images == 50 and not groups.outliers
    for group, label in zip(groups, ("ant", "bee", "cat", "dog"), strict=True):
        mine = VECTORS[label == LABELS].astype(np.float64)
        distances = np.linalg.norm(mine - mine.mean(axis=0), axis=1)
        assert [m.distance for m in group.members] == pytest.approx(sorted(distances))
        low, high = np.quantile(distances, [0.25, 0.75])
        typical = [m.distance <= high + 1.5 * (high - low) for m in group.members]
        assert [m.typical for m in group.members] == typical
        assert group.labels == [(label, len(mine))] and group.most_typical is group.members[0]
    # Some stay alone below a small distance.
    groups = index.cluster(threshold=0.5)
    assert groups.outliers and all(m.distance is None for m in groups.outliers)
    information = normalized_mutual_info_score(LABELS, numbers(groups))
    assert groups.agreement[0] == pytest.approx(information)
    assert len(index.cluster(threshold=0.5, where={"label": "dog"}).outliers) <= 5


def test_a_far_one_is_not_typical():
    x = np.concatenate([RNG.normal(size=(30, 3)), [[9, 0, 0]]])
    [group] = Index.build(None, x).cluster(k=1)
    assert [m.name for m in group.members if not m.typical][-1] == "30"
    assert group.members[0].typical


def test_the_threshold_of_a_calibrated_index(tmp_path):
    Index.build(None, VECTORS, labels=LABELS).save(tmp_path / "i")
    index = Index.open(tmp_path / "i")
    with pytest.raises(ValueError, match="`threshold` or `k` must be given .* not calibrated"):
        index.cluster(far=0.01)
    index.calibrate(VECTORS + 1, LABELS)
    found = index.cluster(far=0.05)
    tree = linkage(VECTORS.astype(np.float64), "average")
    assert same(numbers(found), fcluster(tree, index.threshold_at(0.05), "distance"))
    assert "where 1 in 22 pairs of two classes is as near" in found.method
    assert "1 in 100 pairs" in index.cluster().method
    index.calibrate(VECTORS[15:25], LABELS[15:25])  # 25 pairs of two classes
    assert "1 in 22 pairs" in index.cluster().method
    with pytest.raises(ValueError, match="`far` must be .* it saw 25 pairs"):
        index.cluster(far=0.01)


def test_near_duplicates():
    x = RNG.normal(size=(30, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    close = np.concatenate([x, x[:2] + 0.02, x[:1] - 0.02])
    index = Index.build(None, close, names=[f"{i:02d}" for i in range(33)])
    found = index.near_duplicates()
    named = [sorted(m.name for m in group.members) for group in found]
    assert named == [["00", "30", "32"], ["01", "31"]] and len(found.outliers) == 28
    assert len(index.near_duplicates(0.001)) == 0 and "0.0010 from another" in repr(
        index.near_duplicates(0.001)
    )
    assert len(index.near_duplicates(9).groups) == 1
    assert len(index) == 33


def test_too_many_are_refused_before_they_are_compared(index, monkeypatch):
    monkeypatch.setattr(grouping, "LARGEST", {"hdbscan": 49, "agglomerative": 19})
    with pytest.raises(TooMany, match="`method` 'hdbscan' takes at most 49 .* Received: 50"):
        index.cluster()
    with pytest.raises(TooMany, match="`method` 'agglomerative' takes at most 19"):
        index.cluster(k=3, method="agglomerative")
    with pytest.raises(TooMany, match="more than 19 of them hang together"):
        index.cluster(threshold=2.0)
    # Of which no more hang together.
    assert len(index.cluster(threshold=2.0, where={"label": ["bee", "cat"]})) == 2
    assert len(index.cluster(k=4)) == 4


@pytest.mark.slow
def test_many_by_k_means_in_parts():
    rng = np.random.default_rng(0)
    x = np.repeat(9 * rng.normal(size=(40, 8)), 11_000, axis=0)
    x = (x + rng.normal(size=x.shape)).astype(np.float32)
    found = grouping.group_by_k_means(x, 40)
    assert adjusted_rand_score(np.repeat(np.arange(40), 11_000), found) > 0.7


def test_the_table_has_every_image_once_and_no_formula():
    labels = ["=1+1", "b", "b", "b"]
    x = np.array([[0, 0], [0, 0.1], [0, 0.3], [5, 5]])
    index = Index.build(None, x, names=["@x", "y", "line\nend", "alone"], labels=labels)
    groups = index.cluster(threshold=1.0)
    rows = list(csv.reader(io.StringIO(groups.to_csv())))
    assert rows[0] == ["image", "group", "distance", "typical", "label", "path"]
    assert rows[1:] == [
        ["y", "1", "0.033333", "yes", "b", ""],
        ["'@x", "1", "0.133333", "yes", "'=1+1", ""],
        ["line end", "1", "0.166667", "yes", "b", ""],
        ["alone", "", "", "no", "b", ""],
    ]


def test_the_page_shows_the_largest_first_and_escapes_names(tmp_path):
    for i in range(9):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (40, 20), (25 * i, 0, 0)).save(tmp_path / f"photos/<b>{i}.png")
    (tmp_path / "photos/<b>7.png").unlink()
    members = [groups_member(tmp_path, i, 0.1 * i, i < 6) for i in range(8)]
    from mdl_tf.index.groups import Groups

    groups = Groups([members[:1], members[1:]], [groups_member(tmp_path, 8, None, False)], "a", "b")
    told = []
    page = groups.to_html("<i>photos", lambda *numbers: told.append(numbers))
    assert told[-1] == (9, 9)
    assert "<b>0" not in page and "<title>&lt;i&gt;photos</title>" in page
    assert page.index("Group 1 <small>7 images, 2 unusual") < page.index("Group 2 <small>1 image<")
    assert page.count("data:image/jpeg;base64,") == 8 and page.count("file is gone") == 1
    assert page.count("most typical</b>") == 2 and page.count("unusual</b>") == 2
    assert (
        "In no group <small>1 image<" in page
        and "8 images of 9 in 2 groups, and 1 image in" in page
    )
    assert "http" not in page.replace("http-equiv", "")


def groups_member(folder, i, distance, typical):
    from mdl_tf.index.groups import Member

    return Member(f"<b>{i}.png", distance, typical, None, str(folder / f"photos/<b>{i}.png"))


def test_a_page_of_vectors_names_them(index):
    page = index.cluster(k=2).to_html()
    assert page.count('<ul class="names">') == 2 and "Labels: ant" in page
    assert "Agreement with the labels: NMI 0." in page


WRONG = [
    ({"k": 0}, "`k` must be"),
    ({"k": 51}, "`k` must be at most the number of images, 50. Received: k=51"),
    ({"method": "dbscan"}, "`method` must be"),
    ({"method": "kmeans"}, "`k` must be given with `method` 'kmeans'"),
    ({"method": "hdbscan", "k": 3}, "`k` must be left out with `method` 'hdbscan'"),
    ({"k": 3, "threshold": 1.0}, "`threshold` must be given with `method` 'agglomerative'"),
    ({"method": "hdbscan", "far": 0.1}, "`far` must be given with `method` 'agglomerative'"),
    ({"threshold": 1.0, "far": 0.1}, "must not be given together"),
    ({"threshold": -1.0}, "`threshold` must be"),
    ({"smallest": 0}, "`smallest` must be"),
    ({"where": {"label": "eel"}}, "must have an image that fits `where`"),
    ({"method": "agglomerative"}, "as the index is not calibrated"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_calls(index, options, message):
    with pytest.raises(ValueError, match=message):
        index.cluster(**options)


def test_wrong_calls_of_near_duplicates(index):
    with pytest.raises(ValueError, match="`threshold` must be"):
        index.near_duplicates(-1)
    with pytest.raises(ValueError, match="`threshold` must be"):
        index.near_duplicates(float("nan"))
