"""What the end of a run says in words."""

from types import SimpleNamespace

import pytest

from mdl_tf.runs.report import _compare_sides


@pytest.mark.parametrize(
    ("validation", "test", "better"),
    [(5, 49, "validation"), (300, 49, "test"), (49, 49, None), (0, 49, None)],
)
def test_why_validation_and_test_differ_is_said_where_they_must(validation, test, better):
    classes = {"validation": [str(i) for i in range(validation)]}
    run = SimpleNamespace(read_json=lambda name, default: classes)
    lines = list(_compare_sides(run, SimpleNamespace(num_classes=test)))
    assert len(lines) == (better is not None)
    if better:
        assert lines[0].startswith(f"Validation figures are of {validation} classes, those of the")
        assert f"of {test}: " in lines[0] and f"so that {better} looks better" in lines[0]
