"""The events and dates that follow from each change of a subscription."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from simulator.billing import lifecycle
from simulator.billing.catalog import Catalog
from simulator.billing.plan_change import renew
from simulator.billing.subscription import Customer, Status, Subscription

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACTIVE = Subscription(
    subscription_id="sub_1",
    product_id="pdt_team",
    customer=Customer(customer_id="cus_1"),
    created_at=NOW - timedelta(days=40),
    previous_billing_date=datetime(2026, 10, 31, tzinfo=UTC),
    next_billing_date=datetime(2026, 11, 30, tzinfo=UTC),
)


def told(rule, **state):
    """The types of the events that follow, without the prefix `subscription.`."""
    outcome = rule(replace(ACTIVE, **state), NOW)
    return [event.removeprefix("subscription.") for event in outcome.events]


@pytest.mark.parametrize(
    ("rule", "state", "events"),
    [
        (lifecycle.activate, {"status": "pending"}, ["active", "renewed", "updated"]),
        (lifecycle.activate, {"status": "pending", "trial_period_days": 14}, ["active", "updated"]),
        (lifecycle.recover, {"status": "on_hold"}, ["active", "renewed", "updated"]),
        (lifecycle.recover, {"status": "past_due"}, ["renewed", "updated"]),
        (lifecycle.hold, {}, ["on_hold", "updated"]),
        (lifecycle.past_due, {}, ["past_due", "updated"]),
        (lifecycle.pause, {}, ["paused", "updated"]),
        (lifecycle.unpause, {"status": "paused"}, ["unpaused", "updated"]),
        (lifecycle.cancel, {}, ["cancelled", "updated"]),
        (lifecycle.cancel_later, {}, ["plan_changed", "cancelled", "updated"]),
        (lifecycle.stay, {"cancel_at_next_billing_date": True}, ["plan_changed", "updated"]),
        (lifecycle.fail, {"status": "pending"}, ["failed", "updated"]),
        (lifecycle.expire, {}, ["expired", "updated"]),
        (lifecycle.touch, {}, ["updated"]),
    ],
)
def test_each_change_is_announced_by_its_own_event_and_updated(rule, state, events):
    assert told(rule, **state) == events


@pytest.mark.parametrize(
    ("status", "events"),
    [("active", ["update_payment_method", "updated"]), ("on_hold", ["update_payment_method", "active"])],
)
def test_a_new_card_is_announced_and_pays_an_open_debt(status, events):
    rule = lifecycle.replace_payment_method
    assert told(lambda subscription, now: rule(subscription, now, "pm_2"), status=status)[:2] == events


@pytest.mark.parametrize("status", list(Status))
def test_every_status_can_be_entered(status):
    assert lifecycle.to_status(status)(ACTIVE, NOW).subscription.status == status


def test_a_status_the_provider_never_used_can_be_entered():
    outcome = lifecycle.to_status("frozen")(ACTIVE, NOW)
    assert (outcome.subscription.status, outcome.events) == ("frozen", ("subscription.updated",))


def test_past_due_says_until_when():
    assert lifecycle.past_due(ACTIVE, NOW).subscription.past_due_ends_at == NOW + lifecycle.GRACE


def test_leaving_a_status_wipes_its_marks():
    late = lifecycle.past_due(ACTIVE, NOW).subscription
    assert lifecycle.recover(late, NOW).subscription.past_due_ends_at is None


def test_a_renewal_starts_where_the_period_ended():
    renewed = renew(ACTIVE, NOW, Catalog()).subscription
    assert renewed.previous_billing_date == ACTIVE.next_billing_date
    assert renewed.next_billing_date == datetime(2026, 12, 30, tzinfo=UTC)


def test_a_renewal_ends_what_was_to_be_cancelled():
    outcome = renew(replace(ACTIVE, cancel_at_next_billing_date=True), NOW, Catalog())
    assert outcome.subscription.status == Status.EXPIRED
