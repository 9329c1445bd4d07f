import socket
import time

import pytest
import redis

from domain.errors import SettingsError
from domain.provider_errors import BudgetSpent
from providers.base import Priority
from providers.rate_limit.budget import Budget, parse_rate
from providers.rate_limit.redis_log import RedisLog
from providers.rate_limit.shares import Window
from tests.providers.stub import closed_port


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


def test_a_short_wait_is_waited_out():
    budget = Budget([Window(1, 1)], patience=2)
    started = time.monotonic()
    budget.acquire(Priority.WEBHOOK)
    budget.acquire(Priority.WEBHOOK)
    assert 1 <= time.monotonic() - started < 3


def test_a_long_wait_is_refused_at_once_with_its_length():
    budget = Budget([Window(1, 60)])
    budget.acquire(Priority.INTERACTIVE)
    started = time.monotonic()
    with pytest.raises(BudgetSpent) as refusal:
        budget.acquire(Priority.INTERACTIVE)
    assert time.monotonic() - started < 0.9
    assert refusal.value.retry_after == pytest.approx(60, abs=0.5)


def wait_of(budget, priority):
    """Seconds; 0 when the request may be sent."""
    try:
        budget.acquire(priority)
    except BudgetSpent as spent:
        return spent.retry_after
    return 0


@pytest.mark.parametrize(("asked", "paused"), [(30.0, 30), (None, 2), (86_400.0, 60), (0.0, 0)])
def test_a_429_stops_everybody_for_as_long_as_it_says_but_no_longer_than_a_minute(asked, paused):
    budget = Budget([Window(100, 60)])
    budget.note_refusal(asked)
    assert wait_of(budget, Priority.INTERACTIVE) == pytest.approx(paused, abs=0.5)


@pytest.mark.parametrize(
    ("remaining", "limit", "held_back"),
    [
        (40, 100, []),
        (39, 100, [Priority.RECONCILE]),
        (9, 100, [Priority.WEBHOOK, Priority.RECONCILE]),
        (0, 100, [Priority.WEBHOOK, Priority.RECONCILE]),
        (1, None, []),
        (0, None, [Priority.WEBHOOK, Priority.RECONCILE]),
        (5, 0, []),
    ],
)
def test_what_the_provider_says_is_left_is_reserved_in_the_same_proportion(remaining, limit, held_back):
    window = Window(100, 5)
    budget = Budget([window])
    for _ in range(window.floor(Priority.RECONCILE)):
        budget.acquire(Priority.RECONCILE)
    budget.note_remaining(remaining=remaining, limit=limit, resets_in=10)
    assert [priority for priority in Priority if wait_of(budget, priority)] == held_back


def test_a_provider_with_little_left_for_ever_does_not_starve_the_timer(shared):
    budget = Budget([Window(100, 60)], shared)
    budget.note_remaining(remaining=39, limit=100, resets_in=60)
    assert wait_of(budget, Priority.RECONCILE) == 0


def test_a_pause_is_seen_by_every_process(shared, redis_port):
    with redis.Redis(port=redis_port) as elsewhere:
        Budget([Window(100, 60)], shared).note_refusal(30)
        assert wait_of(Budget([Window(100, 60)], elsewhere), Priority.INTERACTIVE) == pytest.approx(
            30, abs=0.5
        )


def test_nothing_is_left_in_redis_for_good(shared):
    budget = Budget([Window(100, 60)], shared)
    budget.acquire(Priority.INTERACTIVE)
    budget.note_refusal(30)
    assert [0 < shared.ttl(key) <= 60 for key in shared.scan_iter()] == [True, True, True]


def test_without_redis_a_process_takes_an_eighth_of_the_rate():
    budget = Budget([Window(80, 60)], redis.Redis(port=closed_port()), patience=0)
    waits = [wait_of(budget, Priority.INTERACTIVE) for _ in range(12)]
    assert waits.count(0) == 10


def test_without_redis_a_429_stops_everybody_all_the_same():
    budget = Budget([Window(80, 60)], redis.Redis(port=closed_port()))
    budget.note_refusal(30)
    waits = [wait_of(budget, priority) for priority in Priority]
    assert waits == [pytest.approx(30, abs=0.5)] * 3


def test_a_refusing_redis_costs_nothing_even_with_a_client_that_retries():
    budget = Budget([Window(80, 60)], redis.Redis(port=closed_port()))
    started = time.monotonic()
    budget.acquire(Priority.INTERACTIVE)
    assert time.monotonic() - started < 1


def test_a_silent_redis_costs_its_socket_timeout_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = redis.Redis(port=silent.getsockname()[1], socket_timeout=0.3, socket_connect_timeout=0.3)
        budget = Budget([Window(80, 60)], client)
        started = time.monotonic()
        for _ in range(5):
            budget.acquire(Priority.INTERACTIVE)
        budget.note_refusal(30)
        assert 0.3 <= time.monotonic() - started < 1.5
        assert wait_of(budget, Priority.INTERACTIVE) == pytest.approx(30, abs=1)


def test_a_redis_that_comes_back_is_used_again(shared, monkeypatch):
    budget = Budget([Window(100, 60)], shared)
    monkeypatch.setattr("providers.rate_limit.budget._REDIS_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(budget._shared, "_reserve", lambda *_: (_ for _ in ()).throw(redis.ConnectionError))
    budget.acquire(Priority.INTERACTIVE)
    monkeypatch.undo()
    time.sleep(0.06)
    budget.acquire(Priority.INTERACTIVE)
    assert RedisLog(shared, [Window(100, 60)], "provider").state().uses[0].total == 1
