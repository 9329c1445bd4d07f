"""The log of one process, which is used while Redis is away."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.base import Priority
from providers.rate_limit.local_log import LocalLog
from providers.rate_limit.shares import Window

EVERYBODY = list(Priority)


class Clock:
    """Seconds that a test moves. Steps are binary fractions, so that sums are exact."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def reserve_until_refused(log, priority):
    return next(times for times in range(1_000) if log.reserve(priority))


@settings(deadline=None)
@given(
    windows=st.lists(st.builds(Window, st.integers(1, 40), st.integers(1, 60)), min_size=1, max_size=3),
    asks=st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 50), st.integers(0, 240)), max_size=20),
)
def test_no_window_is_ever_exceeded(windows, asks):
    clock, sent = Clock(), []
    log = LocalLog(windows, clock)
    for priority, times, quarters in asks:
        clock.now += quarters / 4
        sent += [clock.now for _ in range(times) if not log.reserve(priority)]
    for window in windows:
        for last in sent:
            assert sum(last - window.seconds < moment <= last for moment in sent) <= window.requests


def test_the_wait_is_the_time_until_there_is_room(clock):
    log = LocalLog([Window(2, 10)], clock)
    log.reserve(Priority.INTERACTIVE)
    clock.now += 4
    log.reserve(Priority.INTERACTIVE)
    assert log.reserve(Priority.INTERACTIVE) == 6
    clock.now += 6
    assert log.reserve(Priority.INTERACTIVE) == 0


def test_the_narrowest_window_decides(clock):
    log = LocalLog([Window(20, 1), Window(30, 60)], clock)
    assert reserve_until_refused(log, Priority.INTERACTIVE) == 20
    clock.now += 1
    assert reserve_until_refused(log, Priority.INTERACTIVE) == 10


def test_the_timer_leaves_room_for_webhooks_and_both_for_people(clock):
    log = LocalLog([Window(30, 60)], clock)
    assert [reserve_until_refused(log, priority) for priority in reversed(EVERYBODY)] == [18, 9, 3]


@pytest.mark.parametrize("priority", Priority)
def test_a_window_of_one_request_serves_everybody(clock, priority):
    assert reserve_until_refused(LocalLog([Window(1, 60)], clock), priority) == 1


@pytest.mark.parametrize(
    ("paused", "stopped"),
    [
        (Priority.INTERACTIVE, EVERYBODY),
        (Priority.WEBHOOK, [Priority.WEBHOOK, Priority.RECONCILE]),
        (Priority.RECONCILE, [Priority.RECONCILE]),
    ],
)
def test_a_pause_stops_the_less_urgent_too(clock, paused, stopped):
    log = LocalLog([Window(40, 60)], clock)
    log.pause(paused, 20)
    assert [priority for priority in Priority if log.reserve(priority)] == stopped


def test_a_shorter_pause_does_not_end_a_longer_one(clock):
    log = LocalLog([Window(40, 60)], clock)
    log.pause(Priority.INTERACTIVE, 20)
    log.pause(Priority.INTERACTIVE, 1)
    assert log.reserve(Priority.INTERACTIVE) == 20


def test_threads_that_share_a_log_never_exceed_a_window():
    log = LocalLog([Window(40, 60)])
    granted = []

    def ask():
        granted.append(sum(log.reserve(Priority.INTERACTIVE) == 0 for _ in range(100)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 40
