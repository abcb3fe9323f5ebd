"""Arguments are refused with their name, the rule and what was received."""

import numpy as np
import pytest

from mdl_tf.checks import check_choice, check_integer, check_number


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2)])
def test_integers_of_every_kind(value):
    assert check_integer("k", value, least=2, most=2) == 2
    assert type(check_integer("k", value)) is int


@pytest.mark.parametrize("value", [True, np.True_, 2.0, np.float32(2), "2", None, 1, 5, [2]])
def test_what_is_no_integer_in_range(value):
    with pytest.raises(ValueError) as raised:
        check_integer("k", value, least=2, below=5)
    message = f"`k` must be an integer, at least 2 and below 5. Received: k={value!r}"
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25), np.int32(1)])
def test_numbers_of_every_kind(value):
    assert check_number("margin", value, above=0) is value


@pytest.mark.parametrize("value", [True, np.nan, np.inf, "0.5", None, -1, 0])
def test_what_is_no_number_in_range(value):
    with pytest.raises(ValueError) as raised:
        check_number("margin", value, above=0, unit="radians")
    message = f"`margin` must be a number, above 0, in radians. Received: margin={value!r}"
    assert str(raised.value) == message


def test_choices():
    assert check_choice("soft", False, (True, False)) is False
    for value in (1, 0, "True", None, np.True_):
        with pytest.raises(ValueError, match=r"`soft` must be one of \(True, False\)\. Received"):
            check_choice("soft", value, (True, False))
