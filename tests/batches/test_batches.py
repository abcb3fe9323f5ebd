"""Balanced plans and streams, ordered streams."""

import numpy as np
import pytest

from mdl_tf import batches
from mdl_tf.batches import BalancedPlan
from mdl_tf.datasets import ImageSet


def unequal_labels(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


def numbered(labels, size=8):
    """Image i is grey i everywhere, so that a batch shows which images it holds."""
    labels = np.asarray(labels, np.int64)
    pixels = np.tile(np.arange(len(labels), dtype=np.uint8)[:, None, None], (1, size, size))
    names = tuple(str(c) for c in np.unique(labels))
    return ImageSet("numbered", labels, names, images=pixels)


@pytest.mark.parametrize(
    ("counts", "p", "k"),
    [
        ((4, 4, 4, 4), 2, 2),  # everything divides
        ((5, 7, 4, 6, 9), 3, 4),  # nothing divides
        ((4, 6, 5), 3, 3),  # all classes in every batch
        ((11, 13, 5, 6, 7, 5, 5), 5, 5),
        ((2,) * 50, 32, 2),
    ],
)
def test_distinct_classes_and_images_used_equally_often(counts, p, k):
    labels = unequal_labels(*counts)
    plan = BalancedPlan(labels, p, k, seed=3)
    class_uses, image_uses = np.zeros(len(counts), int), np.zeros(len(labels), int)
    for step in range(300):
        batch = plan.batch(step)
        assert len(np.unique(batch)) == p * k
        classes, per_class = np.unique(labels[batch], return_counts=True)
        assert len(classes) == p
        assert (per_class == k).all()
        assert (labels[batch].reshape(p, k) == labels[batch].reshape(p, k)[:, :1]).all()
        class_uses[classes] += 1
        image_uses[batch] += 1
        assert np.ptp(class_uses) <= 1
        for c in range(len(counts)):
            assert np.ptp(image_uses[labels == c]) <= 1
    assert image_uses.min() > 0


def test_any_step_is_found_without_those_before_it():
    labels = unequal_labels(5, 7, 4, 6, 9, 11)
    through = BalancedPlan(labels, 4, 3, seed=1)
    expected = [through.batch(step) for step in range(200)]
    for step in (199, 0, 57, 56, 120):
        np.testing.assert_array_equal(
            BalancedPlan(labels, 4, 3, seed=1).batch(step), expected[step]
        )


def test_seeds_and_decks_differ():
    labels = unequal_labels(*(6,) * 20)
    a, b = BalancedPlan(labels, 10, 3, seed=1), BalancedPlan(labels, 10, 3, seed=2)
    assert not np.array_equal(a.batch(0), b.batch(0))
    first_deck = np.concatenate([a.batch(0), a.batch(1)])
    second_deck = np.concatenate([a.batch(2), a.batch(3)])
    assert not np.array_equal(first_deck, second_deck)


def test_repeating_short_classes_repeats_as_little_as_it_can():
    labels = np.repeat([0, 1, 2], [1, 3, 5])
    plan = BalancedPlan(labels, 3, 4, short_classes="repeat")
    uses = np.zeros(9, int)
    for step in range(60):
        batch = plan.batch(step)
        assert np.bincount(labels[batch]).tolist() == [4, 4, 4]
        held = np.bincount(batch, minlength=9)
        assert held[0] == 4
        assert sorted(held[1:4]) == [1, 1, 2]
        assert held[4:].max() == 1
        uses += held
        assert np.ptp(uses[1:4]) <= 1
        assert np.ptp(uses[4:]) <= 1


def test_dropping_short_classes():
    labels = np.repeat([0, 1, 2], [1, 4, 5])
    plan = BalancedPlan(labels, 2, 4, short_classes="drop")
    assert {int(c) for step in range(10) for c in labels[plan.batch(step)]} == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"images_per_class": 5},
            "Received: images_per_class=5, and 2 of 3 classes have fewer images (the smallest 1)",
        ),
        (
            {"classes_per_batch": 4, "short_classes": "repeat"},
            "`classes_per_batch` must be at most the number of classes. "
            "Received: classes_per_batch=4, and 3 classes",
        ),
        (
            {"classes_per_batch": 3, "images_per_class": 4, "short_classes": "drop"},
            "Received: classes_per_batch=3, and 2 classes after dropping 1 short ones",
        ),
        ({"classes_per_batch": 1}, "must be an integer, at least 2. Received: classes_per_batch=1"),
        ({"images_per_class": 1}, "must be an integer, at least 2. Received: images_per_class=1"),
        (
            {"short_classes": "skip"},
            "must be one of ('error', 'drop', 'repeat'). Received: short_c",
        ),
        ({"seed": -1}, "`seed` must be an integer, at least 0. Received: seed=-1"),
    ],
)
def test_impossible_plans(arguments, message):
    labels = np.repeat([0, 1, 2], [1, 4, 5])
    with pytest.raises(ValueError) as raised:
        BalancedPlan(labels, **{"classes_per_batch": 2, "images_per_class": 2, **arguments})
    assert message in str(raised.value)


def held_by(batch):
    pixels, labels = batch
    assert pixels.dtype == np.float32
    assert labels.dtype == np.int64
    grey = pixels.numpy()
    np.testing.assert_allclose(grey, np.broadcast_to(grey[:, :1, :1, :1], grey.shape), atol=1e-3)
    return grey[:, 0, 0, 0].round().astype(int), labels.numpy()


def test_stream_follows_the_plan_and_continues_exactly():
    image_set = numbered(unequal_labels(5, 7, 4, 6))
    plan = BalancedPlan(image_set.labels, 3, 2, seed=4)
    arguments = {"classes_per_batch": 3, "images_per_class": 2, "image_size": (4, 6), "seed": 4}
    seen = []
    for step, batch in enumerate(batches.balanced(image_set, **arguments).take(9)):
        assert batch[0].shape == (6, 4, 6, 3)
        indices, labels = held_by(batch)
        np.testing.assert_array_equal(indices, plan.batch(step))
        np.testing.assert_array_equal(labels, image_set.labels[indices])
        seen.append(indices)
    later = batches.balanced(image_set, **arguments, start_step=5).take(4)
    for batch, expected in zip(later, seen[5:], strict=True):
        np.testing.assert_array_equal(held_by(batch)[0], expected)


def test_augmentation_is_a_pure_function_of_seed_and_step():
    rng = np.random.default_rng(0)
    labels = unequal_labels(4, 4, 4)
    image_set = ImageSet(
        "noise", labels, ("a", "b", "c"), images=rng.integers(0, 256, (12, 16, 16), np.uint8)
    )
    arguments = {"classes_per_batch": 3, "images_per_class": 4, "image_size": (16, 16)}
    first = [
        x.numpy() for x, _ in batches.balanced(image_set, augment="paper", **arguments).take(4)
    ]
    again = [
        x.numpy()
        for x, _ in batches.balanced(image_set, augment="paper", start_step=2, **arguments).take(2)
    ]
    np.testing.assert_array_equal(first[2:], again)
    plain = [x.numpy() for x, _ in batches.balanced(image_set, **arguments).take(4)]
    assert not np.array_equal(first, plain)
    flipped = [
        x.numpy() for x, _ in batches.balanced(image_set, augment="flip", **arguments).take(4)
    ]
    mirrored = 0
    for a, b in zip(np.concatenate(plain), np.concatenate(flipped), strict=True):
        assert np.array_equal(a, b) or np.array_equal(a[:, ::-1], b)
        mirrored += not np.array_equal(a, b)
    assert 10 < mirrored < 38, "about half of 48"


def test_augmentation_by_a_function():
    image_set = numbered(unequal_labels(4, 4))
    stream = batches.balanced(image_set, 2, 2, (8, 8), augment=lambda image, seed: 255.0 - image)
    indices, labels = held_by(next(iter(stream)))
    np.testing.assert_array_equal(labels, image_set.labels[255 - indices])


def test_ordered_holds_every_image_exactly_once_in_order():
    image_set = numbered(unequal_labels(5, 7, 3))
    seen = [held_by(batch) for batch in batches.ordered(image_set, 4, (5, 5))]
    assert [len(i) for i, _ in seen] == [4, 4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([i for i, _ in seen]), np.arange(15))
    np.testing.assert_array_equal(np.concatenate([y for _, y in seen]), image_set.labels)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (batches.ordered, {"batch_size": 0}, "`batch_size` must be an integer, at least 1."),
        (batches.ordered, {"image_size": (0, 4)}, "`image_size` must be two positive integers"),
        (batches.balanced, {"image_size": 64}, "`image_size` must be two positive integers"),
        (batches.balanced, {"augment": "spin"}, "`augment` must be a function or one of ('none',"),
        (batches.balanced, {"start_step": -1}, "`start_step` must be an integer, at least 0."),
    ],
)
def test_impossible_streams(function, arguments, message):
    small = {"classes_per_batch": 2, "images_per_class": 2} if function is batches.balanced else {}
    with pytest.raises(ValueError) as raised:
        function(numbered(unequal_labels(3, 3)), **{**small, **arguments})
    assert message in str(raised.value)
