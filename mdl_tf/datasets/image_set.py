"""A set of labelled images, and how sets are split: by class, never by image."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels; no class is in two sets of a split.

    Args:
        name: what to call it in reports, such as "glyphs test".
        labels: `(N,)` int64, contiguous ids in `[0, C)`.
        class_names: C strings, the name of each id.
        images: `(N, H, W)` or `(N, H, W, 3)` uint8, or `None` if they are files.
        paths: N paths of JPEG or PNG files, or `None` if the images are in memory.

    Raises:
        ValueError: if lengths do not match, or not exactly one of images and paths is given.
    """

    name: str
    labels: np.ndarray
    class_names: tuple
    images: np.ndarray | None = None
    paths: tuple | None = None

    def __post_init__(self):
        if (self.images is None) == (self.paths is None):
            raise ValueError("Exactly one of `images` and `paths` must be given.")
        count = len(self.images if self.paths is None else self.paths)
        if count != len(self.labels):
            raise ValueError(
                "`labels` must be as many as the images. "
                f"Received: {len(self.labels)} labels, {count} images"
            )
        present = np.unique(self.labels)
        if not np.array_equal(present, np.arange(len(self.class_names))):
            raise ValueError(
                "`labels` must be the ids 0 to C - 1, each present, C the number of `class_names`. "
                f"Received: {len(present)} distinct labels, {len(self.class_names)} class names"
            )

    def __len__(self):
        return len(self.labels)

    @property
    def num_classes(self):
        return len(self.class_names)

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
        return ImageSet(
            name=name,
            labels=new_id[self.labels[kept]],
            class_names=tuple(self.class_names[i] for i in ids),
            images=None if self.images is None else self.images[kept],
            paths=None if self.paths is None else tuple(self.paths[i] for i in kept),
        )


def split_by_class(images, train_classes, validation, seed):
    """The first classes for training, the rest for the test, as the papers do.

    Args:
        images: an `ImageSet`.
        train_classes: how many classes, from the first, are not for the test.
        validation: share of these that is taken out for validation, drawn with `seed`; at least
            two classes unless 0.
        seed: of the draw.

    Returns:
        train, validation (`None` if `validation` is 0) and test, `ImageSet`s of disjoint classes.

    Raises:
        ValueError: if `validation` is no share, or a set would have fewer than two classes.
    """
    if not 0 <= validation < 1:
        raise ValueError(
            "`validation` must be a share of the training classes, at least 0 and below 1. "
            f"Received: validation={validation}"
        )
    held_out = max(2, math.floor(validation * train_classes + 0.5)) if validation else 0
    if train_classes - held_out < 2 or images.num_classes - train_classes < 2:
        raise ValueError(
            "Training, test and (unless `validation` is 0) validation need at least two classes "
            f"each. Received: {images.num_classes} classes in {images.name}, of which "
            f"{train_classes - held_out} would be for training, {held_out} for validation, "
            f"{images.num_classes - train_classes} for the test; validation={validation}"
        )
    order = np.random.default_rng(seed).permutation(train_classes)
    validation_ids, train_ids = np.sort(order[:held_out]), np.sort(order[held_out:])
    test_ids = np.arange(train_classes, images.num_classes)
    return (
        images.classes(train_ids, f"{images.name} train"),
        images.classes(validation_ids, f"{images.name} validation") if held_out else None,
        images.classes(test_ids, f"{images.name} test"),
    )
