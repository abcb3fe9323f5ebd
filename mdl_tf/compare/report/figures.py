"""Pictures of a comparison: matplotlib figures of a telephone's width. Nothing here writes a file.

Each shows one thing: a page puts as many side by side as it has room for.
"""

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mdl_tf.compare.report.words import clean, short
from mdl_tf.pictures.plots import LINE, NEGATIVE, POSITIVE

# They differ for people who see no red or green, and in grey.
THIS, REFERENCE, OTHERS = POSITIVE, NEGATIVE, "#c9c9c9"
QUIET = "#6b6b6b"
_DOTTED = (0, (1, 2))
_WIDTH = 3.5  # inches, 336 pixels
_STYLE = {
    # Else a `$` in a label would begin a formula.
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8c8c8c",
    "axes.labelcolor": LINE,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    # Text stays text, and ids are the same whenever the same is drawn.
    "svg.fonttype": "none",
    "svg.hashsalt": "mdl_tf",
}


def to_svg(figure):
    """A figure as the bytes of an SVG file, the same ones whenever it is drawn."""
    # The ticks of the axes are made while drawing.
    with rc_context(_STYLE), io.BytesIO() as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()


def name_file(results, kind, label):
    """A file name that no other label of some results has, whatever is in it."""
    return f"{kind}-{results.labels.index(label) + 1:02d}.svg"


def _make_axes(height, left, right=0.12, top=0.3, bottom=0.42):
    """A figure and its axes, with margins in inches, so that small figures line up."""
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes(
        (left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (top + bottom) / height)
    )
    return figure, axes


def _set_title(axes, label, most=46):
    """A title that begins where the picture does."""
    box = axes.get_position()
    x = -box.x0 / box.width
    axes.set_title(short(clean(label), most), loc="left", x=x, fontweight="bold", color=LINE)


@rc_context(_STYLE)
def draw_dots(rows, xlabel, line=None, start=None):
    """Means with their intervals, a row each, from the top; single seeds as small dots below.

    Args:
        rows: tuples of a label, an `Interval`, the values of the seeds, and a colour.
        xlabel: what is measured.
        line: where a dashed line stands, or `None`. Defaults to `None`.
        start: where a dotted line stands, or `None`. Defaults to `None`.

    Returns:
        A matplotlib `Figure`.
    """
    # Labels above their rows: beside them, long ones would leave a telephone no room for dots.
    figure, axes = _make_axes(0.36 * len(rows) + 0.55, left=0.2, right=0.2, top=0.05, bottom=0.5)
    if line is not None:
        axes.axvline(line, color=REFERENCE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if start is not None:
        axes.axvline(start, color=QUIET, linewidth=1, linestyle=_DOTTED, zorder=1)
    for y, (label, interval, values, colour) in enumerate(rows):
        axes.axhline(y, color="#eeeeee", linewidth=0.8, zorder=0)
        seeds = np.full(len(values), y + 0.21)
        axes.plot(values, seeds, "o", color=colour, alpha=0.6, markersize=2.6, mew=0, zorder=3)
        if interval.half is not None:
            ends = interval.mean - interval.half, interval.mean + interval.half
            axes.plot(ends, [y, y], color=colour, linewidth=1.8, solid_capstyle="butt", zorder=3)
        axes.plot(interval.mean, y, "o", color=colour, markersize=5.5, mew=0, zorder=4)
        # White behind it, or the dashed line would cross it.
        axes.text(
            x=0,
            y=y - 0.26,
            s=short(clean(label), 46),
            color=LINE,
            transform=axes.get_yaxis_transform(),
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            zorder=2,
        )
    axes.set(ylim=(len(rows) - 0.6, -0.85), yticks=[], xlabel=xlabel)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.06)
    axes.locator_params(axis="x", nbins=5)
    return figure


@rc_context(_STYLE)
def draw_convergence(curves, label, reference, seconds=False):
    """One loss's curve among those of all others.

    Args:
        curves: dict from a label to a `Curve`.
        label: of the loss that is shown, with a band from its worst to its best seed.
        reference: label of the dashed one; need not be in `curves`.
        seconds: whether against seconds, else against steps. Defaults to `False`.

    Returns:
        A matplotlib `Figure`; all of one `curves` have the same axes.
    """
    figure, axes = _make_axes(1.95, left=0.42)

    def draw(name, **style):
        curve = curves[name]
        x = curve.seconds if seconds else curve.steps
        # One epoch is no line.
        axes.plot(x, curve.mean, marker="o" if len(x) == 1 else None, markersize=4, **style)
        return x

    ends = [draw(name, color=OTHERS, linewidth=0.8, zorder=1)[-1] for name in curves]
    if reference in curves and reference != label:
        draw(reference, color=REFERENCE, linewidth=1.4, linestyle=(0, (4, 2)), zorder=3)
    shown = curves[label]
    if shown.start is not None:
        axes.axhline(shown.start, color=QUIET, linewidth=1, linestyle=_DOTTED, zorder=3)
    x = draw(label, color=THIS, linewidth=2, zorder=4)
    axes.fill_between(x, shown.low, shown.high, color=THIS, alpha=0.25, linewidth=0, zorder=2)
    starts = [curve.start for curve in curves.values() if curve.start is not None]
    lowest = min([*starts, *(curve.mean.min() for curve in curves.values())])
    highest = max([*starts, *(curve.high.max() for curve in curves.values())])
    room = 0.06 * (highest - lowest) or 0.05
    axes.set(xlim=(0, 1.02 * max(ends)), ylim=(lowest - room, highest + room))
    axes.set_xlabel("seconds of training" if seconds else "steps")
    axes.locator_params(nbins=5)
    _set_title(axes, label)
    return figure


@rc_context(_STYLE)
def draw_distances(histograms, label):
    """Distances to images of the same class and of other classes.

    Args:
        histograms: `distances` of a run, as in `Results`.
        label: of the entry.

    Returns:
        A matplotlib `Figure`.
    """
    figure, axes = _make_axes(1.75, left=0.1)
    sides = (("positive", POSITIVE, "same class"), ("negative", NEGATIVE, "another class"))
    for key, colour, name in sides:
        counts = np.asarray(histograms[key], np.float64)
        edges = np.linspace(0, histograms["highest"], len(counts) + 1)
        # There are far more negative pairs: shares, so that both are seen.
        axes.stairs(counts / max(counts.sum(), 1), edges, fill=True, color=colour, alpha=0.55)
        axes.plot([], [], "s", color=colour, alpha=0.55, mew=0, label=name)
    axes.set(xlim=(0, histograms["highest"]), yticks=[], xlabel="distance between two embeddings")
    axes.set_ylim(bottom=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    # Beside the title, where no bar can be.
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.01, 0.96),
        ncols=2,
        frameon=False,
        fontsize=7.5,
        borderpad=0,
        handletextpad=0.1,
        columnspacing=0.8,
    )
    _set_title(axes, label, most=28)
    return figure
