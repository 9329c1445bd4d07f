"""Changes whose outcome is unknown are settled, even if wake-ups are lost and processes die."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import pytest

from models.seat_change import ChangeState, SeatChange
from runtime.settings import Settings
from runtime.wiring import Runtime
from services.purchases import settle as story
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle_due
from services.sync.on_demand import sync_subscription
from simulator.server import Simulator
from simulator.world import World
from tests.clock import Clock
from tests.services.purchases.test_seat_changes import (
    CART,
    purchased,
    scheduled,
    seated,
    settles,
    the,
    unscheduled,
)
from tests.simulated import sell, with_simulator
from worker.celery_app import SeatSync
from worker.sweep import Sweep

pytestmark = pytest.mark.long(seconds=12)

SOON = timedelta(seconds=10)
LATER = timedelta(minutes=5)


@pytest.fixture
def service(clocked_runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    return with_simulator(clocked_runtime, simulator.url)


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


@pytest.fixture
def unpaid(service: Runtime, world: World, sold: str) -> SeatChange:
    """Five seats more, whose payment waits."""
    return waiting(service, world)


def waiting(service: Runtime, world: World, account_id: str = "acme") -> SeatChange:
    world.board.turn({"plan_change_payment": "waits"})
    change = confirm(service, account_id, preview(service, account_id, SeatRequest(seats={"full": 23})).token)
    assert change.state == ChangeState.SUBMITTED
    return change


def settle_all(service: Runtime) -> None:
    settle_due(service, until=time.monotonic() + 30)


def asked(world: World) -> int:
    """How many requests the provider has answered."""
    total = world.requests.report(0)["total"]
    assert isinstance(total, int)
    return total


# What is due.


def test_a_change_cancelled_in_the_portal_is_seen_as_cancelled(
    service: Runtime, world: World, clock: Clock, sold: str
):
    change = scheduled(service)
    unscheduled(world, sold)
    sync_subscription(service, sold, patience=5)
    assert the(service, change).state == ChangeState.SCHEDULED
    clock.advance(timedelta(hours=1))
    settle_all(service)
    assert the(service, change).state == ChangeState.CANCELLED


@pytest.mark.parametrize(("payment", "end"), [("succeeds", ("applied", 23)), ("fails", ("failed", 18))])
def test_a_change_ends_as_its_payment_does_and_nobody_has_to_ask(
    service: Runtime, world: World, clock: Clock, unpaid: SeatChange, *, payment: str, end: tuple[str, int]
):
    settles(world, unpaid.subscription_id, payment)
    clock.advance(LATER)
    settle_all(service)
    assert (the(service, unpaid).state, purchased(service)) == end


def test_a_payment_that_takes_days_is_waited_for(
    service: Runtime, world: World, clock: Clock, unpaid: SeatChange
):
    for _ in range(2):
        clock.advance(timedelta(days=1))
        settle_all(service)
        assert the(service, unpaid).state == ChangeState.SUBMITTED
    settles(world, unpaid.subscription_id, "succeeds")
    clock.advance(LATER)
    settle_all(service)
    assert the(service, unpaid).state == ChangeState.APPLIED


def test_a_scheduled_reduction_whose_seats_are_in_use_is_cancelled_within_the_hour(
    service: Runtime, world: World, clock: Clock, sold: str
):
    seated(service, *(f"member-{number}" for number in range(10)))
    change = scheduled(service)
    clock.advance(LATER)
    settle_all(service)
    assert the(service, change).state == ChangeState.SCHEDULED
    seated(service, "one-more")
    clock.advance(timedelta(hours=1))
    settle_all(service)
    assert (the(service, change).state, world.state.get(sold).scheduled_change) == ("cancelled", None)


def test_a_change_that_is_not_due_is_left_alone(
    service: Runtime, world: World, clock: Clock, unpaid: SeatChange
):
    settles(world, unpaid.subscription_id, "succeeds")
    before = asked(world)
    settle_all(service)
    assert (the(service, unpaid).state, asked(world)) == (ChangeState.SUBMITTED, before)


def test_a_change_that_has_ended_is_not_settled_again(
    service: Runtime, world: World, clock: Clock, sold: str
):
    confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    clock.advance(timedelta(days=1))
    before = asked(world)
    settle_all(service)
    assert asked(world) == before


# One and the others.


@pytest.fixture
def behind_it(service: Runtime, world: World, clock: Clock, unpaid: SeatChange) -> SeatChange:
    """Another account's, due after the first one; both payments come in."""
    other = sell(world, service, CART, "other")
    clock.advance(timedelta(seconds=1))
    change = waiting(service, world, "other")
    for one in (unpaid, change):
        settles(world, one.subscription_id, "succeeds")
    assert change.subscription_id == other
    clock.advance(LATER)
    return change


def states(service: Runtime, *changes: SeatChange) -> list[str]:
    return [the(service, change).state for change in changes]


def test_all_that_is_due_is_settled(service: Runtime, unpaid: SeatChange, behind_it: SeatChange):
    settle_all(service)
    assert states(service, unpaid, behind_it) == ["applied", "applied"]


def test_a_failing_change_does_not_stop_the_others(service: Runtime, world: World, clock: Clock, sold: str):
    """A scheduled reduction whose seats are in use cannot be cancelled with a read-only key."""
    seated(service, *(f"member-{number}" for number in range(10)))
    outgrown = scheduled(service)
    seated(service, "one-more")
    sell(world, service, CART, "other")
    clock.advance(timedelta(seconds=1))
    paid = waiting(service, world, "other")
    settles(world, paid.subscription_id, "succeeds")
    clock.advance(LATER)
    world.board.turn({"key_is_read_only": True})
    settle_all(service)
    assert states(service, outgrown, paid) == ["scheduled", "applied"]


def test_settling_stops_in_time_and_leaves_the_rest_due(
    service: Runtime, unpaid: SeatChange, behind_it: SeatChange, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(story, "time", SimpleNamespace(monotonic=count().__next__))
    settle_due(service, until=1)
    assert states(service, unpaid, behind_it) == ["applied", "submitted"]
    settle_due(service, until=100)
    assert states(service, unpaid, behind_it) == ["applied", "applied"]


def test_a_change_that_kills_its_process_is_not_first_again(
    service: Runtime, clock: Clock, unpaid: SeatChange, behind_it: SeatChange
):
    class Killed(BaseException):
        pass

    class Dies(type(service.provider)):  # type: ignore[misc]
        def preview_change(self, plan):
            if plan.subscription_id == unpaid.subscription_id:
                raise Killed
            return super().preview_change(plan)

    dying = replace(service, provider=Dies(service.provider._verifier, service.provider._client))
    with pytest.raises(Killed):
        settle_all(dying)
    settle_all(dying)
    assert states(service, unpaid, behind_it) == ["submitted", "applied"]
    clock.advance(LATER)
    settle_all(service)
    assert states(service, unpaid, behind_it) == ["applied", "applied"]


# Wake-ups.


@dataclass
class Broker:
    wake_ups: int = 0
    is_away: bool = False

    def wake(self) -> None:
        if self.is_away:
            raise ConnectionError
        self.wake_ups += 1


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sweep(service: Runtime, broker: Broker) -> Sweep:
    return Sweep(service, lambda _ids: None, wake_changes=broker.wake)


def test_the_sweep_wakes_workers_only_while_a_change_is_due(
    service: Runtime, clock: Clock, sweep: Sweep, broker: Broker, unpaid: SeatChange
):
    sweep.once()
    assert broker.wake_ups == 0
    clock.advance(SOON)
    sweep.once()
    assert broker.wake_ups == 1
    settle_all(service)
    sweep.once()
    assert broker.wake_ups == 1


def test_a_lost_wake_up_is_repeated_when_the_broker_is_back(
    clock: Clock, sweep: Sweep, broker: Broker, unpaid: SeatChange
):
    clock.advance(SOON)
    broker.is_away = True
    for _ in range(2):
        sweep.once()
    broker.is_away = False
    sweep.once()
    assert broker.wake_ups == 1


def test_the_sweep_makes_no_requests_to_the_provider(
    world: World, clock: Clock, sweep: Sweep, broker: Broker, unpaid: SeatChange
):
    clock.advance(SOON)
    before = asked(world)
    broker.is_away = True
    sweep.once()
    assert asked(world) == before


def test_the_wake_up_is_the_task_that_settles(
    service: Runtime, settings: Settings, world: World, clock: Clock, unpaid: SeatChange
):
    app = SeatSync(settings)
    app.loader.import_default_modules()
    app._runtime, app._built_in = service, os.getpid()
    settles(world, unpaid.subscription_id, "succeeds")
    clock.advance(SOON)
    Sweep(service, app.publish, wake_changes=app.wake_changes).once()
    with app.connection_for_read() as broker, broker.SimpleQueue("seatsync.slow") as queue:
        task = queue.get(timeout=5).headers["task"]
    app.tasks[task].apply()
    assert the(service, unpaid).state == ChangeState.APPLIED
