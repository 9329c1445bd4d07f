"""Retrieves that the provider refuses with a code of its own: tried for hours before they are given up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text

from domain.provider_errors import PermanentError, TransientError
from models.inbox import InboxEvent
from models.subscription import Subscription
from providers.base import Event
from runtime.wiring import Runtime
from services.sync.subscription import GIVEN_UP_AFTER, SyncOutcome, sync
from tests.clock import Clock
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.test_subscription import deliver, seats_of, sync_now, the

REFUSALS = [f"Dodo Payments answered {status} SOME_CODE." for status in (400, 405, 409, 410, 413, 422, 451)]


def wait_of(runtime: Runtime) -> timedelta:
    with runtime.sessions() as session:
        return session.scalar(text("SELECT next_at - now() FROM subscriptions"))


@pytest.mark.parametrize("message", REFUSALS)
def test_one_refusal_gives_nothing_up(runtime: Runtime, provider: FakeProvider, message: str):
    provider.failing = PermanentError(message)
    deliver(runtime)
    assert sync(runtime, "sub_1") is SyncOutcome.POSTPONED
    row = the(runtime, Subscription)
    assert (row.dead_reason, row.last_error) == (None, message)


def test_a_refusal_is_tried_again_hours_apart_before_it_is_given_up(
    clocked_runtime: Runtime, clock: Clock, provider: FakeProvider
):
    provider.failing = PermanentError("INVALID_REQUEST_PARAMETERS")
    deliver(clocked_runtime)
    began, tries = clock.now, []
    while sync(clocked_runtime, "sub_1") is SyncOutcome.POSTPONED:
        tries.append(clock.now - began)
        clock.advance(wait_of(clocked_runtime))
    assert tries == [timedelta(hours=hours) for hours in (0, 1, 2, 4)]
    assert clock.now - began == GIVEN_UP_AFTER
    with clocked_runtime.sessions() as session:
        event = session.scalars(select(InboxEvent)).one()
    assert (event.state, event.reason) == ("dead", "INVALID_REQUEST_PARAMETERS")


def test_a_long_outage_before_it_makes_no_refusal_final(
    clocked_runtime: Runtime, clock: Clock, provider: FakeProvider
):
    provider.failing = TransientError("down")
    deliver(clocked_runtime)
    sync(clocked_runtime, "sub_1")
    clock.advance(timedelta(days=1))
    provider.failing = PermanentError("INVALID_REQUEST_PARAMETERS")
    assert sync(clocked_runtime, "sub_1") is SyncOutcome.POSTPONED


def test_an_answer_in_between_begins_the_hours_anew(
    clocked_runtime: Runtime, clock: Clock, provider: FakeProvider
):
    for number in range(3):
        provider.failing = PermanentError("INVALID_REQUEST_PARAMETERS")
        deliver(clocked_runtime, f"msg_{number}")
        assert sync_now(clocked_runtime) is SyncOutcome.POSTPONED
        clock.advance(GIVEN_UP_AFTER)
        provider.failing = None
        provider.subscriptions["sub_1"] = a_snapshot(seats=number)
        assert sync_now(clocked_runtime) is SyncOutcome.SYNCED


def test_an_event_of_a_refused_subscription_does_not_wait_for_hours(runtime: Runtime, provider: FakeProvider):
    provider.failing = PermanentError("INVALID_REQUEST_PARAMETERS")
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    deliver(runtime, "msg_2")
    assert wait_of(runtime) <= timedelta(minutes=5)


def test_a_recovery_of_others_does_not_end_the_pause_of_a_refused_one(
    runtime: Runtime, provider: FakeProvider
):
    provider.failing = PermanentError("INVALID_REQUEST_PARAMETERS")
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    provider.failing = None
    provider.subscriptions["sub_2"] = a_snapshot("sub_2")
    deliver(runtime, "msg_2", subscription_id="sub_2")
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET attempts = 2 WHERE id = 'sub_2'"))
    assert sync(runtime, "sub_2") is SyncOutcome.SYNCED
    assert sync(runtime, "sub_1") is SyncOutcome.NOTHING_DUE


def test_while_it_is_refused_a_body_may_raise(runtime: Runtime, provider: FakeProvider):
    from_body(provider, seats=10)
    provider.failing = PermanentError("INVALID_REQUEST_PARAMETERS")
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    assert seats_of(runtime) == 15


def from_body(provider: FakeProvider, event_id: str = "msg_1", **changes) -> None:
    provider.events[event_id.encode()] = Event(type="subscription.updated", snapshot=a_snapshot(**changes))
