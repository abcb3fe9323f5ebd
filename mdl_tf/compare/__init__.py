"""Does another loss learn better? The same network trained with each, searched with equal effort.

For each loss an equal number of settings, its own and the learning rate, is tried on classes held
out of training; then the best of them is trained with fresh seeds and measured on the test classes,
which decide nothing. Network, batches, steps, schedule and, for the same seed, the weights at the
start are the same for all.

>>> config = TrainConfig(backbone="conv4", image_size=32, validation=0.25)
>>> comparison = Comparison(config, parse("triplet,n_pairs"))
>>> results = compare(comparison, Folder.of(comparison))

`mdl_tf.compare.report.statistics` has the means, intervals, differences and curves of `results`.
"""

from mdl_tf.compare.comparison import Comparison
from mdl_tf.compare.entries import Entry, parse
from mdl_tf.compare.folder import Folder
from mdl_tf.compare.results import Results

__all__ = ["Comparison", "Entry", "Folder", "Results", "compare", "parse", "write_report"]


def compare(comparison, folder, *, report=print, stream=None):
    """Train what is not done yet, and write the report.

    Args:
        comparison: a `Comparison`.
        folder: its `Folder`. Runs that are done there are not done again; a kill loses the one
            that goes on.
        report: a function that prints a line. Defaults to `print`.
        stream: where the bar of a run goes. Defaults to standard output.

    Returns:
        The `Results`.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data, and if another
            process is at this comparison, before anything is trained.
    """
    # TensorFlow; the rest is light, so that a wrong argument is told at once.
    from mdl_tf.compare.runner import Runner
    from mdl_tf.runs.replicas import find_strategy, refuse_cluster

    refuse_cluster("A comparison")
    # Devices are settled before TensorFlow computes anything.
    find_strategy(comparison.config)
    with folder.alone():
        runner = Runner(comparison, folder, report, stream)
        report(runner.forecast())
        try:
            runner.run()
        finally:
            # Also of what there is when somebody has seen enough.
            results = folder.results()
            if results.trials:
                write_report(results, folder)
    return results


def write_report(results, folder):
    """`report.html`, `report.md`, `results.csv` and the pictures of a comparison.

    Args:
        results: a `Results`.
        folder: its `Folder`.

    Returns:
        The paths of the files.
    """
    from mdl_tf.compare.report import write

    return write(results, folder.path)
