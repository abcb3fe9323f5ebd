"""The table of metrics: a metric is a function and one row here. Loads nothing heavy.

To add a metric, write a function that turns its source into a number (`formulas` has them all) and
append a row to `METRICS`. `evaluate`, the callbacks, the choices of `monitor`, the tables and the
reports ask this table, so nothing else has to know.
"""

import dataclasses
import pkgutil
import re

# What was measured of a set: `Queries`, `Distances` and `Clusters` of `formulas`, `Roc` of
# `verification`. `evaluate` has the first, with clustering "clusters", with verification "pairs";
# `RetrievalMetrics` has "distances" as well, a sample of pairs.
SOURCES = ("queries", "clusters", "distances", "pairs")
# Those that are measured on request only.
ON_REQUEST = {"clusters": "clustering", "pairs": "verification"}


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric, or a family of them, such as Recall@K.

    Args:
        key: its name in results, such as `"map_at_r"`; for a family with `{k}` in it.
        title: heading of its columns; for a family with `{k}` in it.
        function: where its function is, as `"module:function"`, so that the table stays light. It
            takes the source (a family's also `k`) and returns a Python number, or `None` where the
            metric is not defined, and then results have no such key.
        explanation: what it says, for readers of a report; one or two sentences.
        source: what the function takes, one of `SOURCES`. Defaults to `"queries"`.
        unit: `"share"`, from 0 to 1; else what is measured or counted. Defaults to `"share"`.
        larger_is_better: `None` where neither is. Defaults to `True`.
        watched: whether it is a scalar of a training: in the logs of `fit`, and of the test classes
            in TensorBoard. Defaults to `True`.
        monitored: whether it may select the best epoch; of a family the member of K = 1. Defaults
            to `False`.
        in_epoch_table: whether the line of each epoch shows it. Defaults to `False`.
        in_tables: whether tables of results have a column of it. Defaults to `True`.
        headline: whether its column comes before all others, and a comparison draws it. Defaults to
            `False`.
        compared: whether a comparison tests its differences by seed. Defaults to `False`.
        k: of a member of a family. Defaults to `None`.

    Raises:
        ValueError: for an unknown source; if the best of a metric is looked for (monitored,
            headline or compared) and larger is not better; or if one that is monitored or in the
            epoch table is not watched, or has a source that not every epoch has.
    """

    key: str
    title: str
    function: str
    explanation: str
    source: str = "queries"
    unit: str = "share"
    larger_is_better: bool | None = True
    watched: bool = True
    monitored: bool = False
    in_epoch_table: bool = False
    in_tables: bool = True
    headline: bool = False
    compared: bool = False
    k: int | str | None = None

    def __post_init__(self):
        if self.source not in SOURCES:
            raise ValueError(f"`source` must be one of {SOURCES}. Received: source={self.source!r}")
        if (self.monitored or self.headline or self.compared) and not self.larger_is_better:
            raise ValueError(
                "A metric that is `monitored`, `headline` or `compared` must have "
                f"`larger_is_better`. Received: {self.key}"
            )
        if (self.monitored or self.in_epoch_table) and not self.watched:
            raise ValueError(
                "A metric that is `monitored` or `in_epoch_table` must be `watched`. "
                f"Received: {self.key}"
            )
        if (self.monitored or self.in_epoch_table) and self.source in ON_REQUEST:
            raise ValueError(
                "A metric that is `monitored` or `in_epoch_table` must not have a source that is "
                f"measured on request only. Received: {self.key}, of {self.source!r}"
            )

    @property
    def is_family(self):
        """Whether it stands for one metric for each K."""
        return "{k}" in self.key

    def at(self, k):
        """The member of a family for a K; for the letter "K" what readers are told of all."""
        return dataclasses.replace(
            self,
            key=self.key.format(k=k),
            title=self.title.format(k=k),
            explanation=self.explanation.format(k=k),
            k=k,
        )

    def compute(self, source):
        """The number for a source, or `None` where the metric is not defined."""
        function = pkgutil.resolve_name(self.function)
        return function(source) if self.k is None else function(source, self.k)


# In the order of the results of `evaluate`.
METRICS = (
    Metric(
        "recall_at_{k}",
        "Recall@{k}",
        "mdl_tf.metrics.formulas:recall_at_k",
        "Share of the queries with at least one image of their class among the {k} nearest.",
        monitored=True,
        in_epoch_table=True,
        headline=True,
        compared=True,
    ),
    Metric(
        "r_precision",
        "R-precision",
        "mdl_tf.metrics.formulas:r_precision",
        "Share of images of the query's class among the R nearest, mean over the queries.",
        monitored=True,
    ),
    Metric(
        "map_at_r",
        "MAP@R",
        "mdl_tf.metrics.formulas:map_at_r",
        "R is the number of other images of the query's class. At each of the R nearest: the "
        "precision up to there if it is of the class, else 0; mean over the R and over the "
        "queries. Unlike Recall@K it sees the whole order.",
        monitored=True,
        in_epoch_table=True,
        headline=True,
        compared=True,
    ),
    Metric(
        "strict_discrimination",
        "strict",
        "mdl_tf.metrics.formulas:strict_discrimination",
        "Share of the queries for which every image of their class is nearer than every other one.",
        monitored=True,
        in_epoch_table=True,
    ),
    Metric(
        "violated_anchors",
        "violated",
        "mdl_tf.metrics.formulas:violated_anchors",
        "Share of the queries whose nearest image of another class is not farther than the "
        "farthest of their own by at least the margin.",
        larger_is_better=False,
        in_tables=False,
    ),
    *(
        Metric(
            f"gap_p{percent:02d}",
            f"gap {percent} %",
            f"mdl_tf.metrics.formulas:gap_p{percent:02d}",
            f"Quantile at {percent} % of the queries' gaps: the distance of the nearest image of "
            "another class minus that of the farthest of their own.",
            unit="distance",
            watched=False,
            in_tables=False,
        )
        for percent in (5, 50, 95)
    ),
    Metric(
        "queries",
        "queries",
        "mdl_tf.metrics.formulas:count_queries",
        "Images that search, each with an image of its class to find.",
        unit="images",
        larger_is_better=None,
        watched=False,
        in_tables=False,
    ),
    Metric(
        "lone_queries",
        "lone queries",
        "mdl_tf.metrics.formulas:count_lone_queries",
        "Images alone in their class, with nothing to find: left out.",
        unit="images",
        larger_is_better=None,
        watched=False,
        in_tables=False,
    ),
    Metric(
        "mean_positive_distance",
        "pos. dist.",
        "mdl_tf.metrics.formulas:mean_positive_distance",
        "Mean distance of two images of one class, in a sample of pairs.",
        source="distances",
        unit="distance",
        larger_is_better=None,
        in_epoch_table=True,
        in_tables=False,
    ),
    Metric(
        "mean_negative_distance",
        "neg. dist.",
        "mdl_tf.metrics.formulas:mean_negative_distance",
        "Mean distance of two images of two classes, in a sample of pairs. If it is near 0, the "
        "embedding has collapsed.",
        source="distances",
        unit="distance",
        larger_is_better=None,
        in_epoch_table=True,
        in_tables=False,
    ),
    Metric(
        "eer",
        "EER",
        "mdl_tf.metrics.formulas:eer",
        "Pairs are called the same up to a distance. At the distance where as many pairs of one "
        "class are missed as pairs of two classes are taken for one: that share.",
        source="pairs",
        larger_is_better=False,
    ),
    Metric(
        "roc_auc",
        "AUC",
        "mdl_tf.metrics.formulas:roc_auc",
        "Probability that a pair of one class is nearer than a pair of two; 0.5 is chance.",
        source="pairs",
        in_tables=False,
    ),
    *(
        Metric(
            f"tar_at_far_1e_{digits}",
            f"TAR@1e-{digits}",
            f"mdl_tf.metrics.formulas:tar_at_far_1e_{digits}",
            "Share of the pairs of one class that are called the same at the distance up to which "
            f"one in {10**digits:,} pairs of two classes is, too.",
            source="pairs",
        )
        for digits in (2, 3, 4)
    ),
    Metric(
        "positive_pairs",
        "positive pairs",
        "mdl_tf.metrics.formulas:count_positive_pairs",
        "Pairs of one class behind the equal error rate, at most a million, drawn at random.",
        source="pairs",
        unit="pairs",
        larger_is_better=None,
        watched=False,
        in_tables=False,
    ),
    Metric(
        "negative_pairs",
        "negative pairs",
        "mdl_tf.metrics.formulas:count_negative_pairs",
        "Pairs of two classes behind the equal error rate, at most a million, drawn at random.",
        source="pairs",
        unit="pairs",
        larger_is_better=None,
        watched=False,
        in_tables=False,
    ),
    Metric(
        "nmi",
        "NMI",
        "mdl_tf.metrics.formulas:nmi",
        "Normalised mutual information of k-means clusters and classes: 0 if clusters say nothing "
        "about classes, 1 if they are the same.",
        source="clusters",
        compared=True,
    ),
    Metric(
        "f1",
        "F1",
        "mdl_tf.metrics.formulas:f1",
        "A pair of images in one cluster is right if it is of one class: the harmonic mean of "
        "precision and recall over pairs.",
        source="clusters",
    ),
    Metric(
        "kmeans_inertia",
        "inertia",
        "mdl_tf.metrics.formulas:kmeans_inertia",
        "Sum of squared distances to the centres of the clusters of k-means.",
        source="clusters",
        unit="squared distance",
        larger_is_better=False,
        watched=False,
        in_tables=False,
    ),
)


def rows(ks=(1,)):
    """All metrics in the order of results.

    Args:
        ks: the K of families. Defaults to `(1,)`, where one member stands for each.

    Returns:
        A list of `Metric`, a family as one for each of `ks`.
    """
    return [row for m in METRICS for row in ([m.at(k) for k in ks] if m.is_family else [m])]


def find(key):
    """The metric of a key in results, or `None`.

    Args:
        key: such as `"map_at_r"` or `"recall_at_4"`.
    """
    for metric in METRICS:
        match = re.fullmatch(metric.key.replace("{k}", r"([1-9]\d*)"), key)
        if match:
            return metric.at(int(match[1])) if metric.is_family else metric
    return None


def title(key):
    """The title of the metric of a key; of an unknown one the key itself.

    Args:
        key: such as `"map_at_r"`.
    """
    metric = find(key)
    return metric.title if metric else key


def find_columns(keys):
    """The metrics that tables show, of some results.

    Args:
        keys: of the results; those of no metric are left out.

    Returns:
        A list of `Metric` in the order of columns, families by rising K.
    """
    keys = set(keys)
    ks = sorted({metric.k for metric in map(find, keys) if metric and metric.k})
    return select_columns(row for row in rows(ks) if row.key in keys)


def select_columns(metrics):
    """The metrics that tables show, of some, in the order of columns: headlines first.

    Args:
        metrics: `Metric`s in the order of `rows`.

    Returns:
        A list of them.
    """
    shown = [metric for metric in metrics if metric.in_tables]
    return sorted(shown, key=lambda metric: not metric.headline)


def monitored():
    """Keys of the metrics that may select the best epoch, a tuple."""
    return tuple(row.key for row in rows() if row.monitored)
