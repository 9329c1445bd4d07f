import multiprocessing
import time

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.base import Priority
from providers.rate_limit.redis_log import RedisLog
from providers.rate_limit.shares import Window
from tests.providers.timed_logs import SECOND, TimedLog

DEFAULT = (Window(40, 1), Window(240, 60))

WINDOWS = st.sampled_from(
    [
        DEFAULT,
        (Window(40, 60),),
        (Window(1, 60),),
        (Window(2, 1), Window(20, 7)),
        (Window(5, 1), Window(30, 60)),
        (Window(10, 2), Window(25, 20)),
    ]
)
# Who asks, how many times at once, and how many microseconds after those before.
ASKS = st.lists(
    st.tuples(
        st.sampled_from(Priority),
        st.integers(1, 50),
        st.sampled_from([0, 1, SECOND, 5 * SECOND, 60 * SECOND])
        | st.integers(0, 2 * SECOND)
        | st.integers(0, 40 * SECOND),
    ),
    max_size=15,
)

with_redis = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def make_log(shared):
    return lambda windows: TimedLog(windows, shared)


def ask_all(log, asks):
    """What is answered to a stream of asks, one after another."""
    answers = []
    for priority, times, later in asks:
        log.passes(later / SECOND)
        answers += [log.reserve(priority) for _ in range(times)]
    return answers


# Never more than a window.


@with_redis
@given(windows=WINDOWS, asks=ASKS)
def test_no_window_is_ever_exceeded(shared, windows, asks):
    log = TimedLog(windows, shared)
    ask_all(log, asks)
    log.assert_no_window_is_exceeded()


def test_the_narrowest_window_decides_and_a_refusal_costs_the_others_nothing(make_log):
    log = make_log([Window(20, 1), Window(40, 60)])
    assert log.reserve_until_refused(Priority.INTERACTIVE) == 15
    log.passes(1)
    assert log.reserve_until_refused(Priority.INTERACTIVE) == 15
    assert log.reserve(Priority.INTERACTIVE) == 59 * SECOND


def test_a_window_slides(make_log):
    log = make_log([Window(2, 1)])
    assert log.reserve(Priority.INTERACTIVE) == 0
    log.passes(0.5)
    assert log.reserve(Priority.INTERACTIVE) == 0
    assert log.reserve(Priority.INTERACTIVE) == SECOND / 2
    log.passes(0.5)
    assert log.reserve(Priority.INTERACTIVE) == 0


# Floors: who asks for little gets it at once, whatever the others do.


@with_redis
@given(windows=WINDOWS, asks=ASKS)
def test_nobody_is_refused_who_has_not_had_its_floor(shared, windows, asks):
    log = TimedLog(windows, shared)
    for priority, times, later in asks:
        log.passes(later / SECOND)
        for _ in range(times):
            assert log.reserve(priority) == 0 or log.has_had_its_floor(priority)


@with_redis
@given(windows=WINDOWS, asks=ASKS)
def test_nobody_touches_what_is_kept_for_others(shared, windows, asks):
    log = TimedLog(windows, shared)
    for priority, times, later in asks:
        log.passes(later / SECOND)
        for _ in range(times):
            if log.reserve(priority) == 0:
                for window in log.windows:
                    kept = sum(log.kept_from(priority, window))
                    assert log.used(window.seconds) + kept <= window.requests


@pytest.mark.parametrize("modest", Priority)
@pytest.mark.parametrize(
    ("windows", "tick"),
    [(DEFAULT, 0.25), ([Window(40, 60)], 1), ([Window(1, 60)], 20), ([Window(2, 1)], 0.25)],
)
def test_whoever_keeps_asking_gets_its_floor_in_every_window_however_greedy_the_others_are(
    make_log, windows, tick, modest
):
    log = make_log(windows)
    longest = max(window.seconds for window in log.windows)
    began = log.now
    for _ in range(round(3 * longest / tick)):
        for other in Priority:
            if other is not modest:
                log.reserve_until_refused(other)
        log.reserve(modest)
        log.passes(tick)
    shared_out = [window for window in log.windows if window.seconds == longest]
    for window in shared_out:
        for tick_number in range(round(2 * longest / tick)):
            since = began - 1 + round(tick_number * tick * SECOND)
            assert log.within(since, since + longest * SECOND, modest) >= window.floor(modest)


@pytest.mark.parametrize(("priority", "share"), [(Priority.INTERACTIVE, 30), (Priority.WEBHOOK, 34)])
def test_one_alone_has_all_but_the_floors_of_the_others(make_log, priority, share):
    assert make_log([Window(40, 60)]).reserve_until_refused(priority) == share


def test_the_timer_alone_keeps_below_its_ceiling(make_log):
    assert make_log([Window(40, 5)]).reserve_until_refused(Priority.RECONCILE) == 24


@pytest.mark.parametrize("busy", [24, 30, 34])
def test_webhooks_above_the_timers_ceiling_leave_it_its_floor(make_log, busy):
    log = make_log([Window(40, 5)])
    assert [log.reserve(Priority.WEBHOOK) for _ in range(busy)] == [0] * busy
    assert log.reserve_until_refused(Priority.RECONCILE) == 2


def test_there_is_room_for_people_when_all_others_have_taken_what_they_can(make_log):
    log = make_log([Window(40, 5)])
    assert [log.reserve_until_refused(priority) for priority in reversed(Priority)] == [24, 12, 4]


@pytest.mark.parametrize("priority", Priority)
def test_a_small_window_still_serves_everybody(make_log, priority):
    assert make_log([Window(1, 60)]).reserve_until_refused(priority) == 1


# The timer's pace.


def test_the_timer_spreads_its_part_of_a_minute(make_log):
    log = make_log(DEFAULT)
    for _ in range(60):
        log.reserve_until_refused(Priority.RECONCILE)
        assert log.used(5, Priority.RECONCILE) <= 12
        log.passes(1)
    assert len(log.granted) == 144


def test_people_and_webhooks_may_burst(make_log):
    log = make_log([Window(240, 60)])
    assert log.reserve_until_refused(Priority.WEBHOOK) == 204


# The wait.


@with_redis
@given(windows=WINDOWS, asks=ASKS, priority=st.sampled_from(Priority))
def test_the_wait_is_neither_too_short_nor_too_long_if_nobody_else_asks(shared, windows, asks, priority):
    log = TimedLog(windows, shared)
    ask_all(log, asks)
    if wait := log.reserve(priority):
        log.passes((wait - 1) / SECOND)
        assert log.reserve(priority) == 1
        log.passes(1 / SECOND)
        assert log.reserve(priority) == 0


def test_nobody_waits_for_what_leaves_no_room_when_it_leaves(make_log):
    log = make_log([Window(20, 60)])
    log.reserve(Priority.WEBHOOK)  # within its floor: the place is kept for it again
    log.passes(10)
    assert log.reserve_until_refused(Priority.INTERACTIVE) == 15
    assert log.reserve(Priority.INTERACTIVE) == 60 * SECOND


# Pauses.


@pytest.mark.parametrize(
    ("paused", "held_back"),
    [
        (Priority.INTERACTIVE, [True, True, True]),
        (Priority.WEBHOOK, [False, True, True]),
        (Priority.RECONCILE, [False, False, False]),
    ],
)
def test_a_pause_holds_back_the_less_urgent_too(make_log, paused, held_back):
    log = make_log([Window(40, 60)])
    log.pause(paused, 20)
    assert [log.reserve(priority) > 0 for priority in Priority] == held_back


def test_a_pause_of_the_timer_leaves_it_its_floor(make_log):
    log = make_log([Window(40, 60)])
    log.pause(Priority.RECONCILE, 20)
    assert log.reserve_until_refused(Priority.RECONCILE) == 2
    assert log.reserve(Priority.RECONCILE) == pytest.approx(20 * SECOND, abs=SECOND / 2)


def test_a_shorter_pause_does_not_end_a_longer_one(make_log):
    log = make_log([Window(40, 60)])
    log.pause(Priority.WEBHOOK, 20)
    log.pause(Priority.WEBHOOK, 1)
    assert log.reserve(Priority.WEBHOOK) == pytest.approx(20 * SECOND, abs=SECOND / 2)


# What is told about it.


def test_the_state_says_who_sent_what_and_what_is_kept_for_whom(make_log):
    log = make_log(DEFAULT)
    for priority, times in zip(Priority, (5, 3, 1), strict=True):
        for _ in range(times):
            log.reserve(priority)
    log.passes(1)
    log.reserve(Priority.WEBHOOK)
    second, minute = log.state().uses
    assert [second.window, minute.window] == list(DEFAULT)
    assert (second.total, list(second.by_priority.values())) == (1, [0, 1, 0])
    assert (minute.total, list(minute.by_priority.values())) == (10, [5, 4, 1])
    assert list(minute.kept_free.values()) == [19, 44, 11]


def test_the_state_says_who_is_paused_and_for_how_long(make_log):
    log = make_log([Window(40, 60)])
    assert log.state().pauses == {}
    log.pause(Priority.WEBHOOK, 20)
    assert log.state().pauses == {Priority.WEBHOOK: pytest.approx(20, abs=0.5)}


def test_to_look_at_the_state_writes_nothing(shared):
    log = RedisLog(shared, DEFAULT, "test")
    log.state()
    assert shared.dbsize() == 0


# Redis.


def test_a_redis_clock_set_back_far_does_not_block(shared):
    log = TimedLog([Window(1, 60)], shared)
    assert log.reserve(Priority.WEBHOOK) == 0
    log.passes(-3600)
    assert log.reserve_until_refused(Priority.RECONCILE) == 1


def test_a_redis_clock_set_back_by_less_than_a_second_forgets_nothing(shared):
    log = TimedLog([Window(20, 60)], shared)
    assert log.reserve_until_refused(Priority.INTERACTIVE) == 15
    log.passes(-0.5)
    assert log.reserve(Priority.INTERACTIVE) == 60 * SECOND
    assert log.reserve_until_refused(Priority.WEBHOOK) == 4


def test_requests_at_the_same_moment_are_all_counted(shared):
    log = TimedLog([Window(100, 60)], shared)
    log.reserve(Priority.WEBHOOK)
    log.passes(60)
    assert log.reserve_until_refused(Priority.WEBHOOK) == 85
    assert log.state().uses[0].total == 85


def hammer(port, seconds, results):
    """Ask without pause; note for every grant the moments between which it was given."""
    client = redis.Redis(port=port)
    log = RedisLog(client, [Window(20, 1), Window(30, 2)], "hammered")
    until, grants = time.time() + seconds, []
    while time.time() < until:
        before = time.time()
        if log.reserve(Priority.INTERACTIVE) == 0:
            grants.append((before, time.time()))
    client.close()
    results.put(grants)


def test_processes_that_share_a_redis_never_exceed_a_window(shared, redis_port):
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    processes = [spawn.Process(target=hammer, args=(redis_port, 2.5, results)) for _ in range(3)]
    for process in processes:
        process.start()
    grants = sorted(grant for _ in processes for grant in results.get(timeout=30))
    for process in processes:
        process.join()
    for allowed, seconds in ((20, 1), (30, 2)):
        for start, _ in grants:
            surely_within = [end for begin, end in grants if start <= begin and end <= start + seconds]
            assert len(surely_within) <= allowed
    assert len(grants) >= 23
