import pytest

from providers.base import Priority
from providers.rate_limit.shares import FLOORS, RECONCILE_CEILING, Window, pace, with_divisible_multiples

DEFAULT = (Window(40, 1), Window(240, 60))


@pytest.mark.parametrize(("window", "floors"), [(DEFAULT[0], (4, 8, 2)), (DEFAULT[1], (24, 48, 12))])
def test_everybody_has_a_floor(window, floors):
    assert tuple(window.floor(priority) for priority in Priority) == floors


def test_the_floors_leave_most_of_a_window_to_whoever_comes_first():
    assert sum(FLOORS.values()) <= 50
    assert FLOORS[Priority.RECONCILE] < RECONCILE_CEILING


def test_only_the_timer_has_a_ceiling():
    assert [Window(40, 1).ceiling(priority) for priority in Priority] == [0, 0, 24]


@pytest.mark.parametrize("requests", range(1, 20))
def test_a_window_that_is_too_small_to_be_shared_out_is_shared_out_over_a_longer_time(requests):
    small, long = with_divisible_multiples([Window(requests, 3)])
    assert small == Window(requests, 3)
    assert long.requests * small.seconds == small.requests * long.seconds
    assert all(long.floor(priority) for priority in Priority)
    assert long.requests < 40


def test_a_larger_window_is_judged_as_it_is():
    assert with_divisible_multiples(DEFAULT) == DEFAULT


@pytest.mark.parametrize(
    ("windows", "requests"),
    [(DEFAULT, 12), ([Window(1, 60)], 1), ([Window(3600, 3600)], 3), ([Window(40, 1)], 0)],
)
def test_the_timers_part_of_a_long_window_is_spread_over_pieces_of_it(windows, requests):
    assert pace(windows) == requests
