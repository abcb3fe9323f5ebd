"""The findings about labels, and the tables of suspects."""

import csv
import io

import numpy as np

from mdl_tf.doctor import thresholds
from mdl_tf.doctor.finding import Finding, level
from mdl_tf.words import as_cell, clean, count, first_few

_NAMED = 3
_IMAGES = {"all": "images", "train": "training images", "validation": "validation images"}
_LEARNED = (
    "A network that was trained on a wrong label may have overfitted to it, so among the "
    "training classes there are fewer suspects than wrong labels."
)


def check_images(suspects, *, is_fold=False):
    """The finding about single images.

    Args:
        suspects: `Suspects`.
        is_fold: whether the run is one of several folds. Defaults to `False`.

    Returns:
        A `Finding`.
    """
    counted, judged = suspects.counted, int(suspects.judged.sum())
    numbers = {"suspects": counted, "judged": judged, "nearest_to_own": suspects.right}
    shares = [f"{share:.0%} of the {_IMAGES[side]}" for side, share in suspects.right.items()]
    nearest = " and ".join(shares) + " are nearest to the mean of their own class"
    if not judged:
        return Finding(
            "labels of images",
            "look",
            f"Only {nearest}: the network cannot tell yet which labels are wrong, and no list of "
            "suspects is written.",
            f"labels are judged from {thresholds.JUDGES:.0%} on.",
            ("Mend what else is found here first, then ask again",),
            numbers,
        )
    remarks = [
        f" Labels of the {_IMAGES[side]} are not judged, below {thresholds.JUDGES:.0%}."
        for side, share in suspects.right.items()
        if share < thresholds.JUDGES
    ]
    share = counted / judged
    verdict = level(share, *thresholds.SUSPECTS)
    advice = [
        "Look at them, the likeliest first: suspects.csv and suspects.png; put right or remove "
        "what is wrong, and train again"
    ]
    if suspects.median_size < thresholds.SMALL_CLASS:
        verdict = "look" if counted else verdict
        remarks.append(
            f" The classes are small, {suspects.median_size:g} images in the middle: a class of so "
            "few says little about what belongs to it, so look at each suspect before you change "
            "its label."
        )
    if _known_by_heart(suspects.right):
        verdict = "look" if verdict == "ok" else verdict
        remarks.append(
            " The network knows its training images by heart, wrong labels too, so hardly any of "
            "them can be seen."
        )
        advice.append(
            (
                "Ask about the other folds, too"
                if is_fold
                else "Train with folds, and ask about each"
            )
            + ": every label is judged there once by a network that was not trained on it"
        )
    return Finding(
        "labels of images",
        verdict,
        f"{counted:,} of {judged:,} images ({share:.1%}) lie so far inside another class that "
        f"their labels look wrong, and their nearest images are of that class; {nearest}."
        + "".join(remarks),
        f"look from {thresholds.SUSPECTS[0]:.1%} of the images, wrong from "
        f"{thresholds.SUSPECTS[1]:.0%}, but never wrong with fewer than {thresholds.SMALL_CLASS} "
        f"images a class; an image counts from a score of {thresholds.SCORE:.2f} on (no "
        f"probability), if of its {thresholds.NEIGHBORS} nearest images none is of its own class "
        "and most are of the other. " + _LEARNED,
        tuple(advice),
        numbers,
    )


def _known_by_heart(right):
    """Whether training images are nearly all at their own class, and validation images are not."""
    seen, unseen = right.get("train", 0.0), right.get("validation", 1.0)
    return seen >= thresholds.BY_HEART and unseen <= seen - thresholds.BEHIND


def check_classes(suspects, names):
    """The finding about whole classes.

    Args:
        suspects: `Suspects`.
        names: of the classes.

    Returns:
        A `Finding`.
    """
    one, two, scattered = suspects.one_class, suspects.two_classes, suspects.scattered
    shown = [clean(name) for name in names]
    said, advice = [], []
    if one:
        listed = [f"{shown[a]} and {shown[b]} ({apart:.1f})" for a, b, apart in one]
        said.append(
            f"{count(len(one), 'pair')} of classes may be one under two names: "
            + first_few(listed, _NAMED)
        )
        advice.append(
            "Look at them side by side in classes.png: give them one name, or, if they are two, "
            "expect them to be confused"
        )
    if two:
        listed = [shown[c] for c in two]
        said.append(
            f"{count(len(two), 'class')} may be two under one name: " + first_few(listed, _NAMED)
        )
        advice.append("Look at the two parts of each in classes.png, and divide what is two")
    if scattered:
        listed = [f"{shown[c]} ({suspects.own[c]:.0%})" for c in scattered]
        said.append(
            f"{count(len(scattered), 'class')} scattered among others, with few images nearest to "
            f"the mean of their own class: {first_few(listed, _NAMED)}"
        )
        advice.append("Look into the scattered ones: a remainder of several things is no class")
    if not said:
        apart = suspects.pairs[0] if suspects.pairs else None
        nearest = f": {shown[apart[0]]} and {shown[apart[1]]} ({apart[2]:.1f})" if apart else ""
        said.append(f"No two classes look like one, and none like two; the nearest pair{nearest}")
    return Finding(
        "labels of classes",
        "look" if one or two or scattered else "ok",
        "; ".join(said) + ".",
        f"one class: means nearer than {thresholds.ONE_CLASS:g} times what two halves of a class "
        "parted by lot have (in brackets), and a third of what is usual here; two: "
        f"{thresholds.TWO_CLASSES:g} times as clumped as the class in the middle; scattered: below "
        f"{thresholds.SCATTERED:.0%}.",
        tuple(advice),
        {
            "one_class": [[names[a], names[b], apart] for a, b, apart in one],
            "two_classes": [names[c] for c in two],
            "scattered": [names[c] for c in scattered],
        },
    )


def write_suspects(suspects, image_set, sides, file_of):
    """`suspects.csv`: images that lie nearer to another class than to their own.

    Those that are counted stand first; `score` is no probability.

    Args:
        suspects: `Suspects`.
        image_set: the `ImageSet`.
        sides: for each class `"train"` or `"validation"`.
        file_of: a function from an image's index to its path, or what stands for it.

    Returns:
        CSV as text.
    """
    names = image_set.class_names
    numbers = ("score", "near_own", "near_other", "class_images")
    rows = [("path", "class", "looks_like", *numbers, "split")]
    for i in suspects.order.tolist():
        own, other = image_set.labels[i], suspects.looks_like[i]
        near = (suspects.near_own[i], suspects.near_other[i], suspects.sizes[own])
        numbers = (f"{suspects.score[i]:.4f}", *near)
        rows.append((file_of(i), names[own], names[other], *numbers, sides[own]))
    return _csv(rows)


def write_classes(suspects, image_set, sides):
    """`classes.csv`: every class with the nearest other one, the nearest pairs first.

    Args:
        suspects: `Suspects`.
        image_set: the `ImageSet`.
        sides: for each class `"train"` or `"validation"`.

    Returns:
        CSV as text.
    """
    nearest = {}
    for a, b, apart in suspects.pairs:
        nearest.setdefault(a, (b, apart))
        nearest.setdefault(b, (a, apart))
    sizes, names = np.bincount(image_set.labels), image_set.class_names
    rows = [("class", "images", "split", "nearest_to_own", "nearest_class", "apart", "two_clumps")]
    order = sorted(range(len(sizes)), key=lambda c: nearest.get(c, (0, np.inf))[1])
    for c in order:
        other, apart = nearest.get(c, (None, np.nan))
        named = "" if other is None else names[other]
        numbers = [f"{suspects.own[c]:.3f}", named, _number(apart), _number(suspects.clumps[c])]
        rows.append((names[c], sizes[c], sides[c], *numbers))
    return _csv(rows)


def _number(value):
    return f"{value:.3f}" if np.isfinite(value) else ""


def _csv(rows):
    text = io.StringIO()
    csv.writer(text).writerows([as_cell(value) for value in row] for row in rows)
    return text.getvalue()
