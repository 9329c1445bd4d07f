import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.seat_limit import UNLIMITED, Unlimited, add, at_least, available, from_json, overage, to_json
from tests.domain.few_examples import few_examples

NUMBERS = st.integers(0, 10**6)
LIMITS = NUMBERS | st.just(UNLIMITED)


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [(2, 3, 5), (2, UNLIMITED, UNLIMITED), (UNLIMITED, 3, UNLIMITED), (UNLIMITED, UNLIMITED, UNLIMITED)],
)
def test_anything_plus_unlimited_is_unlimited(left, right, total):
    assert add(left, right) == total


@pytest.mark.parametrize(
    ("limit", "seats", "fits"),
    [
        (3, 2, True),
        (3, 3, True),
        (3, 4, False),
        (UNLIMITED, 4, True),
        (4, UNLIMITED, False),
        (UNLIMITED, UNLIMITED, True),
    ],
)
def test_unlimited_is_more_than_any_number(limit, seats, fits):
    assert at_least(limit, seats) is fits


@pytest.mark.parametrize(
    ("purchased", "used", "left", "over"),
    [(5, 3, 2, 0), (5, 5, 0, 0), (5, 8, 0, 3), (UNLIMITED, 8, UNLIMITED, 0)],
)
def test_what_is_available_and_what_is_over(purchased, used, left, over):
    assert (available(purchased, used), overage(purchased, used)) == (left, over)


@pytest.mark.parametrize(("limit", "shown"), [(0, 0), (7, 7), (UNLIMITED, "unlimited")])
def test_unlimited_is_shown_as_a_word(limit, shown):
    assert to_json(limit) == shown
    assert from_json(shown) == limit
    assert str(limit) == str(shown)


def test_a_word_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="none"):
        from_json("none")


def test_unlimited_is_an_enum_value_and_no_number():
    assert list(Unlimited) == [UNLIMITED]
    assert repr(UNLIMITED) == "UNLIMITED"


@few_examples
@given(LIMITS)
def test_to_json_and_back(limit):
    assert from_json(to_json(limit)) == limit


@few_examples
@given(NUMBERS, NUMBERS)
def test_available_less_overage_is_the_difference(purchased, used):
    assert available(purchased, used) - overage(purchased, used) == purchased - used
