"""What the doctor shows: suspects among their neighbours, suspected classes, distances."""

import textwrap

import numpy as np

from mdl_tf.doctor import thresholds
from mdl_tf.metrics import nearest_neighbors, sample_distances
from mdl_tf.pictures import plots, thumbnails
from mdl_tf.words import clean

_SIDE = 120  # pixels of an image
_ROWS, _NEIGHBORS = 12, 6
_PAIRS, _PER_ROW = 4, 8
_LONGEST = 24


def draw_suspects(suspects, image_set, embeddings, file_of):
    """The likeliest suspects, each with its nearest images and their classes.

    Args:
        suspects: `Suspects`, of which at least one is one.
        image_set: the `ImageSet` of images.
        embeddings: of it, shape `(N, D)`.
        file_of: a function from an image's index to its path.

    Returns:
        A matplotlib `Figure`.
    """
    rows = suspects.order[:_ROWS]
    k = min(_NEIGHBORS + 1, len(embeddings))
    near, _ = nearest_neighbors(embeddings[rows], embeddings, k)
    # A duplicate may stand before the image itself.
    near = [row[row != i][: k - 1] for i, row in zip(rows, near, strict=True)]
    labels, names = image_set.labels, image_set.class_names
    figure = plots.neighbor_grid(
        list(thumbnails.tiles(image_set, rows.tolist(), _SIDE)),
        [list(thumbnails.tiles(image_set, row.tolist(), _SIDE)) for row in near],
        hits=[labels[row] == labels[i] for i, row in zip(rows, near, strict=True)],
        titles=[_title(suspects, image_set, i, file_of(i)) for i in rows.tolist()],
        headings=("suspect", "nearest"),
        captions=[[_below(names[labels[j]]) for j in row] for row in near],
    )
    for axes in figure.axes:
        axes.xaxis.label.set_fontsize(7.5)
    return figure


def _title(suspects, image_set, i, file):
    name = file.replace("\\", "/").split("/")[-1]
    own, other = (image_set.class_names[c] for c in (image_set.labels[i], suspects.looks_like[i]))
    own, other, name = (clean(text, _LONGEST) for text in (own, other, name))
    near = f"{suspects.near_other[i]} of {thresholds.NEIGHBORS} near"
    return f"labelled\n{own}\nlooks like\n{other}\n{near}\n{name}"


def draw_classes(suspects, image_set):
    """Pairs of classes that may be one, and the two parts of classes that may be two.

    Args:
        suspects: `Suspects`.
        image_set: the `ImageSet` of images.

    Returns:
        A matplotlib `Figure`, or `None` if there are none of either.
    """
    rows, titles = [], []
    names = image_set.class_names
    for a, b, _ in suspects.one_class[:_PAIRS]:
        for c in (a, b):
            rows.append(np.flatnonzero(image_set.labels == c))
            titles.append(f"one class?\n{clean(names[c], _LONGEST)}")
    for c in suspects.two_classes[:_PAIRS]:
        for number, part in enumerate(suspects.parts[c], start=1):
            rows.append(part)
            titles.append(f"two classes?\n{clean(names[c], _LONGEST)}\npart {number}")
    if not rows:
        return None
    shown = [thumbnails.tiles(image_set, row[:_PER_ROW].tolist(), _SIDE) for row in rows]
    return plots.contact_sheet(shown, titles, "Classes that may be one, or two")


def distances(embeddings, labels, validation):
    """Distances of equal and unequal pairs of the training and the validation classes.

    Args:
        embeddings: of all images, shape `(N, D)`.
        labels: class of each, shape `(N,)`.
        validation: mask `(N,)` of the images of validation classes.

    Returns:
        A matplotlib `Figure`.
    """
    panels = {}
    for title, part in (("Training classes", ~validation), ("Validation classes", validation)):
        if part.any():
            panels[title] = sample_distances(embeddings[part], labels[part])
    return plots.distance_histograms(panels)


def _below(name):
    """A name in two lines, as wide as an image."""
    return "\n".join(textwrap.wrap(clean(name), 17, max_lines=2, placeholder="...")) or repr(name)
