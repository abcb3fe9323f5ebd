"""The sections of a report that show what the embeddings of the test classes look like."""

from mdl_tf.compare.report import figures
from mdl_tf.compare.report.blocks import Folded, Gallery, Picture, Section, fold_many
from mdl_tf.compare.report.statistics import find_reference, ranking, successful_runs


def show_distances(results):
    """Distances between test images, a histogram for each loss.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    title, pictures = "Distances", []
    for label in ranking(results):
        histograms = _first(results, label, "distances")
        if histograms:
            alt = (
                f"{label}: {sum(histograms['positive']):,} distances between test images of the "
                f"same class and {sum(histograms['negative']):,} between those of two classes"
            )
            figure = figures.draw_distances(histograms, label)
            pictures.append(Picture(figures.name_file(results, "distances", label), alt, figure))
    if not pictures:
        return Section(title, ("There are none yet.",))
    text = (
        "Between the embeddings of the test classes, first seed: pairs of the same class and of "
        "two classes, each as shares. Where they overlap, images of another class may be nearer "
        "than images of the same class. Scales differ: a loss may spread its embeddings as far as "
        "it likes."
    )
    return Section(title, (text, fold_many("Distances", Gallery(tuple(pictures)))))


def show_neighbors(results):
    """Pictures of some queries and what each loss finds.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    title, pictures = "Nearest neighbours", {}
    for label in ranking(results):
        name = _first(results, label, "neighbors")
        if name:
            alt = f"{label}: test images, and beside each the images whose embeddings are nearest"
            pictures[label] = Picture(name, alt)
    if not pictures:
        if results.data.get("kind") == "features":
            return Section(title, ("There are none of features, which are no pictures.",))
        return Section(title, ("There are none.",))
    text = (
        "The same test images for every loss, first seed: on the left the query, beside it what is "
        "nearest; an orange frame with a cross is of another class."
    )
    # The best one and the reference say most.
    is_open = {next(iter(pictures)), find_reference(results)}
    folded = [
        Folded(label, (Gallery((picture,), wide=True),), label in is_open)
        for label, picture in pictures.items()
    ]
    return Section(title, (text, *folded))


def _first(results, label, key):
    """What the first seed that has it kept of an entry, or `None`."""
    kept = (trial.get(key) for trial in successful_runs(results, label))
    return next((value for value in kept if value), None)
