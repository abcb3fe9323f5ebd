"""Labelled images, or vectors made of them, and the data set that they are taken from."""

import dataclasses
import hashlib
import math
from typing import NamedTuple

import numpy as np

from mdl_tf.checks import check_integer, check_number
from mdl_tf.datasets import content
from mdl_tf.words import clean

SIDES = ("train", "validation", "test")
_CONTENTS = ("images", "paths", "features")
_PER_IMAGE = (*_CONTENTS, "boxes", "queries", "slow", "digests")
# What a field may be; the same whatever the data come from.
_CHECKS = {
    "labels": content.check_labels,
    "class_names": content.check_class_names,
    "images": content.check_images,
    "paths": content.check_paths,
    "features": content.check_features,
    "boxes": content.check_boxes,
    "queries": content.check_queries,
}


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels; no class is in two sets of a split.

    Exactly one of `images`, `paths` and `features` is given.

    Args:
        name: what to call it in reports, such as "glyphs test".
        labels: `(N,)` integers, contiguous ids in `[0, C)`; they become int64.
        class_names: C strings, the name of each id, each another.
        images: `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)` uint8, images in memory.
        paths: N paths of image files, texts or `Path`s; they become a tuple of texts.
        features: `(N, F)` floats, finite, vectors that a network made of the images; they become
            float32.
        boxes: `(N, 4)` float32, the part of each image to look at: left, top, right, bottom, in
            pixels from its upper left corner; NaN for the whole image. Defaults to `None`: whole
            images.
        queries: `(N,)` bool, True for a query, False for an image of the gallery. Defaults to
            `None`: every image is both.
        slow: `(N,)` bool, True for files that TensorFlow does not show as people see them, which
            take the slow way (`mdl_tf.datasets.check` finds them). Defaults to `None`: not known.
        digests: `(N,)` bytes, what the files hold (`mdl_tf.datasets.check`). Defaults to `None`:
            not known.

    Raises:
        ValueError: if a field is not as above, lengths do not match, or not exactly one kind of
            content is given.
    """

    name: str
    labels: np.ndarray
    class_names: tuple
    images: np.ndarray | None = None
    paths: tuple | None = None
    features: np.ndarray | None = None
    boxes: np.ndarray | None = None
    queries: np.ndarray | None = None
    slow: np.ndarray | None = None
    digests: np.ndarray | None = None

    def __post_init__(self):
        given = [name for name in _CONTENTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of `images`, `paths` and `features` must be given. "
                f"Received: {', '.join(given) or 'none'}"
            )
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None or name in ("labels", "class_names"):
                object.__setattr__(self, name, check(value))
        if self.features is not None and self.boxes is not None:
            raise ValueError("`boxes` must be of images. Received: boxes and features")
        for name in _PER_IMAGE:
            value = getattr(self, name)
            if value is not None and len(value) != len(self.labels):
                raise ValueError(
                    "`labels` must be as many as the images. "
                    f"Received: {len(self.labels)} labels, {len(value)} {name}"
                )
        present = np.unique(self.labels)
        if not np.array_equal(present, np.arange(len(self.class_names))):
            raise ValueError(
                "`labels` must be the ids 0 to C - 1, each present, C the number of `class_names`. "
                f"Received: {len(present)} distinct labels, {len(self.class_names)} class names"
            )

    def __len__(self):
        return len(self.labels)

    def __repr__(self):
        return f"ImageSet({self.name!r}: {len(self):,} {self.kind} of {self.num_classes:,} classes)"

    @property
    def kind(self):
        """What there is of each class, for reports: `"images"` or `"features"`."""
        return "images" if self.features is None else "features"

    @property
    def num_classes(self):
        return len(self.class_names)

    def take(self, indices):
        """Some images, in the order of `indices`; classes without any are gone.

        Args:
            indices: of images, integers or a mask `(N,)`.

        Returns:
            An `ImageSet`, class ids numbered anew in their old order.
        """
        indices = np.arange(len(self))[indices]
        ids, labels = np.unique(self.labels[indices], return_inverse=True)
        return self._subset(indices, labels.astype(np.int64), ids, self.name)

    def unlabelled(self, indices):
        """Some images, in the order of `indices`, as if of one class.

        Args:
            indices: of images, integers or a mask `(N,)`.

        Returns:
            An `ImageSet` of one class.
        """
        labels = np.zeros(len(self), np.int64)
        return dataclasses.replace(self, labels=labels, class_names=("",)).take(indices)

    def classes(self, ids, name):
        """The subset of some classes, with ids numbered anew in the order of `ids`.

        Args:
            ids: class ids of this set, distinct.
            name: name of the subset.

        Returns:
            An `ImageSet`, its images in the order that they have here.
        """
        ids = np.asarray(ids, np.int64)
        new_id = np.full(self.num_classes, -1, np.int64)
        new_id[ids] = np.arange(len(ids))
        kept = np.flatnonzero(new_id[self.labels] >= 0)
        return self._subset(kept, new_id[self.labels[kept]], ids, name)

    def _subset(self, kept, labels, ids, name):
        fields = {}
        for field in _PER_IMAGE:
            value = getattr(self, field)
            if isinstance(value, tuple):
                value = tuple(value[i] for i in kept)
            elif value is not None:
                value = value[kept]
            fields[field] = value
        names = tuple(self.class_names[i] for i in ids)
        return ImageSet(name=name, labels=labels, class_names=names, **fields)


def join(first, second, name):
    """Two sets of different classes as one: the images and classes of the first, then the second.

    Args:
        first: an `ImageSet`.
        second: an `ImageSet` of the same kind, of the same data set.
        name: of the whole.

    Returns:
        An `ImageSet`.
    """
    fields = {}
    for field in _PER_IMAGE:
        parts = [getattr(first, field), getattr(second, field)]
        if isinstance(parts[0], tuple):
            fields[field] = parts[0] + parts[1]
        elif parts[0] is not None:
            fields[field] = np.concatenate(parts)
    return ImageSet(
        name=name,
        labels=np.concatenate([first.labels, second.labels + first.num_classes]),
        class_names=first.class_names + second.class_names,
        **fields,
    )


class Problem(NamedTuple):
    """A file or folder that cannot be used, and why; as a text on one line."""

    path: str
    reason: str

    def __str__(self):
        return f"{clean(self.path)}, which {clean(self.reason)}"


@dataclasses.dataclass(frozen=True, eq=False)
class Collection:
    """A whole data set: all its images, and what each class is for.

    Args:
        images: an `ImageSet` of all classes.
        sides: C times `"train"`, `"validation"` or `"test"`, what each class is for.
        problems: `Problem`s: what was found and cannot be used. Defaults to none.
        by_names: whether the sides are nothing but the order of the names, for want of a split.
            Defaults to `False`.

    Raises:
        ValueError: if there is not one side for each class.
    """

    images: ImageSet
    sides: tuple
    problems: tuple = ()
    by_names: bool = False

    def __post_init__(self):
        object.__setattr__(self, "sides", tuple(self.sides))
        if len(self.sides) != self.images.num_classes or not set(self.sides) <= set(SIDES):
            raise ValueError(
                f"`sides` must be one of {SIDES} for each class. Received: "
                f"{self.images.num_classes} classes, sides {self.sides[:5]}"
            )

    def at_random(self, seed):
        """The same images, with another half of the classes for the test.

        Each class has a number of its own, by seed and name, and the smallest ones are for
        training: a class that is added or removed moves one other at most.

        Args:
            seed: of the draw, an integer of at least 0.

        Returns:
            A `Collection`, with as many training classes as before.

        Raises:
            ValueError: if the data have a split of their own.
        """
        seed = check_integer("split_seed", seed, least=0)
        if not self.by_names:
            raise ValueError(
                "`split_by` may be 'random' for data without a split of their own only. Received: "
                f"split_by='random', and {self.images.name} has one"
            )
        numbers = [
            hashlib.blake2b(f"{seed} {name}".encode(errors="surrogateescape")).digest()
            for name in self.images.class_names
        ]
        last = sorted(numbers)[self.sides.count("train") - 1]
        sides = tuple("train" if number <= last else "test" for number in numbers)
        return dataclasses.replace(self, sides=sides)

    def split(self, validation=0.1, seed=0, *, folds=1, fold=0):
        """Training, validation and test: disjoint sets of classes.

        Args:
            validation: share of the training classes that is taken out for validation, drawn with
                `seed`, at least two unless 0; not used if the data set has validation classes of
                its own. Defaults to `0.1`.
            seed: of the draw. Defaults to `0`.
            folds: into how many parts the classes for training and validation fall, in their order
                and of equal size as far as they go; with 2 or more `validation` and `seed` are not
                used. Defaults to `1`.
            fold: the part that is for validation, from 1; 0: none is, all are for training.
                Defaults to `0`.

        Returns:
            train, validation (`None` if there is none) and test, `ImageSet`s of disjoint classes.

        Raises:
            ValueError: if `validation` is no share, there is no such fold, or a set would have
                fewer than two classes.
        """
        validation = check_number("validation", validation, least=0, below=1)
        seed = check_integer("seed", seed, least=0)
        folds = check_integer("folds", folds, least=1)
        fold = check_integer("fold", fold, least=0)
        if fold > folds or (fold and folds == 1):
            raise ValueError(
                "`fold` must be one of the `folds`, of which there are at least two, or 0. "
                f"Received: fold={fold}, folds={folds}"
            )
        ids = {side: np.flatnonzero(np.equal(self.sides, side)) for side in SIDES}
        if folds > 1:
            parts = np.array_split(np.flatnonzero(np.not_equal(self.sides, "test")), folds)
            ids["validation"] = parts.pop(fold - 1) if fold else parts[0][:0]
            ids["train"] = np.concatenate(parts)
        elif validation and not len(ids["validation"]):
            order = np.random.default_rng(seed).permutation(len(ids["train"]))
            held_out = max(2, math.floor(validation * len(order) + 0.5))
            ids["validation"] = np.sort(ids["train"][order[:held_out]])
            ids["train"] = np.sort(ids["train"][order[held_out:]])
        counts = {side: len(found) for side, found in ids.items()}
        if min(counts["train"], counts["test"]) < 2 or counts["validation"] == 1:
            raise ValueError(
                "Training, test and (unless `validation` is 0) validation need at least two "
                f"classes each. Received: {self.images.num_classes} classes in {self.images.name}, "
                f"of which {counts['train']} would be for training, {counts['validation']} for "
                f"validation, {counts['test']} for the test; "
                + (f"validation={validation}" if folds == 1 else f"fold={fold} of folds={folds}")
            )
        return tuple(
            self.images.classes(found, f"{self.images.name} {side}") if len(found) else None
            for side, found in ids.items()
        )


def first_for_training(images, count, problems=(), *, by_names=False):
    """A `Collection` whose first classes are for training and the rest for the test.

    Args:
        images: an `ImageSet`.
        count: how many classes, from the first, are for training.
        problems: `Problem`s. Defaults to none.
        by_names: as of a `Collection`. Defaults to `False`.

    Returns:
        A `Collection`.
    """
    sides = ("train",) * count + ("test",) * (images.num_classes - count)
    return Collection(images, sides, tuple(problems), by_names)
