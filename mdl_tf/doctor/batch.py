"""What the batches of a run hold: positives, classes, copies, and images of unequal classes."""

import numpy as np

from mdl_tf.doctor import thresholds
from mdl_tf.doctor.finding import Finding, level
from mdl_tf.losses import LOSSES
from mdl_tf.words import count


def check_positives(config, sizes, advice):
    """Whether an anchor has enough images of its class in the batch.

    Args:
        config: the `TrainConfig`.
        sizes: images of each training class, shape `(C,)`.
        advice: an `Advice`.

    Returns:
        A `Finding`.
    """
    k = config.images_per_class
    have = k - 1
    few = have < thresholds.POSITIVES and LOSSES[config.loss].positives == "several"
    said = f"Each image has {count(have, 'positive')} in its batch (images_per_class {k})"
    if few:
        said += f": the {config.loss} loss cannot choose among them or weigh them"
    return Finding(
        "positives",
        "look" if few else "ok",
        said + ".",
        f"look below {thresholds.POSITIVES}, but for losses made for one positive or for proxies.",
        tuple(advice.more_images(int(sizes.min()))),
        {"positives": have},
    )


def check_classes(config, available, advice):
    """Whether a batch has enough classes to find negatives in.

    Args:
        config: the `TrainConfig`.
        available: number of training classes.
        advice: an `Advice`.

    Returns:
        A `Finding`.
    """
    p, k = config.classes_per_batch, config.images_per_class
    return Finding(
        "classes",
        level(p, *(bound - 1 for bound in thresholds.CLASSES)),
        f"A batch has {p} of the {available:,} training classes, so that each image has "
        f"{(p - 1) * k:,} negatives of {count(p - 1, 'class')}.",
        f"look below {thresholds.CLASSES[0]} classes, wrong below {thresholds.CLASSES[1]}.",
        tuple(advice.more_classes(available))
        or ("There are no more classes to train on: other images, or data, are needed",),
        {"classes_per_batch": p, "training_classes": available},
    )


def check_short_classes(config, sizes):
    """Whether batches repeat images of classes that have fewer than K, or leave classes out.

    Args:
        config: the `TrainConfig`.
        sizes: images of each training class, shape `(C,)`.

    Returns:
        A `Finding`.
    """
    k, short = config.images_per_class, sizes < config.images_per_class
    if not short.any():
        said = f"Every training class has the {k} images that a batch takes of it."
        return Finding("short classes", "ok", said, numbers={"short_classes": 0})
    shorter = f"{short.sum():,} of {len(sizes):,} training classes have fewer than {k} images"
    fewer = max(2, int(np.median(sizes[short])))
    todo = f"Fewer images of each class in a batch: --images-per-class {fewer}"
    if config.short_classes == "drop":
        share = sizes[short].sum() / sizes.sum()
        bounds, what = thresholds.DROPPED, f"are left out, {share:.0%} of the images"
        rule = "look from {:.0%} of the images, wrong from {:.0%}."
        todo = (todo, "Use them, with repeated images: --short-classes repeat")
    else:
        share = np.maximum(k - sizes, 0).sum() / (k * len(sizes))
        bounds, what = thresholds.COPIES, f"fill {share:.0%} of the batches with copies of images"
        rule = "look from {:.0%} of the places, wrong from {:.0%}; a copy is a positive at 0."
        todo = (todo, "Leave these classes out: --short-classes drop")
    return Finding(
        "short classes",
        level(share, *bounds),
        f"{shorter} and {what}.",
        rule.format(*bounds),
        todo,
        {"short_classes": int(short.sum()), "share": float(share)},
    )


def check_unequal(config, sizes, names):
    """Whether a class is many times as large as others, and how often its images are used.

    Args:
        config: the `TrainConfig`.
        sizes: images of each training class, shape `(C,)`.
        names: of the classes.

    Returns:
        A `Finding`.
    """
    median, largest = float(np.median(sizes)), int(np.argmax(sizes))
    ratio = sizes[largest] / median
    drawn = config.epochs * config.steps_per_epoch * config.classes_per_batch
    drawn *= config.images_per_class / len(sizes)
    use, usual = drawn / sizes[largest], drawn / median
    return Finding(
        "unequal classes",
        level(ratio, *thresholds.UNEQUAL),
        f"The largest class, {names[largest]}, has {sizes[largest]:,} images, {ratio:.1f} times "
        f"the median of {median:g}. Batches take every class equally often: in the whole run an "
        f"image of it is used {use:.1f} times, one of a middle class {usual:.1f} times.",
        f"look from {thresholds.UNEQUAL[0]:g} times the median, wrong from "
        f"{thresholds.UNEQUAL[1]:g} times.",
        (
            f"Look into {names[largest]}: if it is a remainder of several things, divide it or "
            "leave it out, since its images are pulled together",
            "If not, nothing has to be done about the batches; more steps use more of its images: "
            f"--steps-per-epoch {2 * config.steps_per_epoch}",
        ),
        {"largest": int(sizes[largest]), "median": median, "ratio": float(ratio)},
    )
