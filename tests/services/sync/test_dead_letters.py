"""Dead letters: what brings them back, and what closes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from domain.errors import NotReplayable
from domain.provider_errors import SubscriptionNotAtProvider, TransientError
from models import inbox
from models.inbox import InboxEvent, InboxState
from models.subscription import Subscription
from providers.base import Event
from runtime.wiring import Runtime
from services.sync.replay import replay_all
from services.sync.subscription import MOST_ATTEMPTS, SyncOutcome
from tests.factories import a_snapshot, an_arrival
from tests.fakes import FakeProvider
from tests.services.sync.test_subscription import (
    announced_long_ago,
    deliver,
    everything,
    seats_of,
    sync_now,
    the,
)
from tests.waiting import somebody_waits_for_a_lock, wait_until


def given_up(runtime: Runtime, provider: FakeProvider, *event_ids: str) -> None:
    """Each event has become a dead letter after the last attempt."""
    provider.failing = TransientError("The provider does not answer.")
    for event_id in event_ids:
        deliver(runtime, event_id)
        with runtime.sessions.begin() as session:
            session.get_one(Subscription, "sub_1").attempts = MOST_ATTEMPTS
        assert sync_now(runtime) is SyncOutcome.DEAD
    provider.failing = None
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)


def unreadable(runtime: Runtime, event_id: str, **changes) -> None:
    with runtime.sessions.begin() as session:
        facts = {"subscription_id": None, "reason": "the body is not JSON", **changes}
        inbox.store(session, an_arrival(event_id, state=InboxState.DEAD, **facts))


def states(runtime: Runtime) -> dict[str, str]:
    return {event.event_id: event.state for event in everything(runtime, InboxEvent)}


def keep(runtime: Runtime, **changes) -> inbox.StoredEvent:
    with runtime.sessions.begin() as session:
        return inbox.store(session, an_arrival("msg_1", **changes))


# A repeat revives.


def test_a_repeat_of_a_dead_event_revives_it(runtime: Runtime, provider: FakeProvider):
    given_up(runtime, provider, "msg_1")
    assert not deliver(runtime, "msg_1")
    assert sync_now(runtime) is SyncOutcome.SYNCED
    assert states(runtime) == {"msg_1": "done"}
    assert seats_of(runtime) == 15


def test_a_repeat_of_a_dead_event_counts_as_a_repeat_and_makes_a_sync_due(
    runtime: Runtime, provider: FakeProvider
):
    given_up(runtime, provider, "msg_1")
    assert keep(runtime) == inbox.StoredEvent(is_new=False, due_in=0.0)


def test_a_dead_letter_that_is_readable_when_repeated_is_stored_as_it_arrives(
    runtime: Runtime, provider: FakeProvider
):
    unreadable(runtime, "msg_1")
    keep(runtime, body=b"another body")
    (event,) = everything(runtime, InboxEvent)
    assert (event.state, event.subscription_id, event.body) == ("pending", "sub_1", b"another body")
    provider.subscriptions["sub_1"] = a_snapshot()
    assert sync_now(runtime) is SyncOutcome.SYNCED


@pytest.mark.parametrize("state", [InboxState.PENDING, InboxState.DONE, InboxState.IGNORED])
def test_a_repeat_of_an_event_that_is_not_dead_changes_nothing(
    runtime: Runtime, provider: FakeProvider, state: InboxState
):
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime)
    if state is InboxState.DONE:
        sync_now(runtime)
    with runtime.sessions.begin() as session:
        event = session.get_one(InboxEvent, everything(runtime, InboxEvent)[0].id)
        event.state, event.reason = state, "not ours" if state is InboxState.IGNORED else None
    before = the(runtime, Subscription).hint
    assert keep(runtime, body=b"another body") == inbox.StoredEvent(is_new=False, due_in=None)
    (event,) = everything(runtime, InboxEvent)
    assert (event.state, event.body, the(runtime, Subscription).hint) == (state, b"msg_1", before)


def test_a_repeat_that_still_cannot_be_read_stays_dead(runtime: Runtime):
    unreadable(runtime, "msg_1")
    unreadable(runtime, "msg_1")
    assert states(runtime) == {"msg_1": "dead"}
    assert everything(runtime, Subscription) == []


def test_a_repeat_that_concerns_us_no_longer_is_ignored(runtime: Runtime):
    unreadable(runtime, "msg_1")
    keep(runtime, state=InboxState.IGNORED, reason="belongs to business bus_2")
    assert states(runtime) == {"msg_1": "ignored"}


# A sync closes.


def test_a_sync_closes_the_dead_letters_it_covers(runtime: Runtime, provider: FakeProvider):
    given_up(runtime, provider, "msg_1", "msg_2")
    deliver(runtime, "msg_3")
    assert sync_now(runtime) is SyncOutcome.SYNCED
    assert states(runtime) == {"msg_1": "done", "msg_2": "done", "msg_3": "done"}


def test_a_404_closes_dead_letters_too(runtime: Runtime, provider: FakeProvider):
    given_up(runtime, provider, "msg_1")
    provider.failing = SubscriptionNotAtProvider("No such subscription.")
    announced_long_ago(runtime)
    deliver(runtime, "msg_2")
    assert sync_now(runtime) is SyncOutcome.NOT_AT_PROVIDER
    assert set(states(runtime).values()) == {"done"}


def test_a_sync_that_fails_closes_none(runtime: Runtime, provider: FakeProvider):
    given_up(runtime, provider, "msg_1")
    provider.failing = TransientError("down")
    deliver(runtime, "msg_2")
    sync_now(runtime)
    assert states(runtime) == {"msg_1": "dead", "msg_2": "pending"}


def test_a_sync_closes_no_dead_letter_of_another_subscription(runtime: Runtime, provider: FakeProvider):
    given_up(runtime, provider, "msg_1")
    provider.subscriptions["sub_2"] = a_snapshot("sub_2")
    deliver(runtime, "msg_2", subscription_id="sub_2")
    sync_now(runtime, "sub_2")
    assert states(runtime) == {"msg_1": "dead", "msg_2": "done"}


# Replay in bulk.


def test_all_dead_letters_are_replayed_at_once(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.sync.replay._SLICE", 2)
    for number in range(5):
        body = f"msg_{number}".encode()
        unreadable(runtime, body.decode())
        provider.events[body] = Event(type="x", subscription_id=f"sub_{number}", concerns_seats=True)
    assert len(list(replay_all(runtime))) == 5
    assert set(states(runtime).values()) == {"pending"}
    assert {row.id for row in everything(runtime, Subscription)} == {f"sub_{n}" for n in range(5)}


def test_a_replay_locks_subscriptions_in_id_order(runtime: Runtime, provider: FakeProvider):
    """Somebody who locks all subscriptions of an account does so in the order of their ids."""
    for number in (1, 2):
        deliver(runtime, f"msg_of_{number}", subscription_id=f"sub_{number}")
    for body, name in ((b"older", "sub_2"), (b"newer", "sub_1")):
        unreadable(runtime, body.decode())
        provider.events[body] = Event(type="x", subscription_id=name, concerns_seats=True)
    with ThreadPoolExecutor(1) as pool, runtime.sessions.begin() as session:
        session.get_one(Subscription, "sub_1", with_for_update=True)
        replayed = pool.submit(lambda: list(replay_all(runtime)))
        wait_until(lambda: somebody_waits_for_a_lock(session), "the replay waits for the first of them")
        session.get_one(Subscription, "sub_2", with_for_update={"nowait": True})
        session.commit()
        assert len(replayed.result()) == 2


def test_with_a_reason_only_matching_dead_letters_are_replayed(runtime: Runtime, provider: FakeProvider):
    readable = Event(type="x", subscription_id="sub_1", concerns_seats=True)
    provider.events = {b"msg_1": readable, b"msg_2": readable, b"msg_3": readable}
    unreadable(runtime, "msg_1", reason="no usable `type`")
    unreadable(runtime, "msg_2", reason="gave up after 100 attempts")
    unreadable(runtime, "msg_3", reason="gave up after 1000 attempts")
    list(replay_all(runtime, reason="gave up after 100 "))
    assert states(runtime) == {"msg_1": "dead", "msg_2": "pending", "msg_3": "dead"}


def test_pattern_characters_in_a_reason_are_literal(runtime: Runtime):
    unreadable(runtime, "msg_1")
    assert list(replay_all(runtime, reason="%")) == []


def test_an_event_that_still_cannot_be_read_does_not_stop_the_others(
    runtime: Runtime, provider: FakeProvider
):
    unreadable(runtime, "msg_1")
    unreadable(runtime, "msg_2")
    provider.events[b"msg_2"] = Event(type="x", subscription_id="sub_1", concerns_seats=True)
    refused, replayed = replay_all(runtime)
    assert isinstance(refused, NotReplayable)
    assert isinstance(replayed, InboxEvent)
    assert states(runtime) == {"msg_1": "dead", "msg_2": "pending"}
