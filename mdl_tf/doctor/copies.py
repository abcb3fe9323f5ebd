"""The finding about images that are there twice, byte for byte."""

import numpy as np

from mdl_tf.datasets.duplicates import ADVICE, describe_groups, find_groups
from mdl_tf.doctor.finding import Finding


def check_copies(data):
    """The finding about identical images among the training and validation classes.

    Args:
        data: `SeenClasses`.

    Returns:
        A `Finding`.
    """
    ids = {side: np.flatnonzero(np.equal(data.sides, side)) for side in ("train", "validation")}
    groups = find_groups(
        {side: data.images.classes(of, side) if len(of) else None for side, of in ids.items()}
    )
    kinds = [group.kind for group in groups]
    numbers = {kind: kinds.count(kind) for kind in ADVICE}
    if not groups:
        said = "No image of the training and validation classes is there twice."
        return Finding("identical images", "ok", said, numbers=numbers)
    # A copy of another class is a wrong label, whichever it is.
    level = "look" if set(kinds) == {"class"} else "wrong"
    said = (
        f"{len(groups):,} groups of training and validation images are identical: "
        f"{numbers['class']:,} within a class, {numbers['classes']:,} in several classes, "
        f"{numbers['split']:,} across training and validation."
    )
    return Finding(
        "identical images",
        level,
        said,
        "look if there are any; wrong if their classes differ.",
        tuple(
            line.replace("`duplicates` 'drop' (--duplicates drop)", "--duplicates drop")
            for line in describe_groups(groups)
        ),
        numbers,
    )
