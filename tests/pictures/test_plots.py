"""What curves say, read back from the axes."""

import numpy as np

from mdl_tf.metrics.verification import Curve
from mdl_tf.pictures import plots


def test_roc_curves_are_dotted_where_few_pairs_stand_behind_them():
    far = np.array([1, 0.1, 0.01, 0.001])
    trained = Curve(far, np.array([1, 0.9, 0.7, 0.2]), 50, 2000, 0.08)
    other = Curve(far[:3], np.array([1, 0.8, 0.6]), 5, 100, 0.12)
    [axes] = plots.roc_curves({"trained": trained, "validation": other}).axes
    lines = [(line.get_linestyle(), line.get_xdata().tolist()) for line in axes.lines]
    # 20 pairs are behind 0.01 of 2,000, and 2 behind 0.001; 10 behind 0.1 of 100.
    assert lines == [
        ("-", [1, 0.1, 0.01]),
        (":", [0.01, 0.001]),
        ("--", [1, 0.1]),
        (":", [0.1, 0.01]),
    ]
    assert axes.lines[0].get_ydata().tolist() == [1, 0.9, 0.7]
    labels = [line.get_label() for line in axes.lines]
    assert labels[0] == "trained: EER 0.080, pairs of one class 50, of two 2,000"
    assert axes.get_xscale() == "log" and axes.get_xlim() == (0.001, 1)
