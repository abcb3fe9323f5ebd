"""The section of a report that explains its words and numbers."""

from mdl_tf.compare.report.blocks import Section, Table
from mdl_tf.metrics import table

_TERMS = (
    (
        "±",
        "Half of the 95 % interval of a mean over seeds. A smaller difference is noise: another "
        "set of seeds could turn it around.",
    ),
    (
        "better, worse",
        "The interval of the differences seed by seed does not contain 0. The intervals of the "
        "results may overlap all the same: what a seed does to both losses cancels in a "
        "difference.",
    ),
    (
        "raw pixels, features, start",
        "What there is without any training: small grey images; what the network makes of images, "
        "scaled to unit length, as people use it; and the network as every loss begins with it. A "
        "loss that is hardly above the start has learned little.",
    ),
    (
        "▼, ▽",
        "Not above the start: on the test classes in the mean over the seeds; on the validation "
        "classes in no seed.",
    ),
)


def explain_terms(results):
    """The metrics that tables show, and the terms of statistics.

    Args:
        results: a `Results`; the section is the same for all.

    Returns:
        A `Section`.
    """
    metrics = table.select_columns(table.rows(ks=("K",)))
    rows = [(metric.title, metric.explanation) for metric in metrics]
    return Section(
        "How to read this",
        (Table(("", "what it is"), (*rows, *_TERMS), text_columns=(1,)),),
    )
