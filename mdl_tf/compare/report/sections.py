"""A comparison as a document, the same one for every way of writing it."""

from mdl_tf.compare.report.blocks import Document
from mdl_tf.compare.report.convergence import show_convergence, show_steps_to_goal
from mdl_tf.compare.report.differences import show_differences
from mdl_tf.compare.report.embeddings import show_distances, show_neighbors
from mdl_tf.compare.report.glossary import explain_terms
from mdl_tf.compare.report.outcome import describe_outcome
from mdl_tf.compare.report.results_table import show_results
from mdl_tf.compare.report.searches import show_failures, show_searches
from mdl_tf.compare.report.set_up import data_set_name, show_set_up
from mdl_tf.compare.report.words import count

# In their order: functions from `Results` to a `Section`.
SECTIONS = (
    show_set_up,
    show_results,
    show_differences,
    show_convergence,
    show_steps_to_goal,
    show_distances,
    show_neighbors,
    show_searches,
    show_failures,
    explain_terms,
)


def make_document(results):
    """All that is said about a comparison, finished or not; its figures are drawn.

    Args:
        results: a `Results`.

    Returns:
        A `Document`.
    """
    return Document(
        f"{results.name}: {count(len(results.labels), 'loss')} on {data_set_name(results)}",
        tuple(describe_outcome(results)),
        tuple(show(results) for show in SECTIONS),
    )
