"""RabbitMQ as the broker: our queues and no others, and nothing is lost when a worker or the broker dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from kombu.exceptions import OperationalError

from runtime.settings import Settings
from tests.factories import CATALOG_TEXT
from tests.rabbitmq import RabbitMQ, needs_rabbitmq
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack, all_equal
from tests.waiting import wait_until
from worker.celery_app import SeatSync

ACCOUNTS = 30
AFTER_A_FAULT = 15.0

pytestmark = [needs_rabbitmq, pytest.mark.long(seconds=60)]

bursts = count()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture(scope="module")
def stack(
    broker: RabbitMQ,
    postgres: Databases,
    redis_databases: RedisDatabases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("on-rabbitmq")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    with Stack(
        folder,
        database_url=postgres.create_database("rabbitmq"),
        redis_url=redis_databases.empty_database(1),
        catalog=catalog,
        CELERY_BROKER_URL=broker.url,
    ) as stack:
        stack.start()
        yield stack


@pytest.fixture(scope="module")
def app(stack: Stack) -> SeatSync:
    """A publisher in this process."""
    app = SeatSync(Settings.from_env(stack.environment), patience=1.0)
    app.take_names()
    return app


@contextmanager
def without_sweeper(stack: Stack) -> Iterator[None]:
    """Only wake-ups start work, so what is done meanwhile went through the broker."""
    (sweeper,) = stack.processes("sweeper")
    sweeper.suspend()
    try:
        yield
    finally:
        sweeper.resume()


def burst(stack: Stack) -> dict[str, int]:
    """Many new customers buy at once; what each account must show in the end."""
    first = next(bursts) * ACCOUNTS
    wanted = {f"account-{number}": 5 + number % 7 for number in range(first, first + ACCOUNTS)}
    for account_id, seats in wanted.items():
        stack.subscribe(account_id, seats=seats - 5)
    return wanted


def waiting_events(stack: Stack) -> list[object]:
    """Acknowledged deliveries that are not worked off."""
    events: list[object] = stack.get("/v1/inbox?state=pending").json()["events"]
    return events


def settles(stack: Stack, wanted: dict[str, int]) -> None:
    """Every account is right within the time promised after a fault, and no event is left over."""
    wait_until(all_equal(stack, wanted), "every account is right", stack.log, seconds=AFTER_A_FAULT)
    wait_until(lambda: waiting_events(stack) == [], "no event waits", stack.log)


def queues_of(app: SeatSync) -> set[str]:
    """The queues that the app's tasks go to."""
    app.loader.import_default_modules()
    ours = [name for name in app.tasks if not name.startswith("celery.")]
    return {app.amqp.router.route({}, name)["queue"].name for name in ours}


def test_the_queues_are_those_of_our_tasks_and_no_others(stack: Stack, broker: RabbitMQ, app: SeatSync):
    assert broker.queues() == dict.fromkeys(queues_of(app), "quorum")


def test_a_burst_is_worked_off_by_wake_ups_alone(stack: Stack):
    with without_sweeper(stack):
        settles(stack, burst(stack))


def test_a_killed_worker_loses_nothing(stack: Stack):
    stack.turn(api_latency_seconds=0.1)
    wanted = burst(stack)
    stack.kill("worker")
    settles(stack, wanted)
    stack.turn(api_latency_seconds=0.0)


def test_a_broker_that_restarts_loses_nothing(stack: Stack, broker: RabbitMQ):
    wanted = burst(stack)
    broker.kill()
    wanted |= burst(stack)
    broker.start()
    settles(stack, wanted)
    with without_sweeper(stack):  # so the web process and the worker have found the broker again
        settles(stack, burst(stack))


def test_a_frozen_broker_blocks_no_publisher(broker: RabbitMQ, app: SeatSync):
    app.publish(["sub_1"])
    began = time.monotonic()
    with broker.frozen(), pytest.raises((OperationalError, TimeoutError)):
        app.publish(["sub_1"])
    assert time.monotonic() - began < 60
    app.publish(["sub_1"])
