"""A comparison as a document, the same one for every way of writing it."""

from mdl_tf.compare.report import measured, pictured, searches, set_up
from mdl_tf.compare.report.blocks import Document
from mdl_tf.compare.report.outcome import outcome
from mdl_tf.compare.report.words import count


def document(results):
    """All that is said about a comparison, finished or not; its figures are drawn.

    Args:
        results: a `Results`.

    Returns:
        A `Document`.
    """
    return Document(
        f"{results.name}: {count(len(results.labels), 'loss')} on {set_up.data_set(results)}",
        tuple(outcome(results)),
        (
            set_up.set_up(results),
            measured.on_the_test(results),
            measured.differences(results),
            pictured.converging(results),
            pictured.as_good_as_triplet(results),
            pictured.distance_histograms(results),
            pictured.nearest(results),
            searches.searching(results),
            searches.failures(results),
            set_up.reading(),
        ),
    )
