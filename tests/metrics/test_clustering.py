"""K-means, NMI and F1 of clusters, held against slow loops over images and over pairs of images."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from mdl_tf.metrics import cluster, evaluate, nmi, pairwise_f1

POINTS = np.arange(7.0)[:, None]


def entropy(counts, total):
    return -math.fsum(n / total * math.log(n / total) for n in counts.values())


def slow_nmi(labels, clusters):
    """Manning et al., equations 16.2 to 16.7, with the arithmetic mean of the entropies."""
    pairs = list(zip(labels, clusters, strict=True))
    of_pair, of_label, of_cluster = Counter(pairs), Counter(labels), Counter(clusters)
    total = len(pairs)
    information = math.fsum(
        n / total * math.log(total * n / (of_label[label] * of_cluster[c]))
        for (label, c), n in of_pair.items()
    )
    entropies = entropy(of_label, total) + entropy(of_cluster, total)
    return 2 * information / entropies if entropies else 1.0


def slow_f1(labels, clusters):
    """Every pair of images looked at."""
    hits = false_positives = false_negatives = 0
    for i in range(len(labels)):
        for j in range(i):
            of_one_class, of_one_cluster = labels[i] == labels[j], clusters[i] == clusters[j]
            hits += of_one_class and of_one_cluster
            false_positives += of_one_cluster and not of_one_class
            false_negatives += of_one_class and not of_one_cluster
    counted = 2 * hits + false_positives + false_negatives
    return 2 * hits / counted if counted else 1.0


def groupings():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 7, 200)
    return {
        "independent": (labels, rng.integers(0, 9, 200)),
        "related": (labels, np.where(rng.random(200) < 0.7, labels, 0)),
        "reversed": (labels, labels[::-1]),
        "other names": (labels, (6 - labels).astype(np.uint8)),
        "large ids, one cluster": (labels + 2**60, np.zeros(200, int)),
        "largest ids": (labels.astype(np.uint64) + 2**63, -labels),
        "lone classes": (np.arange(200), labels),
        "many of both": (rng.integers(0, 90, 200), rng.integers(0, 80, 200)),
        "one of both": (np.zeros(3, int), np.ones(3, int)),
        "lone in both": (np.arange(5), np.arange(5)),
        "one image": (np.array([4]), np.array([2])),
    }


@pytest.mark.parametrize("case", groupings())
def test_nmi_and_f1_equal_slow_loops(case):
    labels, clusters = groupings()[case]
    slow = labels.tolist(), clusters.tolist()
    assert nmi(labels, clusters) == pytest.approx(slow_nmi(*slow), abs=1e-12)
    assert nmi(clusters, labels) == pytest.approx(slow_nmi(*slow), abs=1e-12)
    assert pairwise_f1(labels, clusters) == pairwise_f1(clusters, labels) == slow_f1(*slow)
    for value in (nmi(labels, clusters), pairwise_f1(labels, clusters)):
        assert type(value) is float and 0 <= value <= 1


def test_f1_of_the_example_in_manning():
    # Introduction to Information Retrieval, figure 16.4: 17 points in three clusters.
    clusters = [0] * 6 + [1] * 6 + [2] * 5
    # crosses, circles, diamonds: 5 1 0 | 1 4 1 | 2 0 3
    labels = [0] * 5 + [1] + [0] + [1] * 4 + [2] + [0] * 2 + [2] * 3
    precision, recall = 20 / 40, 20 / 44
    expected = 2 * precision * recall / (precision + recall)
    assert pairwise_f1(labels, clusters) == pytest.approx(expected)
    assert nmi(labels, clusters) == pytest.approx(0.36, abs=0.005)


def test_f1_of_many_images_is_exact():
    """N² booleans would be 90 GB, and 4.5e10 pairs are beyond 32 bits."""
    numbers = np.arange(300_000)
    of_class, of_cluster, of_both = (n * (n - 1) // 2 for n in (100_000, 150_000, 50_000))
    expected = Fraction(2 * 6 * of_both, 3 * of_class + 2 * of_cluster)
    assert pairwise_f1(numbers % 3, numbers % 2) == float(expected)


def test_clustering_finds_separate_classes_and_repeats_with_the_seed():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 80)
    points = 10 * np.eye(4, 6)[labels] + 0.01 * rng.normal(size=(80, 6))
    report = evaluate(points, labels, clustering=True, seed=1)
    clusters, inertia = cluster(points, 4, seed=1)
    assert report["nmi"] == nmi(labels, clusters)
    assert report["f1"] == pairwise_f1(labels, clusters)
    assert report["kmeans_inertia"] == pytest.approx(inertia)
    centres = np.stack([points[clusters == c].mean(axis=0) for c in range(4)])
    assert inertia == pytest.approx(((points - centres[clusters]) ** 2).sum())
    noise = rng.normal(size=(80, 6))
    first, again, other = (cluster(noise, 9, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cluster(POINTS, 8), r"`n_clusters` must be an integer.* at most 7\..*_clusters=8"),
        (lambda: cluster(POINTS, 0), r"`n_clusters` must be.*Received: n_clusters=0"),
        (lambda: nmi([0, 1], [0]), r"`clusters` must be as many as `labels`.*1 and 2"),
        (lambda: nmi([0.5], [0]), r"`labels` must be integers.*float64"),
        (lambda: nmi(3, [0]), r"`labels` must be integers.*shape \(\)"),
        (lambda: pairwise_f1(np.zeros(0, int), np.zeros(0, int)), r"`labels` must not be empty"),
    ],
)
def test_errors_name_argument_rule_and_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
