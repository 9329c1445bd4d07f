"""Parts die, and nothing is lost: kill -9 in mid-burst, Redis wiped, the broker away for a minute."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import psutil
import pytest
import requests
from sqlalchemy import create_engine, text

from runtime.embedded import RedisServer
from tests.factories import CATALOG_TEXT
from tests.servers import Databases
from tests.stack import Stack, all_equal
from tests.waiting import Pace, wait_until

ACCOUNTS = 40
CHILDREN = {"web": 2, "worker": 3}
AFTER_A_FAULT = 15.0
SOON = 1.5
AWAY = 60.0

pytestmark = pytest.mark.long(seconds=30)

bursts = count()


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that may be killed."""
    with RedisServer(tmp_path_factory.mktemp("redis"), durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def started(
    postgres: Databases, own_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("faults")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    with Stack(
        folder,
        database_url=postgres.create_database("faults"),
        redis_url=own_redis.url,
        catalog=catalog,
        SEATSYNC_RECONCILE_SECONDS="4",
    ) as stack:
        stack.start()
        yield stack


@pytest.fixture
def stack(started: Stack, own_redis: RedisServer) -> Stack:
    """Without a fault: every process runs, nothing waits, and no delivery has been tried yet."""
    if not own_redis.is_alive():
        own_redis.start()
    started.turn(drop_probability=0.0, api_latency_seconds=0.0)
    wait_until(lambda: is_whole(started), "every process runs", started.log)
    wait_until(lambda: not unsent(started), "all is delivered", started.log)
    wait_until(lambda: not unfinished(started), "no event waits", started.log)
    started.simulator.world.dispatcher.reset()
    return started


def is_whole(stack: Stack) -> bool:
    """Whether every process runs, with its children, and the service is ready."""
    with suppress(psutil.NoSuchProcess, requests.RequestException):
        ready = stack.get("/readyz").json()["status"] == "ready"
        run = stack.processes("beat") and stack.processes("sweeper")
        return bool(run) and ready and all(len(stack.children(one)) == CHILDREN[one] for one in CHILDREN)
    return False


@pytest.fixture
def pace() -> Iterator[Pace]:
    """The machine's while the test runs."""
    with Pace() as pace:
        yield pace


def burst(stack: Stack, prefix: str = "account") -> dict[str, int]:
    """Many new customers buy at once; what each account must show in the end."""
    wanted = {}
    first = next(bursts) * ACCOUNTS
    for number in range(first, first + ACCOUNTS):
        stack.subscribe(f"{prefix}-{number}", seats=number % 7)
        wanted[f"{prefix}-{number}"] = 5 + number % 7
    return wanted


def settles(stack: Stack, wanted: dict[str, int], seconds: float = AFTER_A_FAULT) -> float:
    return wait_until(all_equal(stack, wanted), "every account is right", stack.log, seconds=seconds)


def unsent(stack: Stack) -> int:
    """Messages the provider is not done with."""
    return stack.control("GET", "/messages?limit=0")["unfinished"]


def unfinished(stack: Stack) -> int:
    """Acknowledged deliveries that are neither done, nor ignored, nor dead."""
    engine = create_engine(stack.environment["DATABASE_URL"])
    with engine.connect() as connection:
        waiting = connection.scalar(text("SELECT count(*) FROM inbox WHERE state = 'pending'"))
    engine.dispose()
    return waiting


def assert_all_were_taken_in_time(stack: Stack, pace: Pace) -> None:
    answers = [attempt for message in stack.deliveries() for attempt in message["attempts"]]
    assert [answer for answer in answers if answer["status"] not in {200, 202}] == []
    assert max(answer["seconds"] for answer in answers) < pace.allows(SOON)


def test_a_killed_worker_child_loses_nothing(stack: Stack):
    stack.turn(api_latency_seconds=0.1)
    wanted = burst(stack)
    stack.kill_children("worker")
    settles(stack, wanted)
    wait_until(lambda: unfinished(stack) == 0, "no event waits", stack.log)


def test_a_killed_worker_loses_nothing(stack: Stack):
    stack.turn(api_latency_seconds=0.1)
    wanted = burst(stack)
    stack.kill("worker")
    settles(stack, wanted)
    wait_until(lambda: unfinished(stack) == 0, "no event waits", stack.log)


def test_a_killed_sweeper_and_web_process_lose_nothing(stack: Stack):
    wanted = burst(stack)
    stack.kill("sweeper")
    stack.kill_children("web")
    wanted |= burst(stack, "later")
    settles(stack, wanted)


def test_what_no_webhook_ever_tells_is_found_by_the_timer_with_one_of_its_two_bells_dead(stack: Stack):
    wanted = burst(stack)
    settles(stack, wanted)
    stack.kill("beat")
    stack.turn(drop_probability=1.0)
    wanted |= burst(stack, "never-told")
    settles(stack, wanted)


def test_a_wiped_redis_loses_nothing(stack: Stack, own_redis: RedisServer):
    stack.turn(api_latency_seconds=0.05)
    wanted = burst(stack)
    own_redis.kill()
    for kept in (own_redis.folder / "data").iterdir():
        kept.unlink()
    wanted |= burst(stack, "while-away")
    own_redis.start()
    settles(stack, wanted)
    wait_until(lambda: unfinished(stack) == 0, "no event waits", stack.log)


@pytest.mark.long(seconds=75)
def test_with_the_broker_away_for_a_minute_every_delivery_is_taken_in_time(
    stack: Stack, own_redis: RedisServer, pace: Pace
):
    wanted = burst(stack)
    settles(stack, wanted, seconds=60)
    own_redis.kill()
    back_at = time.monotonic() + AWAY
    number = 0
    while time.monotonic() < back_at:
        stack.subscribe(f"away-{number}", seats=number % 5)
        wanted[f"away-{number}"] = 5 + number % 5
        number += 1
        time.sleep(1)
    own_redis.start()
    settles(stack, wanted)
    assert_all_were_taken_in_time(stack, pace)


def test_a_silent_broker_delays_no_answer(stack: Stack, own_redis: RedisServer, pace: Pace):
    """Worse than a dead one: it accepts connections and never answers."""
    wanted = burst(stack)
    settles(stack, wanted, seconds=60)
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        wanted |= burst(stack, "silent")
        wait_until(lambda: not unsent(stack), "all are delivered", stack.log)
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    settles(stack, wanted)
    assert_all_were_taken_in_time(stack, pace)
