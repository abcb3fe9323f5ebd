"""Pictures of a run, as matplotlib figures; nothing here writes a file or opens a window."""

import numpy as np
from matplotlib.figure import Figure

from mdl_tf.words import clean

# Told apart by people who see no red or green, and in grey.
POSITIVE, NEGATIVE, LINE = "#0072b2", "#d55e00", "#222222"
_ROC_STYLES = (("#8a939e", "-"), (POSITIVE, "-"), (NEGATIVE, "--"))
_FEW_PAIRS = 10  # behind a rate; it is known to about a third of itself


def _axes(title, xlabel, ylabel):
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def loss_curve(history, steps_per_epoch):
    """The training loss, averaged over each epoch.

    Args:
        history: a list of dicts with `epoch` and `loss`, as in `history.csv`.
        steps_per_epoch: batches in an epoch.

    Returns:
        A matplotlib `Figure`.
    """
    figure, axes = _axes("Training loss", "batches", "mean loss of the epoch")
    steps = [row["epoch"] * steps_per_epoch for row in history]
    losses = [row["loss"] for row in history]
    axes.plot(steps, losses, "o-", color=LINE)
    axes.set_ylim(0, 1.05 * max(losses) or 1)
    return figure


def recall_curve(history, steps_per_epoch):
    """Recall@K on the validation classes after each epoch.

    Args:
        history: a list of dicts with `epoch` and `val_recall_at_1` ..., as in `history.csv`.
        steps_per_epoch: batches in an epoch.

    Returns:
        A matplotlib `Figure`.
    """
    figure, axes = _axes("Retrieval on classes not trained on", "batches", "Recall@K, validation")
    steps = [row["epoch"] * steps_per_epoch for row in history]
    keys = [key for key in history[0] if key.startswith("val_recall_at_")]
    for i, key in enumerate(keys):
        shade = str(0.75 * i / max(1, len(keys)))
        values = [row[key] for row in history]
        axes.plot(steps, values, "o-", color=shade, label=f"Recall@{key.rsplit('_', 1)[1]}")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="lower right")
    return figure


def distance_histograms(panels):
    """Distances to images of the same class and of other classes; their overlap is the error.

    Args:
        panels: dict from a title to a pair of arrays, positive and negative distances.

    Returns:
        A matplotlib `Figure`, one panel above the other on the same axis.
    """
    figure = Figure(figsize=(6.4, 1 + 2.4 * len(panels)), layout="constrained")
    highest = max(float(values.max()) for pair in panels.values() for values in pair if len(values))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, (positive, negative)) in zip(all_axes, panels.items(), strict=True):
        for values, colour, label in (
            (positive, POSITIVE, "same class"),
            (negative, NEGATIVE, "another class"),
        ):
            axes.hist(
                values,
                bins=80,
                range=(0, max(highest, 1e-6)),
                density=True,
                color=colour,
                alpha=0.6,
                label=label,
            )
        axes.set(title=title, ylabel="density", yticks=[])
        axes.spines[["top", "right", "left"]].set_visible(False)
    all_axes[0].legend(frameon=False, loc="upper right")
    all_axes[-1].set_xlabel("distance between two embeddings")
    return figure


def roc_curves(curves):
    """How many pairs of one class are called the same, by how many of two classes are as well.

    Args:
        curves: dict from a title to a `metrics.verification.Curve`. A curve is dotted where fewer
            than ten pairs of two classes stand behind its false accept rate.

    Returns:
        A matplotlib `Figure`.
    """
    figure, axes = _axes(
        f"The same or different? Dotted: fewer than {_FEW_PAIRS} pairs of two classes behind it",
        "false accept rate: share of the pairs of two classes called the same",
        "true accept rate: share of the pairs\nof one class called the same",
    )
    axes.title.set_fontsize(10)
    styles = _ROC_STYLES[len(curves) < 3 :]
    for (title, curve), (colour, style) in zip(curves.items(), styles, strict=False):
        solid = curve.far * curve.negative_pairs >= _FEW_PAIRS
        label = (
            f"{title}: EER {curve.eer:.3f}, pairs of one class {curve.positive_pairs:,}, "
            f"of two {curve.negative_pairs:,}"
        )
        axes.plot(curve.far[solid], curve.tar[solid], style, color=colour, label=label)
        # From the last point that is drawn on, so that there is no gap.
        rest = slice(max(0, int(solid.sum()) - 1), None)
        axes.plot(curve.far[rest], curve.tar[rest], ":", color=colour, linewidth=1)
    axes.set(xscale="log", xlim=(_least_far(curves), 1), ylim=(0, 1.02))
    axes.grid(color="#e5e8ec", linewidth=0.6)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return figure


def _least_far(curves):
    return min(float(curve.far.min()) for curve in curves.values() if len(curve.far))


def confusion_matrix(counts, labels):
    """Which classes are taken for which: a row for each class, in parts of its images.

    Args:
        counts: images of the class of a row that were given that of a column, integers
            `(c, c + 1)`; the last column is for other classes and none.
        labels: c texts.

    Returns:
        A matplotlib `Figure`.
    """
    names = [clean(label, 24) for label in labels]
    side = 1.8 + 0.34 * len(names)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names) + 1), [*names, "others, none"], rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    axes.spines[:].set_visible(False)
    for i, j in np.argwhere(counts).tolist():
        colour = "white" if shares[i, j] > 0.6 else LINE
        axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=7, color=colour)
    return figure


def neighbor_grid(
    queries, neighbors, hits=None, titles=None, headings=("query", "nearest"), captions=None
):
    """Queries with their nearest neighbours: a row each, the query first.

    Args:
        queries: Q images `(H, W)` or `(H, W, 3)`, 0..255.
        neighbors: for each query k images, nearest first; they may differ in size.
        hits: booleans `(Q, k)`, True where the neighbour is of the query's class, `None` where it
            is not known. Defaults to `None`: not known of any.
        titles: Q texts beside the queries, or `None`. Defaults to `None`.
        headings: texts above the query and above its nearest neighbour, or `None`. Defaults to
            `("query", "nearest")`.
        captions: for each query k texts below its neighbours, or `None`. Defaults to `None`.

    Returns:
        A matplotlib `Figure`; neighbours of another class are crossed out.
    """
    count, k = len(queries), max(map(len, neighbors))
    side, line = (0.8, 0) if captions is None else (1.3, 0.3)
    figure = Figure(
        figsize=(side * (k + 1) + 0.8, (side + line) * count + 0.3), layout="constrained"
    )
    grid = figure.subplots(count, k + 1, squeeze=False)
    for row, axes_row in enumerate(grid):
        for column, axes in enumerate(axes_row):
            if column > len(neighbors[row]):
                axes.set_axis_off()
                continue
            picture = queries[row] if column == 0 else neighbors[row][column - 1]
            axes.imshow(picture.astype("uint8"), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            known = column > 0 and hits is not None and hits[row][column - 1] is not None
            hit = bool(hits[row][column - 1]) if known else True
            for spine in axes.spines.values():
                spine.set(color=LINE if not known else POSITIVE if hit else NEGATIVE, linewidth=2)
            if column and captions is not None:
                axes.set_xlabel(captions[row][column - 1], fontsize=6)
            if not hit:
                axes.plot([0, 1], [0, 1], transform=axes.transAxes, color=NEGATIVE, linewidth=1)
        if titles is not None:
            axes_row[0].set_ylabel(titles[row], rotation=0, ha="right", va="center", fontsize=8)
    if headings is not None:
        for axes, heading in zip(grid[0][:2], headings, strict=True):
            axes.set_title(heading, fontsize=8)
    return figure


def contact_sheet(rows, titles, title):
    """Images of some classes, a row each.

    Args:
        rows: for each class its images, `(H, W)` or `(H, W, 3)`, 0..255; rows may differ in length,
            images in size.
        titles: a text for each row.
        title: of the whole sheet.

    Returns:
        A matplotlib `Figure`.
    """
    width = max(len(row) for row in rows)
    figure = Figure(figsize=(1.1 * width + 1.8, 1.1 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(len(rows), width, squeeze=False)
    for axes_row, row, text in zip(grid, rows, titles, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, image in zip(axes_row, row, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes_row[0].text(
            *(-0.1, 0.5, text), transform=axes_row[0].transAxes, ha="right", va="center", fontsize=7
        )
    return figure
