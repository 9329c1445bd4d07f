"""Drift: each difference is written down with its likely cause, and closes itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain import findings
from domain.drift import Difference, LikelyCause
from domain.provider_errors import PermanentError
from domain.snapshot import AddonQuantity
from models import drift_finding, sync_queue
from runtime.wiring import Runtime
from services.ledger import subscriptions
from services.sync.subscription import sync
from tests.clock import Clock
from tests.factories import NOON, a_catalog, a_cause, a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.passes import complete_pass, drift, run_requested_syncs, verify_for
from tests.services.sync.test_subscription import deliver, sync_now


@pytest.fixture
def service(clocked_runtime: Runtime, provider: FakeProvider, clock: Clock) -> Runtime:
    """The service synced sub_1 at noon and completed a pass; now it is a minute later."""
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(clocked_runtime, occurred_at=NOON)
    sync(clocked_runtime, "sub_1")
    complete_pass(clocked_runtime)
    clock.advance(timedelta(minutes=1))
    return clocked_runtime


def another_delivery_arrives(runtime: Runtime, event_id: str = "msg_of_another") -> None:
    runtime.provider.subscriptions["sub_2"] = a_snapshot("sub_2", metadata={"account_id": "another"})
    deliver(runtime, event_id, subscription_id="sub_2")
    sync(runtime, "sub_2")


def states(runtime: Runtime) -> list[tuple[str, str]]:
    return [(one.field, one.state) for one in drift(runtime)]


def test_a_difference_shows_both_values_and_since_when(
    service: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    (found,) = drift(service)
    assert (found.subject, found.kind, found.field, found.state) == ("sub_1", "differs", "quantity", "open")
    assert (found.ours, found.theirs, found.first_seen) == ("1", "3", clock.now)


def test_a_difference_seen_again_is_the_same_finding(service: Runtime, provider: FakeProvider, clock: Clock):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    clock.advance(timedelta(hours=1))
    provider.subscriptions["sub_1"] = a_snapshot(quantity=4)
    complete_pass(service)
    (found,) = drift(service)
    assert (found.theirs, found.first_seen) == ("4", clock.now - timedelta(hours=1))
    assert found.last_seen == clock.now


def test_the_sync_repairs_it_and_closes_the_finding(service: Runtime, provider: FakeProvider, clock: Clock):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3, status="paused")
    complete_pass(service)
    run_requested_syncs(service)
    assert sorted(states(service)) == [("quantity", "repaired"), ("status", "repaired")]
    assert {one.closed_at for one in drift(service)} == {clock.now}


def test_a_difference_that_is_gone_by_itself_is_agreed(service: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    provider.subscriptions["sub_1"] = a_snapshot()
    run_requested_syncs(service)
    assert states(service) == [("quantity", "agreed")]


def test_what_only_a_retrieve_shows_is_found_and_repaired_at_once(
    service: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_seat", 4),))
    clock.advance(timedelta(hours=25))
    verify_for(service)
    run_requested_syncs(service)
    (found,) = drift(service)
    assert (found.field, found.ours, found.theirs) == ("addons", "no add-ons", "4 x adn_seat")
    assert (found.state, found.closed_at) == ("repaired", clock.now)


def test_a_change_that_a_webhook_announced_is_no_drift(service: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(seats=4)
    deliver(service, "msg_2")
    sync_now(service)
    assert drift(service) == []


def test_the_order_of_addons_is_no_difference(service: Runtime, provider: FakeProvider):
    both = (AddonQuantity("adn_seat", 1), AddonQuantity("adn_pack", 2))
    provider.subscriptions["sub_1"] = a_snapshot(addons=both)
    deliver(service, "msg_2")
    sync_now(service)
    provider.subscriptions["sub_1"] = a_snapshot(addons=both[::-1])
    complete_pass(service)
    sync_now(service)
    assert drift(service) == []


# Held.


def test_what_cannot_be_counted_is_held_with_the_reason(service: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(product_id="pdt_new")
    complete_pass(service)
    run_requested_syncs(service)
    (held,) = [one for one in drift(service) if one.state == "held"]
    assert (held.kind, held.cause) == ("unknown_product", "catalogue_change")
    assert "[products.pdt_new]" in (held.held_because or "")


def test_what_the_catalogue_has_learned_is_no_longer_held(service: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(product_id="pdt_new")
    complete_pass(service)
    run_requested_syncs(service)
    taught = replace(service, catalog=a_catalog("[products.pdt_new]\nincluded = { full = 2 }\n"))
    deliver(taught, "msg_2")
    sync_now(taught)
    assert ("product_id", "held") not in states(taught)


def test_a_difference_that_no_sync_can_repair_is_held_with_the_providers_response(
    service: Runtime, provider: FakeProvider
):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    provider.failing = PermanentError("Dodo Payments answered 410.")
    run_requested_syncs(service)
    (found,) = drift(service)
    assert (found.state, found.held_because) == ("held", "Dodo Payments answered 410.")


# Likely causes.


def test_if_no_delivery_arrives_the_likely_cause_is_a_lost_webhook(service: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    assert [one.cause for one in drift(service)] == ["lost_webhook"]


def test_if_others_arrive_the_likely_cause_of_a_changed_cart_is_the_portal(
    service: Runtime, provider: FakeProvider
):
    another_delivery_arrives(service)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    assert [one.cause for one in drift(service)] == ["portal_change"]


def test_if_others_arrive_the_likely_cause_of_a_changed_status_is_a_lost_webhook(
    service: Runtime, provider: FakeProvider
):
    another_delivery_arrives(service)
    provider.subscriptions["sub_1"] = a_snapshot(status="on_hold")
    complete_pass(service)
    assert [one.cause for one in drift(service)] == ["lost_webhook"]


def test_a_webhook_between_the_list_and_the_sync_was_late(service: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    deliver(service, "msg_2", occurred_at=NOON)
    sync_now(service)
    assert [(one.state, one.cause) for one in drift(service)] == [("repaired", "late_webhook")]


def test_a_webhook_that_comes_hours_after_the_repair_was_late(
    service: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    changed_at = clock.now
    complete_pass(service)
    run_requested_syncs(service)
    clock.advance(timedelta(hours=5))
    deliver(service, "msg_2", occurred_at=changed_at)
    sync_now(service)
    assert [one.cause for one in drift(service)] == ["late_webhook"]


def test_a_change_after_the_list_was_read_does_not_make_its_webhook_late(
    service: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    clock.advance(timedelta(minutes=5))
    deliver(service, "msg_2", occurred_at=clock.now)
    sync_now(service)
    assert [(one.state, one.cause) for one in drift(service)] == [("repaired", "lost_webhook")]


def test_a_sync_that_began_before_the_list_was_read_closes_nothing(
    service: Runtime, provider: FakeProvider, clock: Clock
):
    deliver(service, "msg_2", occurred_at=NOON)
    with service.sessions.begin() as session:
        lease = sync_queue.lease(session, ["sub_1"], timedelta(minutes=10))[0]
    before = provider.subscriptions["sub_1"]
    clock.advance(timedelta(minutes=1))
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    with service.sessions.begin() as session:
        listed = findings.differs(Difference("quantity", "1", "3"), LikelyCause.LOST_WEBHOOK)
        drift_finding.record(session, "sub_1", [listed])
    with service.sessions.begin() as session:
        subscriptions.apply(session, lease, before, service.catalog, a_cause())
    assert states(service) == [("quantity", "open")]


def test_a_later_change_does_not_make_an_older_webhook_late(
    service: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    complete_pass(service)
    run_requested_syncs(service)
    clock.advance(timedelta(hours=5))
    deliver(service, "msg_2", occurred_at=clock.now)
    sync_now(service)
    assert [one.cause for one in drift(service)] == ["lost_webhook"]


def test_a_subscription_nobody_announced_is_a_finding(service: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_9"] = a_snapshot("sub_9")
    complete_pass(service)
    run_requested_syncs(service)
    (found,) = drift(service)
    assert (found.subject, found.kind, found.state) == ("sub_9", "unheard_of", "repaired")


def test_the_first_pass_reports_no_unknown_subscriptions(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_9"] = a_snapshot("sub_9")
    complete_pass(runtime)
    run_requested_syncs(runtime)
    assert drift(runtime) == []
