"""What a preview of a seat change holds on to: the state it was made of, its plan, and what became of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.errors import AddonsUnknown
from domain.purchase.money import Money
from domain.purchase.plan import Plan, Preview
from domain.purchase.steps import (
    PlanStatus,
    SeatStep,
    basis,
    is_increase,
    moves_billing_date,
    plan_from_json,
    plan_to_json,
    shown,
    status_of,
)
from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot, SubscriptionStatus
from tests.factories import a_snapshot

DUE = datetime(2026, 12, 12, tzinfo=UTC)
NEXT_MONTH = datetime(2027, 1, 12, tzinfo=UTC)
SEATS = AddonQuantity("adn_seat", 3)
SUPPORT = AddonQuantity("adn_support", 1)


def bought(**changes: Any) -> SubscriptionSnapshot:
    """A cart of two add-ons, active, with its next bill on the twelfth."""
    return a_snapshot(**{"addons": (SEATS, SUPPORT), "next_billing_date": DUE, **changes})


def scheduled(**changes: Any) -> ScheduledChange:
    usual = {
        "change_id": "spc_1",
        "product_id": "pdt_team",
        "quantity": 1,
        "addons": (SEATS,),
        "effective_at": DUE,
    }
    return ScheduledChange(**{**usual, **changes})


def planned(**changes: Any) -> Plan:
    usual = {
        "subscription_id": "sub_1",
        "cart": Cart("pdt_team", 1, (AddonQuantity("adn_seat", 8), SUPPORT)),
        "when": When.NOW,
        "proration": Proration.PRORATED_IMMEDIATELY,
        "prevent_on_failure": True,
    }
    return Plan(**{**usual, **changes})


def told(next_billing_date: datetime | None) -> Preview:
    return Preview(
        charged_now=Money(0, "EUR"),
        tax=None,
        credit=None,
        effective_at=None,
        renewal=None,
        next_billing_date=next_billing_date,
        cart_after=Cart("pdt_team", 1),
    )


# What the preview was made of.


@pytest.mark.parametrize(
    "change",
    [
        *({"status": status.value} for status in SubscriptionStatus if status != "active"),
        {"status": "a_word_nobody_knows"},
        {"product_id": "pdt_other"},
        {"quantity": 2},
        {"addons": ()},
        {"addons": (SEATS,)},
        {"addons": (AddonQuantity("adn_seat", 4), SUPPORT)},
        {"addons": (AddonQuantity("adn_other", 3), SUPPORT)},
        {"scheduled_change": scheduled()},
        {"cancel_at_next_billing_date": True},
        {"next_billing_date": NEXT_MONTH},
        {"next_billing_date": DUE + timedelta(seconds=1)},
        {"next_billing_date": None},
        {"recurring_pre_tax_amount": 1},
        {"currency": "USD"},
    ],
    ids="_".join,
)
def test_a_subscription_that_changed_is_another_basis(change: dict[str, Any]):
    assert basis(bought(**change)) != basis(bought())


@pytest.mark.parametrize(
    "change",
    [
        {"product_id": "pdt_other"},
        {"quantity": 2},
        {"addons": ()},
        {"addons": (AddonQuantity("adn_seat", 4),)},
    ],
    ids="_".join,
)
def test_another_scheduled_cart_is_another_basis(change: dict[str, Any]):
    before, after = (bought(scheduled_change=one) for one in (scheduled(), scheduled(**change)))
    assert basis(before) != basis(after)


@pytest.mark.parametrize(
    "change",
    [
        {"addons": (SUPPORT, SEATS)},
        {"addons": (SEATS, SUPPORT, AddonQuantity("adn_viewer", 0))},
        {"metadata": {"account_id": "acme", "note": "new"}},
        {"customer_id": "cus_2"},
    ],
    ids=["order", "no_units", "metadata", "customer"],
)
def test_what_a_plan_does_not_depend_on_leaves_the_basis_as_it_is(change: dict[str, Any]):
    assert basis(bought(**change)) == basis(bought())


def test_there_is_no_basis_without_the_whole_cart():
    with pytest.raises(AddonsUnknown):
        basis(bought(addons=None))


# When the next bill comes.


@pytest.mark.parametrize(
    ("when", "next_date", "moves"),
    [
        (When.NOW, DUE, False),
        (When.NOW, DUE.astimezone(timezone(timedelta(hours=2))), False),
        (When.NOW, DUE + timedelta(days=10), True),
        (When.NOW, DUE - timedelta(days=1), True),
        (When.NOW, None, False),
        (When.AT_RENEWAL, DUE, False),
        (When.AT_RENEWAL, NEXT_MONTH, False),
    ],
    ids=["kept", "kept_elsewhere", "later", "earlier", "unknown", "at_renewal", "at_renewal_a_period_on"],
)
def test_only_a_change_that_begins_a_period_today_moves_the_billing_date(
    when: When, next_date: datetime | None, moves: bool
):
    assert moves_billing_date(told(next_date), bought(), when) is moves


# What a look shows of a plan.

PLAN = planned()
AS_PLANNED = PLAN.cart.addons
OTHERWISE = (AddonQuantity("adn_seat", 7), SUPPORT)


@pytest.mark.parametrize(
    ("snapshot", "trace"),
    [
        (bought(addons=AS_PLANNED), PlanStatus.APPLIED),
        (bought(addons=AS_PLANNED[::-1]), PlanStatus.APPLIED),
        (bought(addons=AS_PLANNED, status="on_hold"), PlanStatus.APPLIED),
        (bought(addons=AS_PLANNED, scheduled_change=scheduled()), PlanStatus.APPLIED),
        (bought(scheduled_change=scheduled(addons=AS_PLANNED)), PlanStatus.SCHEDULED),
        (bought(addons=None, scheduled_change=scheduled(addons=AS_PLANNED)), PlanStatus.SCHEDULED),
        (bought(), PlanStatus.NONE),
        (bought(addons=None), PlanStatus.NONE),
        (bought(addons=OTHERWISE), PlanStatus.NONE),
        (bought(addons=AS_PLANNED, quantity=2), PlanStatus.NONE),
        (bought(addons=AS_PLANNED, product_id="pdt_other"), PlanStatus.NONE),
        (bought(scheduled_change=scheduled(addons=OTHERWISE)), PlanStatus.NONE),
        (bought(scheduled_change=scheduled(addons=AS_PLANNED, quantity=2)), PlanStatus.NONE),
        (bought(scheduled_change=scheduled(addons=AS_PLANNED, product_id="pdt_other")), PlanStatus.NONE),
    ],
    ids=[
        "applied",
        "applied_in_another_order",
        "applied_on_hold",
        "applied_with_another_scheduled",
        "scheduled",
        "scheduled_with_the_cart_unknown",
        "as_before",
        "cart_unknown",
        "other_units",
        "other_quantity",
        "other_product",
        "other_units_scheduled",
        "other_quantity_scheduled",
        "other_product_scheduled",
    ],
)
def test_a_snapshot_shows_a_plan_as_applied_or_scheduled_or_not_at_all(
    snapshot: SubscriptionSnapshot, trace: PlanStatus
):
    assert status_of(PLAN, snapshot) is trace


# What is kept and shown.


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("proration", Proration)
@pytest.mark.parametrize("prevent_on_failure", [True, False])
def test_a_plan_that_was_kept_is_the_plan_that_was_made(
    when: When, proration: Proration, prevent_on_failure: bool
):
    plan = planned(when=when, proration=proration, prevent_on_failure=prevent_on_failure)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    ("steps", "increases"),
    [
        ({"full": SeatStep(5, 6)}, True),
        ({"full": SeatStep(6, 5)}, False),
        ({"full": SeatStep(6, 5), "viewer": SeatStep(0, 1)}, True),
        ({"full": SeatStep(6, 5), "viewer": SeatStep(1, 0)}, False),
    ],
)
def test_more_seats_of_any_type_are_an_increase(steps: dict[str, SeatStep], increases: bool):
    assert is_increase(steps) is increases


@pytest.mark.parametrize(
    ("money", "words"),
    [(Money(-500, "EUR"), "-5.00 EUR"), (Money(0, "JPY"), "0 JPY"), (Money(7, "KWD"), "0.007 KWD")],
)
def test_an_amount_is_shown_as_a_number_and_in_words(money: Money, words: str):
    assert shown(money) == {"amount": money.amount, "currency": money.currency, "text": words}


def test_an_amount_that_is_not_known_is_not_shown_as_nothing():
    assert shown(None) is None
