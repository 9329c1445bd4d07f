"""A bound is kept in seconds of a quiet machine, however busy this one is meanwhile."""

from __future__ import annotations

import pytest

from tests import waiting
from tests.waiting import Bound, Pace, slowdown, wait_until


class Machine:
    """Its time passes when it is told to; it may be so many times slower than a quiet one."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slowdown = 1.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, bound: Bound, seconds: float) -> bool:
        """Ask the bound again and again for so long; whether it is over."""
        until = self.now + seconds
        while self.now < until and not bound.is_over():
            self.sleep(0.25)
        return bound.is_over()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(waiting, "monotonic", lambda: machine.now)
    monkeypatch.setattr(waiting, "sleep", machine.sleep)
    monkeypatch.setattr(waiting, "slowdown", lambda: machine.slowdown)
    return machine


def test_on_a_quiet_machine_a_bound_is_as_long_as_it_says(machine: Machine):
    bound = Bound(10)
    assert not machine.wait(bound, 9.75)
    assert machine.wait(bound, 0.25)


def test_where_all_takes_twice_as_long_so_does_a_bound(machine: Machine):
    machine.slowdown = 2.0
    bound = Bound(10)
    assert not machine.wait(bound, 19.75)
    assert machine.wait(bound, 1)


def test_only_the_busy_part_of_a_wait_is_stretched(machine: Machine):
    bound = Bound(10)
    assert not machine.wait(bound, 5)
    machine.slowdown = 4.0
    assert not machine.wait(bound, 12)
    machine.slowdown = 1.0
    assert not machine.wait(bound, 1.75)
    assert machine.wait(bound, 0.25)


def test_a_bound_of_less_than_a_second_is_kept(machine: Machine):
    bound = Bound(0.5)
    assert not machine.wait(bound, 0.25)
    assert machine.wait(bound, 0.25)


def test_what_never_comes_is_named_with_the_log_when_the_bound_is_over(machine: Machine):
    with pytest.raises(AssertionError, match=r"after 5\.\d s \(bound: 5 s\) still not: rain\nthe log"):
        wait_until(lambda: False, "rain", lambda: "the log", seconds=5)


def test_what_others_have_timed_may_take_as_long_as_the_slowest_moment_allows(machine: Machine):
    machine.slowdown = 3.0
    with Pace() as pace:
        pass
    assert pace.allows(1.5) == 4.5


def test_no_machine_is_quicker_than_the_quiet_one_that_is_meant():
    assert slowdown() >= 1.0
