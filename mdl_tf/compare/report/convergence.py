"""The sections of a report that show how losses converge and what their embeddings look like."""

from mdl_tf.compare.report import figures
from mdl_tf.compare.report.blocks import Folded, Gallery, Picture, Section, Table
from mdl_tf.compare.report.statistics import curve, goal, ranking, reached, reference, runs
from mdl_tf.compare.report.words import count, number

_MANY = 6  # pictures; more are folded away where they are not the first of their kind


def _name(results, kind, label):
    """A file name that no other label has, whatever is in it."""
    return f"{kind}-{results.labels.index(label) + 1:02d}.svg"


def converging(results):
    """Recall@1 on the validation classes, against steps and against seconds."""
    title = "Convergence"
    curves = {label: curve(results, label) for label in ranking(results)}
    curves = {label: found for label, found in curves.items() if found}
    if not curves:
        return Section(title, ("There is no curve yet.",))
    own = reference(results)
    text = (
        "Recall@1 on the validation classes after each epoch, mean over the seeds. Blue: the loss "
        "that is named, with a band from its worst to its best seed. Orange and dashed: "
        f"{own}. Grey: all others. All axes are the same."
    )
    blocks = [text, _panels(results, curves, own)]
    timed = {label: found for label, found in curves.items() if found.seconds_per_step}
    if timed:
        blocks += [
            "Against seconds: the steps times the median time of a step over all final runs of a "
            "loss. On a machine with other work a sum of seconds would measure the other work. "
            "Building the graph and evaluations are not counted.",
            *_many("Against seconds", _panels(results, timed, own, seconds=True)),
        ]
    return Section(title, tuple(blocks))


def _panels(results, curves, own, seconds=False):
    kind = "seconds" if seconds else "steps"
    pictures = []
    for label, found in curves.items():
        x = (found.seconds if seconds else found.steps)[-1]
        alt = (
            f"{label}: Recall@1 on validation classes from {found.mean[0]:.3f} after the first "
            f"epoch to {found.mean[-1]:.3f} after {x:,.0f} {kind}; at most {found.mean.max():.3f}"
        )
        drawn = figures.convergence(curves, label, own, seconds)
        pictures.append(Picture(_name(results, f"convergence-{kind}", label), alt, drawn))
    return Gallery(tuple(pictures))


def _many(title, gallery):
    if len(gallery.pictures) <= _MANY:
        return [gallery]
    return [Folded(f"{title}: {count(len(gallery.pictures), 'figure')}", (gallery,))]


def as_good_as_triplet(results):
    """The steps that each loss needs to reach triplet's best."""
    title, other = "Steps to the best of triplet", goal(results)
    if other is None:
        return Section(title, ("Left out: no triplet loss is among the losses.",))
    found = {label: reached(results, label, other) for label in ranking(results)}
    found = {label: one for label, one in found.items() if one}
    if not found:
        return Section(title, (f"There is no final run of {other} to compare with yet.",))
    order = sorted(found, key=lambda s: (-found[s].count / found[s].seeds, found[s].steps or 0))
    rows = tuple(
        (
            label,
            f"{found[label].count} of {found[label].seeds}",
            number(found[label].steps, ",.0f"),
            number(found[label].seconds, ",.1f"),
        )
        for label in order
    )
    text = (
        f"The goal is the best Recall@1 on the validation classes that {other} ever had with the "
        "same seed. Counted is when a loss first reaches it, between two epochs along a straight "
        "line; medians over the seeds that did reach it, which flatter a loss that did not in all "
        "of them. Seconds are counted as above."
    )
    table = Table(("loss", "reached in", "steps", "seconds"), rows)
    return Section(title, (text, table))


def distance_histograms(results):
    """Distances between test images, a histogram for each loss."""
    title, pictures = "Distances", []
    for label in ranking(results):
        counted = next((t["distances"] for t in runs(results, label) if t.get("distances")), None)
        if counted:
            alt = (
                f"{label}: {sum(counted['positive']):,} distances between test images of the same "
                f"class and {sum(counted['negative']):,} between those of two classes"
            )
            drawn = figures.distances(counted, label)
            pictures.append(Picture(_name(results, "distances", label), alt, drawn))
    if not pictures:
        return Section(title, ("There are none yet.",))
    text = (
        "Between the embeddings of the test classes, first seed: pairs of the same class and of "
        "two classes, each as shares. Where they overlap, images of another class are nearer than "
        "those of one's own. Scales differ: a loss may use as much room as it likes."
    )
    return Section(title, (text, *_many("Distances", Gallery(tuple(pictures)))))


def nearest(results):
    """Pictures of some queries and what each loss finds."""
    title, pictures = "Nearest neighbours", []
    for label in ranking(results):
        name = next((t["neighbors"] for t in runs(results, label) if t.get("neighbors")), None)
        if name:
            alt = f"{label}: test images, and beside each the images whose embeddings are nearest"
            pictures.append((label, Picture(name, alt)))
    if not pictures:
        of = " of features, which are no pictures" * (results.data.get("kind") == "features")
        return Section(title, (f"There are none{of}.",))
    text = (
        "The same test images for every loss, first seed: on the left the query, beside it what is "
        "nearest; an orange frame with a cross is of another class."
    )
    # The best one and the reference say most.
    first = {pictures[0][0], reference(results)}
    folded = (Folded(s, (Gallery((p,), wide=True),), s in first) for s, p in pictures)
    return Section(title, (text, *folded))
