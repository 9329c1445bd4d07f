"""Two services with separate databases may share one Redis, without sharing anything stored in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from providers.base import Priority
from runtime.settings import Settings
from runtime.wiring import Runtime, build
from services.ledger import accounts
from tests.conftest import API_KEY
from tests.factories import a_cause
from tests.servers import Databases
from webhook_app.app import create_app
from worker.celery_app import SeatSync

AUTHORIZED = {"Authorization": f"Bearer {API_KEY}"}


class Silent:
    def wake(self, subscription_id: str, delay: float = 0.0) -> None:
        pass


@pytest.fixture
def services(environment: dict[str, str], postgres: Databases) -> Iterator[list[Runtime]]:
    """Two services, for example for live and test mode, with an account of the same id in each."""
    runtimes = []
    for name in ("live", "test"):
        variables = {**environment, "SEATSYNC_PROVIDER_RATE": "1/minute"}
        variables["DATABASE_URL"] = postgres.create_database(name, is_migrated=True)
        runtime = build(Settings.from_env(variables))
        with runtime.transaction() as session:
            accounts.open_account(session, "acme", runtime.catalog, a_cause())
        runtimes.append(runtime)
    yield runtimes
    for runtime in runtimes:
        runtime.close()
        postgres.drop_database(str(runtime.engine.url.database).split("_", 1)[1])


def read(runtime: Runtime) -> dict[str, Any]:
    client = create_app(runtime, Silent()).test_client()
    return client.get("/v1/accounts/acme/seats", headers=AUTHORIZED).json


def test_neither_returns_what_the_other_has_cached(services: list[Runtime]):
    live, test = services
    for _ in range(2):
        document = read(test)
    assert document["source"] == "cache"
    assert read(live)["source"] == "database"
    test.cache.invalidate({"acme": 10_000})
    assert read(live)["source"] == "cache"


def test_neither_receives_the_other_s_wake_ups(services: list[Runtime]):
    live, test = (SeatSync(runtime.settings) for runtime in services)
    live.publish(["sub_1"])
    with test.connection_for_read() as connection:
        test.take_names()
        assert test.amqp.queues[test.conf.task_default_queue](connection).get() is None
    with live.connection_for_read() as connection:
        assert live.amqp.queues[live.conf.task_default_queue](connection).get() is not None


def test_neither_spends_the_other_s_allowance(services: list[Runtime]):
    live, test = services
    test.provider._client._budget.acquire(Priority.INTERACTIVE)
    live.provider._client._budget.acquire(Priority.INTERACTIVE)


def test_every_redis_key_names_its_service(services: list[Runtime]):
    for runtime in services:
        read(runtime)
        runtime.cache.note_account("sub_1", "acme")
        runtime.provider._client._budget.acquire(Priority.INTERACTIVE)
        runtime.provider._client._budget.note_refusal(30)
        app = SeatSync(runtime.settings)
        app.publish(["sub_1"])
        app.wake_notices()
    names = {key.decode() for key in services[0].redis.scan_iter()}
    prefixes = {name.split(":")[1] for name in names}
    assert len(names) > 10
    assert {name.split(":")[0] for name in names} == {"seatsync"}
    assert len(prefixes) == 2
