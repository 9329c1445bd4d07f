"""Passes against the simulated provider, over HTTP: what they cost, and that nothing stops them."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import func, insert, text

from models.account import Account
from models.base import Json
from models.database import connect, session_factory
from models.subscription import Subscription, snapshot_to_json
from providers.dodo.provider import Dodo
from providers.http import Client
from providers.rate_limit.budget import Budget, parse_rate
from providers.signature import Verifier
from runtime.wiring import Runtime
from services.reports import service_health
from services.sync import reconcile
from services.sync.batch import drain
from simulator.billing.lifecycle import changed
from simulator.billing.subscription import AddonUnits
from simulator.request_log import Request
from simulator.server import Simulator
from simulator.world import World
from tests.clock import Clock
from tests.conftest import PROVIDER_KEY, SECRET
from tests.fakes import FakeProvider
from tests.services.sync.passes import (
    ENDLESS,
    complete_pass,
    drift,
    requested_syncs,
    run_requested_syncs,
    the_pass,
    verify_for,
)
from tests.services.sync.test_reconcile import many
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.long(seconds=25)

FORK = multiprocessing.get_context("fork")
LIST, RETRIEVE = "GET /subscriptions", "GET /subscriptions/<subscription_id>"
LIVE = {"active", "past_due", "on_hold", "paused"}


@pytest.fixture
def world(simulator: Simulator) -> World:
    """Without limits, and every webhook is dropped."""
    simulator.world.reset()
    simulator.world.board.turn({"rate_limits": [], "drop_probability": 1.0})
    return simulator.world


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    return asking(runtime, simulator)


def asking(
    runtime: Runtime, simulator: Simulator, rate: str = "100000/second", patience: float = 6.0
) -> Runtime:
    there = Client(
        provider="Dodo Payments",
        base_url=simulator.url,
        api_key=PROVIDER_KEY,
        budget=Budget(parse_rate(rate)),
        answer_seconds=patience,
    )
    return replace(runtime, provider=Dodo(Verifier([SECRET]), there))


def opened(world: World, count: int, seats: int = 2, prefix: str = "account") -> list[str]:
    cart = {"product_id": "pdt_team", "addons": [{"addon_id": "adn_seat", "quantity": seats}]}
    return world.open_many(cart, count, prefix)


def changes(world: World, name: str, *, silently: bool = False, **fields) -> None:
    world.apply(name, lambda sold, _: changed(replace(sold, **fields)), silently=silently)


def buys(world: World, name: str, seats: int) -> None:
    sold = world.state.get(name)
    cart = replace(sold.cart, addons=(AddonUnits("adn_seat", seats),))
    changes(world, name, addons=cart.addons, recurring_pre_tax_amount=world.catalog.price(cart))


def calls(world: World, route: str) -> int:
    routes = world.requests.report(0)["routes"]
    assert isinstance(routes, dict)
    return routes.get(route, 0)


def assert_all_right(runtime: Runtime, world: World) -> None:
    with runtime.sessions() as session:
        for sold in world.state.all():
            account = session.get(Account, sold.metadata["account_id"])
            assert account is not None, sold.subscription_id
            full = account.seats["full"]
            bought = 5 + sum(units.quantity for units in sold.addons)
            assert full["included"] + full["addon"] == (bought if sold.status in LIVE else 0), sold


# Lost webhooks.


def test_with_every_webhook_dropped_all_counts_are_right_after_one_pass(service: Runtime, world: World):
    names = opened(world, 120)
    complete_pass(service)
    run_requested_syncs(service)
    assert_all_right(service, world)
    for number, name in enumerate(names[:40]):
        buys(world, name, seats=number) if number % 4 else changes(world, name, status="cancelled")
    opened(world, 10, seats=4, prefix="newcomer")
    complete_pass(service)
    run_requested_syncs(service)
    assert_all_right(service, world)
    assert {one.cause for one in drift(service)} == {"lost_webhook"}
    assert {one.state for one in drift(service)} == {"repaired"}


# Ten thousand.


def believe_the_list(runtime: Runtime) -> None:
    """As if each had been synced by now; the products here have no add-ons."""
    rows: list[Json] = []
    seen = {"verified_at": datetime.now(UTC), "looked_at": datetime.now(UTC)}
    for page in runtime.provider.pages(created_before=datetime.fromisoformat("2099-01-01T00:00:00Z")):
        for item in page.items:
            whole = replace(item.read(), addons=())
            rows.append(
                {"id": item.subscription_id, "hint": 1, "synced": 1, "fingerprint": item.fingerprint}
                | {"snapshot": snapshot_to_json(whole, None), "status": whole.status, "seats": {}}
                | seen
            )
    with runtime.sessions.begin() as session:
        session.execute(insert(Subscription), rows)


@pytest.fixture
def ten_thousand(service: Runtime, world: World) -> list[str]:
    names = world.open_many({"product_id": "pdt_team"}, 10_000, "account")
    believe_the_list(service)
    complete_pass(service)
    world.requests.forget()
    return names


def test_a_pass_over_ten_thousand_costs_a_hundred_pages_and_a_retrieve_for_each_change(
    service: Runtime, world: World, ten_thousand: list[str]
):
    moved = set(random.Random(4).sample(ten_thousand, 100))
    for name in moved:
        changes(world, name, status="on_hold")
    complete_pass(service)
    run_requested_syncs(service)
    assert calls(world, LIST) == 100
    assert calls(world, RETRIEVE) == 100
    with service.sessions() as session:
        held = session.query(Subscription.id).filter_by(status="on_hold").all()
    assert {row.id for row in held} == moved


def test_the_rolling_retrieves_of_an_hour_are_a_small_part_of_ten_thousand(
    service: Runtime, world: World, ten_thousand: list[str]
):
    """Each was last synced at a random time of its period, and for an hour nothing was synced."""
    with service.sessions.begin() as session:
        session.execute(
            text(
                "UPDATE subscriptions SET looked_at ="
                " now() - interval '1 hour' - random() * interval '12 hours'"
                " * (1 + (hashtext(id)::bigint + 2147483648) / 4294967296.0)"
            )
        )
    verify_for(service, minutes=60)
    assert 0 < len(requested_syncs(service)) < 1000


# A provider on a bad day.


def sent_at(world: World) -> list[float]:
    """When each request came in."""
    requests = world.requests.report(1_000_000)["requests"]
    assert isinstance(requests, list)
    asked: list[Request] = requests
    return sorted(one.at.timestamp() - one.seconds for one in asked)


def most_within(moments: list[float], seconds: float) -> int:
    first = most = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_a_fifth_of_all_calls_may_fail_and_the_pass_completes_within_its_part_of_the_budget(
    runtime: Runtime, simulator: Simulator, world: World
):
    service = asking(runtime, simulator, rate="50/second;150/5 second", patience=0.4)
    opened(world, 100)
    world.board.turn(
        {
            "api_500_probability": 0.1,
            "api_429_probability": 0.03,
            "api_hang_probability": 0.07,
            "api_hang_seconds": 0.6,
            "retry_after": "0.2",
        }
    )
    until = time.monotonic() + PATIENCE_SECONDS
    reconcile.begin(service, now=True)
    while time.monotonic() < until and (waits(service) or not the_pass(service).finished_at):
        reconcile.walk(service, until=time.monotonic() + 1)
        drain(service, requested_syncs(service))
        time.sleep(0.02)
    assert the_pass(service).finished_at is not None
    assert_all_right(service, world)
    faults = world.requests.report(0)["faults"]
    assert isinstance(faults, dict)
    assert faults.keys() >= {"500", "429", "hang"}
    # Six tenths are the timer's; a request may take a few milliseconds from the budget to the provider.
    assert most_within(sent_at(world), 4.9) <= 90
    assert most_within(sent_at(world), 0.9) <= 30


# Killed.


def waits(runtime: Runtime) -> bool:
    with runtime.sessions() as session:
        return service_health.read(session).subscriptions_waiting > 0


def progress(runtime: Runtime) -> tuple[int, int]:
    """How many pages the pass has read, and how many syncs there were."""
    with runtime.sessions() as session:
        looks = session.query(Subscription).with_entities(func.sum(Subscription.synced)).scalar()
    return the_pass(runtime).next_page, looks


def has_moved(runtime: Runtime, before: tuple[int, int]) -> bool:
    """Whether a worker got anywhere since, or has nothing left to do."""
    is_done = the_pass(runtime).finished_at is not None and not waits(runtime)
    return is_done or progress(runtime) != before


def work_until_killed(database_url: str, runtime: Runtime) -> None:
    """A worker with connections of its own."""
    engine = connect(database_url, pool_size=1)
    own = replace(runtime, engine=engine, sessions=session_factory(engine))
    while True:
        reconcile.walk(own, until=ENDLESS)
        drain(own, requested_syncs(own))


def test_killed_fifty_times_the_pass_completes_and_no_finding_is_doubled(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(200), 4
    complete_pass(clocked_runtime)
    run_requested_syncs(clocked_runtime)
    clock.advance(timedelta(hours=1))
    for name in list(provider.subscriptions)[::2]:
        provider.subscriptions[name] = replace(provider.subscriptions[name], quantity=3)
    provider.subscriptions |= {
        f"sub_new_{n}": replace(many(1)["sub_0000"], subscription_id=f"sub_new_{n}") for n in range(20)
    }
    reconcile.begin(clocked_runtime, now=True)
    chance, url = random.Random(50), clocked_runtime.engine.url.render_as_string(hide_password=False)
    interrupted = 0
    for _ in range(50):
        moves = partial(has_moved, clocked_runtime, progress(clocked_runtime))
        worker = FORK.Process(target=work_until_killed, args=(url, clocked_runtime))
        worker.start()
        wait_until(moves, "the worker gets somewhere")
        time.sleep(chance.uniform(0.0, 0.03))
        os.kill(worker.pid or 0, 9)
        worker.join()
        clock.advance(timedelta(seconds=13))
        interrupted += waits(clocked_runtime)
    assert interrupted > 10
    reconcile.walk(clocked_runtime, until=ENDLESS)
    run_requested_syncs(clocked_runtime)
    assert the_pass(clocked_runtime).finished_at is not None
    found = [(one.subject, one.kind, one.field) for one in drift(clocked_runtime)]
    assert len(found) == len(set(found)) == 100 + 20
    assert {one.state for one in drift(clocked_runtime)} == {"repaired"}
    with clocked_runtime.sessions() as session:
        for row in session.query(Subscription):
            assert row.newest.quantity == provider.subscriptions[row.id].quantity
