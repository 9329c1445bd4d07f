import multiprocessing
import socket
import threading
import time

import pytest
import redis

from providers.base import Caller
from providers.budget import Budget, OwnLog, SharedLog, Window, parse_rate
from seats.errors import BudgetSpent, SettingsError
from tests.providers.stub import closed_port


@pytest.fixture(params=["own", "shared"])
def make_log(request):
    """Every rule holds for the log of one process and for the log of all."""
    if request.param == "own":
        return OwnLog
    client = request.getfixturevalue("shared")
    return lambda windows: SharedLog(client, windows, "test")


def granted(log, caller, times=100):
    return sum(log.ask(caller) == 0 for _ in range(times))


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("40/second;240/minute", (Window(40, 1), Window(240, 60))),
        ("10 per 5 second", (Window(10, 5),)),
        ("1/hour", (Window(1, 3600),)),
    ],
)
def test_a_rate_is_read(text, windows):
    assert parse_rate(text) == windows


@pytest.mark.parametrize(
    "text", ["", "fast", "40", "0/second", "40/second;0/minute", "1/fortnight", "-1/second"]
)
def test_a_rate_that_makes_no_sense_is_refused(text):
    with pytest.raises(SettingsError):
        parse_rate(text)


@pytest.mark.parametrize(
    ("caller", "share"), [(Caller.INTERACTIVE, 40), (Caller.WEBHOOK, 36), (Caller.RECONCILE, 24)]
)
def test_the_less_urgent_leave_a_reserve(make_log, caller, share):
    assert granted(make_log([Window(40, 60)]), caller) == share


def test_the_reserve_is_there_for_people_who_wait(make_log):
    log = make_log([Window(40, 60)])
    assert [granted(log, caller) for caller in reversed(Caller)] == [24, 12, 4]


def test_a_small_window_still_serves_everybody(make_log):
    assert granted(make_log([Window(1, 60)]), Caller.RECONCILE) == 1


def test_the_narrowest_window_decides_and_a_refusal_costs_the_others_nothing(make_log):
    log = make_log([Window(5, 1), Window(8, 60)])
    assert granted(log, Caller.INTERACTIVE) == 5
    time.sleep(1.01)
    assert granted(log, Caller.INTERACTIVE) == 3
    assert log.ask(Caller.INTERACTIVE) == pytest.approx(59, abs=2)


def test_a_window_slides(make_log):
    log = make_log([Window(2, 1)])
    assert log.ask(Caller.INTERACTIVE) == 0
    time.sleep(0.5)
    assert log.ask(Caller.INTERACTIVE) == 0
    assert log.ask(Caller.INTERACTIVE) == pytest.approx(0.5, abs=0.3)
    time.sleep(0.55)
    assert log.ask(Caller.INTERACTIVE) == 0


@pytest.mark.parametrize(
    ("paused", "held_back"),
    [
        (Caller.INTERACTIVE, [True, True, True]),
        (Caller.WEBHOOK, [False, True, True]),
        (Caller.RECONCILE, [False, False, True]),
    ],
)
def test_a_pause_holds_back_the_less_urgent_too(make_log, paused, held_back):
    log = make_log([Window(40, 60)])
    log.pause(paused, 20)
    assert [log.ask(caller) > 0 for caller in Caller] == held_back


def test_a_shorter_pause_does_not_end_a_longer_one(make_log):
    log = make_log([Window(40, 60)])
    log.pause(Caller.WEBHOOK, 20)
    log.pause(Caller.WEBHOOK, 1)
    assert log.ask(Caller.WEBHOOK) == pytest.approx(20, abs=0.5)


def test_a_short_wait_is_waited_out():
    budget = Budget([Window(1, 1)], patience=2)
    started = time.monotonic()
    budget.take(Caller.WEBHOOK)
    budget.take(Caller.WEBHOOK)
    assert 1 <= time.monotonic() - started < 3


def test_a_long_wait_is_refused_at_once_with_its_length():
    budget = Budget([Window(1, 60)])
    budget.take(Caller.INTERACTIVE)
    started = time.monotonic()
    with pytest.raises(BudgetSpent) as refusal:
        budget.take(Caller.INTERACTIVE)
    assert time.monotonic() - started < 0.9
    assert refusal.value.retry_after == pytest.approx(60, abs=0.5)


def wait_of(budget, caller):
    try:
        budget.take(caller)
    except BudgetSpent as spent:
        return spent.retry_after
    return 0


@pytest.mark.parametrize(("asked", "paused"), [(30.0, 30), (None, 2), (86_400.0, 60), (0.0, 0)])
def test_a_429_stops_everybody_for_as_long_as_it_says_but_no_longer_than_a_minute(asked, paused):
    budget = Budget([Window(100, 60)])
    budget.refused(asked)
    assert wait_of(budget, Caller.INTERACTIVE) == pytest.approx(paused, abs=0.5)


@pytest.mark.parametrize(
    ("remaining", "limit", "held_back"),
    [
        (40, 100, []),
        (39, 100, [Caller.RECONCILE]),
        (9, 100, [Caller.WEBHOOK, Caller.RECONCILE]),
        (0, 100, [Caller.WEBHOOK, Caller.RECONCILE]),
        (1, None, []),
        (0, None, [Caller.WEBHOOK, Caller.RECONCILE]),
        (5, 0, []),
    ],
)
def test_what_the_provider_says_is_left_is_reserved_in_the_same_proportion(remaining, limit, held_back):
    budget = Budget([Window(100, 60)])
    budget.told(remaining=remaining, limit=limit, resets_in=10)
    assert [caller for caller in Caller if wait_of(budget, caller)] == held_back


def test_a_pause_is_seen_by_every_process(shared, redis_port):
    with redis.Redis(port=redis_port) as elsewhere:
        Budget([Window(100, 60)], shared).refused(30)
        assert wait_of(Budget([Window(100, 60)], elsewhere), Caller.INTERACTIVE) == pytest.approx(30, abs=0.5)


def test_a_redis_clock_set_back_does_not_block(shared):
    log = SharedLog(shared, [Window(1, 60)], "test")
    shared.lpush("seatsync:budget:{test}:sent", int((time.time() + 3600) * 1_000_000))
    assert granted(log, Caller.RECONCILE) == 1


def test_nothing_is_left_in_redis_for_good(shared):
    budget = Budget([Window(100, 60)], shared)
    budget.take(Caller.INTERACTIVE)
    budget.refused(30)
    assert [0 < shared.ttl(key) <= 60 for key in shared.scan_iter()] == [True, True]


def hammer(port, seconds, results):
    """Ask without pause; note for every grant the moments between which it was given."""
    client = redis.Redis(port=port)
    log = SharedLog(client, [Window(20, 1), Window(30, 2)], "hammered")
    until, grants = time.time() + seconds, []
    while time.time() < until:
        before = time.time()
        if log.ask(Caller.INTERACTIVE) == 0:
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
    assert len(grants) >= 30


def test_threads_that_share_a_budget_never_exceed_a_window():
    log = OwnLog([Window(50, 60)])
    grants = []
    threads = [threading.Thread(target=lambda: grants.append(granted(log, Caller.WEBHOOK))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(grants) == 45


def test_without_redis_a_process_takes_an_eighth_of_the_rate():
    budget = Budget([Window(80, 60)], redis.Redis(port=closed_port()), patience=0)
    waits = [wait_of(budget, Caller.INTERACTIVE) for _ in range(12)]
    assert waits.count(0) == 10


def test_a_refusing_redis_costs_nothing_even_with_a_client_that_retries():
    budget = Budget([Window(80, 60)], redis.Redis(port=closed_port()))
    started = time.monotonic()
    budget.take(Caller.INTERACTIVE)
    assert time.monotonic() - started < 1


def test_a_silent_redis_costs_its_socket_timeout_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = redis.Redis(port=silent.getsockname()[1], socket_timeout=0.3, socket_connect_timeout=0.3)
        budget = Budget([Window(80, 60)], client)
        started = time.monotonic()
        for _ in range(5):
            budget.take(Caller.INTERACTIVE)
        budget.refused(30)
        assert 0.3 <= time.monotonic() - started < 1.5
        assert wait_of(budget, Caller.INTERACTIVE) == pytest.approx(30, abs=1)


def test_a_redis_that_comes_back_is_used_again(shared, monkeypatch):
    budget = Budget([Window(100, 60)], shared)
    monkeypatch.setattr("providers.budget._REDIS_REST", 0.05)
    monkeypatch.setattr(budget._shared, "_ask", lambda *_: (_ for _ in ()).throw(redis.ConnectionError))
    budget.take(Caller.INTERACTIVE)
    monkeypatch.undo()
    time.sleep(0.06)
    budget.take(Caller.INTERACTIVE)
    assert shared.llen("seatsync:budget:{provider}:sent") == 1
