"""Images that are there twice, byte for byte: found, told, and left out on request."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from mdl_tf.datasets.image_set import SIDES, Collection, Problem
from mdl_tf.images import file as image_file
from mdl_tf.words import clean, count, first_few

SHOWN = 3  # groups in a line of a report
# What a group is, and what to do about it; the worst first.
ADVICE = {
    "split": "are across training, validation and test, a leak. `duplicates` 'drop' (--duplicates "
    "drop) leaves out the copies that are trained on; mend the labels, as the classes differ",
    "classes": "are in several classes, of which one can be right. Mend the labels; `duplicates` "
    "'drop' (--duplicates drop) leaves all of them out",
    "class": "are within a class, where a copy is found at once and retrieval looks better than it "
    "is. `duplicates` 'drop' (--duplicates drop) keeps one of each",
}


class Group(NamedTuple):
    """Images with the same content, in the order of their sets."""

    names: tuple  # paths, or what stands for them
    classes: tuple  # the name of the class of each
    sides: tuple  # "train", "validation" or "test" of each
    indices: tuple  # of each in its set

    @property
    def kind(self):
        """`"split"`, `"classes"` or `"class"`: where the copies are apart."""
        if len(set(self.sides)) > 1:
            return "split"
        return "classes" if len(set(self.classes)) > 1 else "class"


def find_groups(sides):
    """Images that are the same, in one set or in several.

    Of files every byte counts, of features every number; two boxes of one photograph are two
    images.

    Args:
        sides: dict from `"train"`, `"validation"` and `"test"` to an `ImageSet`, or to `None`.

    Returns:
        A list of `Group`s of two or more.
    """
    places = defaultdict(list)
    for side, image_set in sides.items():
        for i, content in enumerate(_contents(image_set) if image_set is not None else ()):
            places[content].append((side, i))
    return [_group(sides, place) for place in places.values() if len(place) > 1]


def _contents(image_set):
    """What is the same of two images if, and only if, they are the same."""
    if image_set.features is not None:
        contents = (row.tobytes() for row in image_set.features)
    elif image_set.images is not None:
        contents = (image_file.digest(np.ascontiguousarray(image)) for image in image_set.images)
    elif image_set.digests is not None:
        contents = image_set.digests.tolist()
    else:
        contents = (image_file.examine(path).digest or path for path in image_set.paths)
    if image_set.boxes is None:
        return contents
    boxes = (box.tobytes() for box in image_set.boxes)
    return zip(contents, boxes, strict=True)


def _group(sides, places):
    names, classes = [], []
    for side, i in places:
        image_set = sides[side]
        name = f"{image_set.kind[:-1]} {i} of {image_set.name}"
        names.append(name if image_set.paths is None else image_set.paths[i])
        classes.append(image_set.class_names[image_set.labels[i]])
    return Group(tuple(names), tuple(classes), *map(tuple, zip(*places, strict=True)))


def describe_groups(groups):
    """What to know of copies, a line for each kind; none if there are none.

    Args:
        groups: `Group`s.

    Returns:
        A list of texts.
    """
    lines = []
    for kind, advice in ADVICE.items():
        of_kind = [group for group in groups if group.kind == kind]
        if of_kind:
            images = sum(len(group.names) for group in of_kind)
            shown = first_few([clean(" = ".join(group.names[:2])) for group in of_kind], SHOWN)
            lines.append(
                f"{count(len(of_kind), 'group')} of identical images ({images:,} in all) {advice}: "
                f"{shown}"
            )
    return lines


def drop(collection):
    """A data set without copies.

    Within a class the first of each group stays. In several classes of one side none stays, since
    nobody knows which label is right. Across training, validation and test those on the side that
    is measured last stay, by the same two rules. What is then alone in its class goes, too.

    Args:
        collection: a `Collection`, looked into.

    Returns:
        A `Collection`; what was left out is among its `problems`.

    Raises:
        ValueError: if nothing is left.
    """
    images, problems = collection.images, list(collection.problems)
    dropped = _dropped(collection)
    if not dropped:
        return collection
    kept = np.ones(len(images), bool)
    kept[list(dropped)] = False
    before = np.bincount(images.labels, minlength=images.num_classes)
    left = np.bincount(images.labels[kept], minlength=images.num_classes)
    for i in np.flatnonzero(kept & ((left == 1) & (before > 1))[images.labels]).tolist():
        kept[i] = False
        name = images.class_names[images.labels[i]]
        dropped[i] = f"is the only image that is left of class {name!r} without identical ones"
    if not kept.any():
        raise ValueError(
            "`duplicates` 'drop' must leave some images. "
            f"Received: {images.name}, all of whose {len(images):,} images are there twice"
        )
    problems += [Problem(_name(images, i), dropped[i]) for i in sorted(dropped)]
    sides = tuple(collection.sides[c] for c in np.unique(images.labels[kept]))
    return Collection(images.take(kept), sides, tuple(problems), collection.by_names)


def _dropped(collection):
    """Why an image is left out, by its index."""
    images, reasons = collection.images, {}
    for group in find_groups({"all": images}):
        classes = images.labels[list(group.indices)]
        sides = [SIDES.index(collection.sides[c]) for c in classes]
        last = max(sides)
        on_last = [i for i, side in zip(group.indices, sides, strict=True) if side == last]
        certain = len({int(images.labels[i]) for i in on_last}) == 1
        for i, c, side in zip(group.indices, classes, sides, strict=True):
            if side < last:
                twin = on_last[0]
                why = f"of the {SIDES[last]} classes"
            elif not certain:
                twin = next(j for j in on_last if images.labels[j] != c)
                why = "and of another class, of which nobody knows the right one"
            elif i != on_last[0]:
                twin, why = on_last[0], "and of the same class"
            else:
                continue
            name = images.class_names[images.labels[twin]]
            reasons[i] = f"is identical to {_name(images, twin)} of class {name!r}, {why}"
    return reasons


def _name(images, i):
    return f"{images.kind[:-1]} {i}" if images.paths is None else images.paths[i]
