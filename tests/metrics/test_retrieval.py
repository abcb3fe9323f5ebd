"""`retrieval` against slow loops written from the definitions, on sets full of ties."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from mdl_tf.metrics import neighbors, retrieval, shortlist
from mdl_tf.metrics.gallery import Gallery
from mdl_tf.metrics.neighbors import nearest_neighbors, prepare
from mdl_tf.metrics.retrieval import rank_queries, sample_distances

FLOATS = ("r_precision", "average_precision_at_r", "nearest_negative", "farthest_positive")


def slow_ranks(embeddings, labels, gallery=None, gallery_labels=None):
    """One dict per query, in float64, by sorting the whole gallery with negatives first on ties."""
    itself = gallery is None
    if itself:
        gallery, gallery_labels = embeddings, labels
    embeddings = np.asarray(embeddings, np.float64)
    gallery = np.asarray(gallery, np.float64)
    result = []
    for i, query in enumerate(embeddings):
        pairs = []
        for j, image in enumerate(gallery):
            if not (itself and i == j):
                same = int(gallery_labels[j]) == int(labels[i])
                pairs.append((float(((query - image) ** 2).sum()), same))
        pairs.sort()  # False sorts before True: a tied negative ranks first
        relevant = [same for _, same in pairs]
        total = sum(relevant)
        negatives = [d for d, same in pairs if not same]
        if total == 0:
            result.append(dict(positives=0, first_rank=0, strict=False) | dict.fromkeys(FLOATS))
            continue
        hits, precisions = 0, []
        for rank, same in enumerate(relevant[:total], start=1):
            hits += same
            precisions.append(same * hits / rank)
        result.append(
            dict(
                positives=total,
                first_rank=relevant.index(True) + 1,
                r_precision=hits / total,
                average_precision_at_r=sum(precisions) / total,
                strict=hits == total,
                nearest_negative=min(negatives, default=np.inf) ** 0.5,
                farthest_positive=max(d for d, same in pairs if same) ** 0.5,
            )
        )
    return result


def assert_equals_loops(embeddings, labels, gallery=None, gallery_labels=None, atol=1e-12):
    ranks = rank_queries(embeddings, labels, gallery=gallery, gallery_labels=gallery_labels)
    expected = slow_ranks(embeddings, labels, gallery, gallery_labels)
    for name in ranks._fields:
        numbers = getattr(ranks, name)
        wanted = [np.nan if row[name] is None else row[name] for row in expected]
        if name in FLOATS:
            np.testing.assert_allclose(numbers, wanted, rtol=1e-9, atol=atol, err_msg=name)
        else:
            assert numbers.tolist() == wanted, name
    return ranks


def lattice(n, seed, side=3, dims=3):
    """Points with small integer coordinates: duplicates, and ties at every distance."""
    return np.random.default_rng(seed).integers(0, side, (n, dims)).astype(np.float32)


@pytest.fixture(params=["as it chooses", "float32 first", "float64 alone"])
def way(request, monkeypatch):
    """Both ways through the same sets, in blocks of 7 queries and tiles of 11 images."""
    if request.param == "as it chooses":
        return
    for module in (retrieval, neighbors):
        monkeypatch.setattr(module, "_TILE_COLUMNS", 11)
    monkeypatch.setattr(retrieval, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(shortlist, "ROWS", 7)
    monkeypatch.setattr(shortlist, "_TILE", 1)
    monkeypatch.setattr(shortlist, "_NARROWEST", 11)
    if request.param == "float32 first":
        monkeypatch.setattr(shortlist, "PAIR", 0)  # always worth its while, never too long
    else:
        monkeypatch.setattr(shortlist, "WIDEST", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("classes", [2, 5, 30])
def test_ties_and_duplicates(classes):
    labels = np.random.default_rng(classes).integers(0, classes, 90)
    ranks = assert_equals_loops(lattice(90, seed=classes), labels)
    assert len(np.unique(ranks.first_rank)) > 3  # neither all easy nor all hopeless


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("classes", [2, 12, 60])
def test_classes_from_scattered_to_separate(classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 120)
    for spread in (0.05, 0.4, 3.0):
        centres = rng.normal(size=(classes, 8))
        assert_equals_loops(centres[labels] + spread * rng.normal(size=(120, 8)), labels)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("classes", [15, 400])
def test_a_set_of_several_tiles(classes, monkeypatch):
    # NumPy sorts small arrays where it should only partition them, so a small set proves less.
    monkeypatch.setattr(shortlist, "ROWS", 256)
    monkeypatch.setattr(shortlist, "_NARROWEST", 512)
    monkeypatch.setattr(retrieval, "_TILE_COLUMNS", 1024)
    monkeypatch.setattr(retrieval, "_BLOCK_ROWS", 256)
    rng = np.random.default_rng(classes)
    labels = rng.permutation(2500) % classes
    points = rng.integers(-2, 3, (classes, 6))[labels] + rng.integers(-2, 3, (2500, 6))
    ranks = rank_queries(points, labels)
    for i in range(0, 2500, 5):
        others = np.arange(2500) != i
        far, same = ((points - points[i]) ** 2).sum(axis=1)[others], labels[others] == labels[i]
        same = same[np.lexsort([same, far])]
        total = same.sum()
        precision = np.cumsum(same)[:total] / np.arange(1, total + 1)
        assert ranks.positives[i] == total
        assert ranks.first_rank[i] == 1 + same.argmax()
        assert ranks.r_precision[i] == same[:total].mean()
        average = (precision * same[:total]).sum() / total
        assert ranks.average_precision_at_r[i] == pytest.approx(average, abs=1e-12)


@pytest.mark.usefixtures("way")
def test_tie_between_a_positive_and_a_negative_counts_against_the_query():
    ranks = rank_queries([[0.0], [1.0], [-1.0]], [7, 7, 8])
    assert ranks.first_rank[0] == 2
    assert ranks.r_precision[0] == 0
    assert not ranks.strict[0]


@pytest.mark.usefixtures("way")
def test_duplicated_images_with_other_labels():
    base = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    labels = np.concatenate([np.arange(20) % 5, np.arange(20) % 4])
    ranks = assert_equals_loops(np.concatenate([base, base]), labels)
    assert (ranks.nearest_negative == 0).any() and (ranks.nearest_negative > 0).any()


@pytest.mark.usefixtures("way")
def test_negative_exactly_at_the_farthest_positive_breaks_strictness_only():
    # Query at 0; positives at 1 and 2, negative at -2: r = 1 has rank 1, r = 2 has rank 3.
    ranks = rank_queries([[0.0], [1.0], [2.0], [-2.0]], [0, 0, 0, 1])
    assert (ranks.first_rank[0], ranks.r_precision[0]) == (1, 1 / 2)
    assert (ranks.strict[0], ranks.average_precision_at_r[0]) == (False, 1 / 2)


@pytest.mark.usefixtures("way")
def test_all_equal_is_zero_not_chance():
    labels = np.arange(60) // 5
    for value in (0.0, 0.1, 1e3):
        ranks = rank_queries(np.full((60, 128), value, np.float32), labels)
        assert (ranks.first_rank == 56).all()  # behind all 55 negatives
        assert not ranks.strict.any()
        assert (ranks.r_precision == 0).all()
        assert (ranks.average_precision_at_r == 0).all()
        assert (ranks.nearest_negative == 0).all()


@pytest.mark.usefixtures("way")
def test_lone_queries_are_marked_and_still_negatives_of_others():
    labels = np.array([0, 0, 1, 2, 2, 2, 3] * 4)
    labels[10:] += 100
    labels[[2, 6]] = 50, 51
    ranks = assert_equals_loops(lattice(28, seed=1), labels)
    assert (ranks.positives[[2, 6]] == 0).all()
    assert np.isnan(ranks.r_precision[2])


@pytest.mark.usefixtures("way")
def test_queries_without_negatives_are_strict_at_infinite_distance():
    ranks = assert_equals_loops(lattice(9, seed=2), np.zeros(9, int))
    assert ranks.strict.all()
    assert (ranks.nearest_negative == np.inf).all()


@pytest.mark.usefixtures("way")
def test_separate_gallery_excludes_nobody():
    rng = np.random.default_rng(3)
    queries, gallery = lattice(40, seed=3), lattice(70, seed=4)
    labels, gallery_labels = rng.integers(0, 9, 40), rng.integers(3, 12, 70)
    ranks = assert_equals_loops(queries, labels, gallery, gallery_labels)
    assert (ranks.positives == 0).any() and (ranks.positives > 0).any()
    same = rank_queries(queries, labels, gallery=queries, gallery_labels=labels)
    assert (same.farthest_positive >= 0).all() and (same.positives > 0).all()
    one = rank_queries(queries[:1], labels[:1], gallery=queries[:1], gallery_labels=labels[:1])
    assert (one.positives[0], one.first_rank[0], one.farthest_positive[0]) == (1, 1, 0)


@pytest.mark.usefixtures("way")
def test_far_outliers_and_huge_norms_do_not_blur_the_rest():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 10, 80)
    points = lattice(80, seed=5).astype(np.float64)
    points[[3, 50]] = [[1e12, 0, 0], [0, -1e9, 5]]
    assert_equals_loops(points, labels)
    assert_equals_loops(rng.normal(size=(80, 6)) * 10.0 ** rng.integers(0, 12, (80, 1)), labels)
    assert_equals_loops((lattice(80, seed=6) * 1e30).astype(np.float32), labels)


@pytest.mark.usefixtures("way")
def test_cluster_huddled_far_from_the_origin():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 12, 100)
    points = (1000 + 1e-3 * rng.normal(size=(100, 32))).astype(np.float32)
    assert_equals_loops(points, labels)
    # Differences that float32 does not see are seen in float64.
    assert_equals_loops(1 + 1e-9 * rng.normal(size=(100, 8)), labels, atol=1e-16)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int8, np.uint8])
def test_any_dtype_is_read_without_loss(dtype):
    labels = np.random.default_rng(7).integers(0, 6, 50)
    points = lattice(50, seed=7)
    for ours, wanted in zip(
        rank_queries(points.astype(dtype), labels), rank_queries(points, labels), strict=True
    ):
        np.testing.assert_array_equal(ours, wanted)
    rng = np.random.default_rng(8)
    assert_equals_loops((10 * rng.normal(size=(50, 16))).clip(0, 99).astype(dtype), labels)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype, start", [(np.int64, 2**53), (np.uint64, 2**64 - 90), ("int8", -9)])
def test_label_ids_that_floats_would_merge(dtype, start):
    small = np.random.default_rng(9).integers(0, 20, 60)
    large = np.array([start + int(x) for x in small], dtype)
    assert_equals_loops(lattice(60, seed=9), large)
    for a, b in zip(
        rank_queries(lattice(60, 9), large), rank_queries(lattice(60, 9), small), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("way")
def test_signed_queries_find_unsigned_gallery():
    # NumPy compares int64 with uint64 as float64, where 2^53 and 2^53 + 1 are one.
    ids = np.array([2**53, 2**53 + 1, -1])
    gallery_ids = np.array([2**53 + 1, 2**53, 2**64 - 1], np.uint64)
    points = np.arange(3.0)[:, None]
    ranks = rank_queries(points, ids, gallery=points, gallery_labels=gallery_ids)
    assert ranks.positives.tolist() == [1, 1, 0]
    assert ranks.farthest_positive[:2].tolist() == [1, 1]


@pytest.mark.usefixtures("way")
def test_order_of_the_images_changes_nothing():
    rng = np.random.default_rng(10)
    for points in (lattice(100, seed=10), rng.normal(size=(100, 16)).astype(np.float32)):
        labels, shuffle = rng.integers(0, 20, 100), rng.permutation(100)
        straight, shuffled = (
            rank_queries(points, labels),
            rank_queries(points[shuffle], labels[shuffle]),
        )
        for a, b in zip(straight, shuffled, strict=True):
            np.testing.assert_array_equal(a[shuffle], b)


def nearly_equal_pairs(n, seed, scale=1.0):
    """Unit vectors and, in the second half, each of them again with other digits far behind."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 12))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return scale * np.concatenate([points, points + 1e-9 * rng.normal(size=(n, 12))])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e120])
def test_differences_that_float32_does_not_see_are_decided(scale):
    points = nearly_equal_pairs(60, 1, scale)
    # An image and its shadow are of two classes: float32 cannot tell which is nearer to a third.
    labels = np.concatenate([np.arange(60) % 6, np.arange(60) % 6 + 6])
    ranks = assert_equals_loops(points, labels, atol=1e-9 * scale)
    coarse = (points / scale).astype(np.float32).astype(np.float64)
    by_rounding = [row["first_rank"] for row in slow_ranks(coarse, labels)]
    assert (ranks.first_rank != by_rounding).mean() > 0.1
    indices, distances = nearest_neighbors(points, k=7)
    expected, far = slow_neighbors(points, points, 7, itself=True)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, far, rtol=1e-12)


@pytest.mark.usefixtures("way")
def test_cosine_order_is_that_of_unit_vectors():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(80, 16)) * 10.0 ** rng.integers(-3, 4, (80, 1))
    labels = np.arange(80) % 9
    unit = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    cosines = 1 - unit.astype(np.float64) @ unit.T.astype(np.float64)
    ranks = assert_equals_loops(unit, labels)
    for i in range(80):
        same = labels == labels[i]
        same[i] = False
        first = cosines[i, same].min()
        assert ranks.first_rank[i] == 1 + (cosines[i, labels != labels[i]] <= first).sum()


@pytest.mark.parametrize("width", [1, 3, 64, 1000])
@pytest.mark.parametrize("kind", ["normal", "lattice", "outlier", "small", "large", "huddled"])
def test_no_coarse_key_is_off_by_more_than_its_bound(kind, width):
    rng = np.random.default_rng(width)
    points = rng.normal(size=(60, width))
    points = {
        "normal": points,
        "lattice": np.round(points),
        "outlier": np.concatenate([points[:-1], 1e15 * points[-1:]]),
        "small": 1e-140 * points,
        "large": 1e140 * points,
        "huddled": 1000 + 1e-4 * points,
    }[kind]
    prepared = Gallery(points, rng.permutation(60))
    for asked in (points, 1e-3 * points, 1e4 * points):
        queries = prepared.queries(asked)
        fine = prepared.fine_tile(queries.fine, 0, 60)
        off = np.abs(queries.coarse @ prepared.coarse.T - fine * queries.unit)
        error = prepared.coarse_error(queries, fine)
        assert (off <= error).all()
        assert np.isfinite(error).all() and (error <= 1e-4).all()
        low, high = prepared.coarse_bounds(queries, fine)
        assert (low <= queries.coarse @ prepared.coarse.T).all()
        assert (high > queries.coarse @ prepared.coarse.T).all()


def test_collapsed_embeddings_are_compared_in_float64_at_once(monkeypatch):
    choose, given_up = retrieval._choose_closer_negatives, []

    def spy(*arguments):
        given_up.append(choose(*arguments))
        return given_up[-1]

    monkeypatch.setattr(retrieval, "_choose_closer_negatives", spy)
    labels = np.arange(1200) // 5
    ranks = rank_queries(np.full((1200, 8), 0.1, np.float32), labels)
    assert (ranks.first_rank == 1196).all()
    assert given_up and all(counts is None for counts in given_up)
    rank_queries(np.random.default_rng(0).normal(size=(1200, 8)), labels)
    assert given_up[-1] is not None


def test_a_query_in_the_middle_of_all_others_is_tied_with_them(monkeypatch):
    monkeypatch.setattr(shortlist, "_TABLE", 2**18)
    rng = np.random.default_rng(4)
    points = rng.normal(size=(2_000, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[::2] = -points[1::2]  # the median stays at the origin
    points[0] = 0
    labels = np.arange(2_000) // 4
    ranks = rank_queries(points, labels)
    assert ranks.first_rank[0] == 2_000 - 3
    assert nearest_neighbors(points[:1], points[1:], k=3)[0].tolist() == [[0, 1, 2]]


def slow_neighbors(queries, gallery, k, itself):
    result = []
    for i, query in enumerate(np.asarray(queries, np.float64)):
        far = [
            (float(((query - image) ** 2).sum()) ** 0.5, j)
            for j, image in enumerate(np.asarray(gallery, np.float64))
            if not (itself and i == j)
        ]
        result.append(sorted(far)[:k])
    far, indices = np.moveaxis(np.array(result), 2, 0)
    return indices.astype(int), far


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("k", [1, 4, 39])
@pytest.mark.parametrize("points", ["lattice", "equal", "normal"])
def test_nearest_neighbors(points, k):
    queries = {
        "lattice": lattice(40, seed=11),
        "equal": np.full((40, 5), 0.1, np.float32),
        "normal": np.random.default_rng(11).normal(size=(40, 9)) + 100,
    }[points]
    indices, distances = nearest_neighbors(queries, k=k)
    expected, far = slow_neighbors(queries, queries, k, itself=True)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, far, rtol=1e-12)
    assert (indices.dtype, distances.dtype) == (np.int64, np.float64)

    gallery = queries[::-1][:39]
    indices, distances = nearest_neighbors(queries, gallery, k)
    expected, far = slow_neighbors(queries, gallery, k, itself=False)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, far, rtol=1e-12)


@pytest.mark.usefixtures("way")
def test_a_prepared_gallery_is_searched_again_and_again():
    gallery, queries = lattice(90, seed=21), lattice(31, seed=22)
    prepared = prepare(gallery)
    assert len(prepared) == 90
    for part, k in ((queries, 4), (queries[:1], 90), (queries[7:9] + 0.25, 1)):
        indices, distances = prepared.neighbors(part, k=k)
        expected, far = slow_neighbors(part, gallery, k, itself=False)
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(distances, far, rtol=1e-12)


@pytest.mark.usefixtures("way")
def test_queries_far_outside_the_gallery():
    gallery = lattice(90, seed=23)
    for scale in (1e8, 1e-8):
        queries = scale * np.random.default_rng(24).normal(size=(12, 3))
        indices, _ = prepare(gallery).neighbors(queries, k=3)
        far = ((queries[:, None] - gallery) ** 2).sum(axis=2)
        best = np.sort(far, axis=1)[:, :3]
        np.testing.assert_allclose(np.take_along_axis(far, indices, axis=1), best, rtol=1e-12)


@pytest.mark.usefixtures("way")
def test_self_is_excluded_by_index_not_by_distance():
    indices, distances = nearest_neighbors([[1.0, 2.0], [1.0, 2.0]], k=1)
    assert indices.tolist() == [[1], [0]]
    assert distances.tolist() == [[0.0], [0.0]]


def test_sample_distances_holds_all_pairs_if_few():
    points, labels = lattice(30, seed=12), np.random.default_rng(12).integers(0, 8, 30)
    same, different = [], []
    for i in range(30):
        for j in range(i):
            pair = same if labels[i] == labels[j] else different
            pair.append(float(((points[i] - points[j]) ** 2).sum()) ** 0.5)
    positive, negative = sample_distances(points, labels)
    np.testing.assert_allclose(np.sort(positive), np.sort(same))
    np.testing.assert_allclose(np.sort(negative), np.sort(different))


def test_sample_distances_draws_pairs_uniformly_without_repeating_one():
    # Powers of two: every pair has its own distance, so distances name pairs.
    points, labels = 2.0 ** np.arange(12)[:, None], np.array([0] * 7 + [1] * 3 + [2] * 2)
    all_positive, all_negative = sample_distances(points, labels)
    assert len(np.unique(all_positive)) == 21 + 3 + 1
    counts = dict.fromkeys(all_positive, 0)
    for seed in range(400):
        positive, negative = sample_distances(points, labels, n_pairs=5, seed=seed)
        assert len(set(positive)) == len(set(negative)) == 5
        assert set(negative) <= set(all_negative)
        for distance in positive:
            counts[distance] += 1
    assert 400 * 5 / 25 * 0.5 < min(counts.values())  # 80 expected each, deviation 8
    assert max(counts.values()) < 400 * 5 / 25 * 1.5
    again = sample_distances(points, labels, n_pairs=5, seed=399)
    np.testing.assert_array_equal(again[0], positive)


def test_sample_distances_without_pairs_is_empty():
    positive, negative = sample_distances(np.eye(3), [1, 2, 3])
    assert (len(positive), len(negative)) == (0, 3)
    positive, negative = sample_distances(np.eye(3), [1, 1, 1])
    assert (len(positive), len(negative)) == (3, 0)


X, Y = np.eye(4), np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: rank_queries(X[0], Y), r"`embeddings` must have shape \(N, D\).*\(4,\)"),
        (lambda: rank_queries(X[:0], Y[:0]), r"`embeddings` must have shape.*\(0, 4\)"),
        (lambda: rank_queries(X.astype(str), Y), r"`embeddings` must be real numbers.*<U"),
        (lambda: rank_queries(X + 0j, Y), r"`embeddings` must be real numbers.*complex128"),
        (lambda: rank_queries(X / [[1], [1], [1], [np.nan]], Y), r"finite.*4 NaN, 0 infinite"),
        (lambda: rank_queries(X + np.inf, Y), r"`embeddings` must be finite.*16 infinite"),
        (lambda: rank_queries(-X * 1e200, Y), r"below 1e\+150.*smallest -1e\+200"),
        (lambda: rank_queries(X, Y[:3]), r"`labels` must be as many as `embeddings`.*3 and 4"),
        (lambda: rank_queries(X, Y[:, None]), r"`labels` must be integers.*\(4, 1\)"),
        (lambda: rank_queries(X, Y + 0.0), r"`labels` must be integers.*float64"),
        (lambda: rank_queries(X, Y > 0), r"`labels` must be integers.*bool"),
        (lambda: rank_queries(X, Y, gallery=X), r"together or not at all.*only `gallery`"),
        (lambda: rank_queries(X, Y, gallery_labels=Y), r"together.*only `gallery_labels`"),
        (
            lambda: rank_queries(X, Y, gallery=X[:, :3], gallery_labels=Y),
            r"`embeddings` and `gallery` must have the same D.*\(4, 4\) and \(4, 3\)",
        ),
        (
            lambda: rank_queries(X, Y, gallery=X, gallery_labels=Y[:1]),
            r"`gallery_labels` must be as many as `gallery`.*1 and 4",
        ),
        (lambda: nearest_neighbors(X, X[:, :2], 1), r"`queries` and `gallery` must have the same"),
        (lambda: nearest_neighbors(X, X, 5), r"`k` must be.* at least 1 and at most 4\..*k=5"),
        (lambda: nearest_neighbors(X, k=4), r"`k` must be.* at least 1 and at most 3\..*k=4"),
        (lambda: nearest_neighbors(X, X, 0), r"`k` must be.*Received: k=0"),
        (lambda: prepare(X).neighbors(X, 5), r"`k` must be.* at least 1 and at most 4\..*k=5"),
        (lambda: prepare(X).neighbors(X[:, :3], 1), r"`queries` and `gallery` must have the same"),
        (lambda: prepare(X * np.nan), r"`gallery` must be finite.*16 NaN"),
        (lambda: prepare(X).neighbors(X + np.inf), r"`queries` must be finite.*16 infinite"),
        (lambda: nearest_neighbors(X, X, 1.0), r"`k` must be.*Received: k=1.0"),
        (lambda: sample_distances(X, Y, n_pairs=0), r"`n_pairs` must be.*, at least 1\..*=0"),
    ],
)
def test_errors_name_argument_rule_and_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("heavy", ["tensorflow", "keras", "sklearn"])
def test_importing_and_ranking_loads_nothing_heavy(heavy):
    code = (
        "import sys, mdl_tf.metrics as m; m.evaluate([[0.], [1.]], [1, 1]);"
        f"sys.exit(int({heavy!r} in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert_equals_loops(lattice(20, seed=13), np.arange(20) % 4)
