"""The cost of a plan change in each proration mode, equal in the preview and the change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from dodopayments.types import SubscriptionPreviewChangePlanResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.billing.catalog import Catalog, Product
from simulator.billing.periods import later
from simulator.billing.plan_change import Payment, change_now, renew
from simulator.billing.plan_request import AttachedAddon, PlanRequest, ProrationMode
from simulator.billing.previews import preview_body
from simulator.billing.quote import quote
from simulator.billing.scheduled_change import schedule
from simulator.billing.subscription import AddonUnits, Address, Customer, Subscription
from simulator.billing.tax import PER_CENT
from simulator.json_text import encode

MODES = get_args(ProrationMode)
START = datetime(2026, 11, 1, tzinfo=UTC)
HALFWAY = START + timedelta(days=15)
CATALOG = Catalog()
TEN_SEATS = Subscription(
    subscription_id="sub_1",
    product_id="pdt_team",
    addons=(AddonUnits("adn_seat", 10),),
    customer=Customer(customer_id="cus_1"),
    billing=Address(country="US"),
    created_at=START,
    previous_billing_date=START,
    next_billing_date=START + timedelta(days=30),
)
OLD, NEW = 9900 + 10 * 1500, 9900 + 15 * 1500


def asked(mode, seats=15, **fields):
    addons = (AttachedAddon("adn_seat", seats),) if seats else ()
    request = {"product_id": "pdt_team", "quantity": 1, "addons": addons, **fields}
    return PlanRequest(proration_billing_mode=mode, **request)


def priced(request, subscription=TEN_SEATS, balance=0, now=HALFWAY):
    return quote(subscription, now, request, CATALOG, balance)


@pytest.mark.parametrize(
    ("mode", "total"),
    [
        ("prorated_immediately", NEW - OLD // 2),
        ("prorated_immediately_keep_cycle", NEW // 2 - OLD // 2),
        ("difference_immediately", NEW - OLD),
        ("full_immediately", NEW),
        ("do_not_bill", 0),
    ],
)
def test_more_seats_cost_what_the_mode_says(mode, total):
    assert priced(asked(mode)).due.total == total


@pytest.mark.parametrize(
    ("mode", "total", "credit"),
    [
        ("prorated_immediately", 0, OLD // 2 - 9900),
        ("prorated_immediately_keep_cycle", 0, OLD // 2 - 9900 // 2),
        ("difference_immediately", 0, OLD - 9900),
        ("full_immediately", 9900, 0),
        ("do_not_bill", 0, 0),
    ],
)
def test_fewer_seats_leave_the_credit_the_mode_says(mode, total, credit):
    owed = priced(asked(mode, seats=0)).due
    assert (owed.total, owed.customer_credits) == (total, credit)


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_decides_when_the_next_bill_comes(mode):
    keeps = mode in {"prorated_immediately_keep_cycle", "do_not_bill"}
    after = priced(asked(mode)).after
    anew = (HALFWAY, datetime(2026, 12, 16, tzinfo=UTC))
    kept = (TEN_SEATS.previous_billing_date, TEN_SEATS.next_billing_date)
    assert (after.previous_billing_date, after.next_billing_date) == (kept if keeps else anew)


def test_the_documented_example_comes_out_to_the_cent():
    owed = priced(asked("full_immediately"), replace(TEN_SEATS, billing=Address(country="PT"))).due
    assert (owed.total, owed.tax) == (39852, 7452)


def test_tax_that_is_included_is_not_added():
    subscription = replace(TEN_SEATS, billing=Address(country="PT"), tax_inclusive=True)
    owed = priced(asked("full_immediately", seats=0), subscription).due
    assert (owed.total, owed.tax) == (9900, 1851)


def test_credit_is_used_before_money():
    owed = priced(asked("full_immediately"), balance=30000).due
    assert (owed.total, owed.customer_credits) == (NEW - 30000, -30000)


def test_no_more_credit_is_used_than_is_needed():
    owed = priced(asked("full_immediately"), balance=10**6).due
    assert (owed.total, owed.customer_credits) == (0, -NEW)


def test_the_same_cart_in_the_same_cycle_costs_nothing():
    now = START + timedelta(days=7)
    assert priced(asked("prorated_immediately_keep_cycle", seats=10), now=now).due.total == 0


@pytest.mark.parametrize(("later", "total"), [({"hours": 23}, 0), ({"days": 31}, NEW)])
def test_days_begun_are_not_taken_off_and_what_is_over_is_not_given_back(later, total):
    now = START + timedelta(**later)
    assert priced(asked("prorated_immediately", seats=10 if not total else 15), now=now).due.total == total


def test_a_currency_without_decimals_is_counted_in_its_own_unit():
    catalog = Catalog()
    catalog.put_product(Product(product_id="pdt_yen", name="Yen", price=999, currency="JPY"))
    yen = replace(TEN_SEATS, product_id="pdt_yen", addons=(), currency="JPY", billing=Address(country="JP"))
    request = asked("prorated_immediately_keep_cycle", seats=0, product_id="pdt_yen", quantity=2)
    owed = quote(yen, START + timedelta(days=20), request, catalog, 0).due
    assert (owed.total, owed.tax) == (666 - 333 + 67 - 33, 67 - 33)


def test_a_scheduled_change_costs_nothing_yet():
    quoted = priced(asked("full_immediately", effective_at="next_billing_date"))
    assert (quoted.due.total, quoted.lines, quoted.effective_at) == (0, (), TEN_SEATS.next_billing_date)
    assert quoted.after.next_billing_date == TEN_SEATS.next_billing_date


units = st.dictionaries(st.sampled_from(CATALOG.product("pdt_team").addons), st.integers(1, 10_000))
carts = st.fixed_dictionaries(
    {"quantity": st.integers(1, 50), "addons": units.map(lambda held: tuple(held.items()))}
)


@st.composite
def subscriptions(draw):
    cart = draw(carts)
    return replace(
        TEN_SEATS,
        quantity=cart["quantity"],
        addons=tuple(AddonUnits(*each) for each in cart["addons"]),
        currency=draw(st.sampled_from(["EUR", "JPY", "KWD"])),
        tax_inclusive=draw(st.booleans()),
        billing=Address(country=draw(st.sampled_from([*PER_CENT, "US"]))),
        next_billing_date=START + draw(st.timedeltas(timedelta(0), timedelta(days=400))),
    )


@st.composite
def requests(draw):
    cart = draw(carts)
    return PlanRequest(
        product_id="pdt_team",
        quantity=cart["quantity"],
        addons=tuple(AttachedAddon(*each) for each in cart["addons"]),
        proration_billing_mode=draw(st.sampled_from(MODES)),
    )


moments = st.datetimes(datetime(2026, 10, 25), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@settings(deadline=None)
@given(subscriptions(), requests(), moments, st.integers(0, 10**7))
def test_the_preview_and_the_change_agree(subscription, request, now, balance):
    quoted = quote(subscription, now, request, CATALOG, balance)
    body = encode(preview_body(quoted))
    shown = SubscriptionPreviewChangePlanResponse.model_validate_json(body, strict=True)
    outcome = change_now(quoted, now, request, Payment.SUCCEEDS, "pay_1")
    after, charge, summary = outcome.subscription, outcome.charge, shown.immediate_charge.summary
    paid = (charge.amount, charge.tax, charge.customer_credits) if charge else (0, 0, 0)
    assert paid[0] == summary.total_amount
    assert paid[2] == summary.customer_credits
    assert not charge or charge.tax == summary.tax
    assert [(each.addon_id, each.quantity) for each in shown.new_plan.addons] == [
        (each.addon_id, each.quantity) for each in after.addons
    ]
    assert (shown.new_plan.quantity, shown.new_plan.next_billing_date) == (
        after.quantity,
        after.next_billing_date,
    )
    assert after.cart == request.cart


@settings(deadline=None)
@given(subscriptions(), requests(), moments, st.integers(0, 10**7))
def test_the_lines_with_their_tax_are_what_is_paid_and_credited(subscription, request, now, balance):
    quoted = quote(subscription, now, request, CATALOG, balance)
    charge = preview_body(quoted)["immediate_charge"]
    summary, items = charge["summary"], charge["line_items"]
    tax = sum(item["tax"] for item in items)
    lines = sum(line.amount for line in quoted.lines) + (0 if subscription.tax_inclusive else tax)
    assert summary["total_amount"] - summary["customer_credits"] == lines
    assert summary["tax"] == tax


@settings(deadline=None)
@given(subscriptions(), requests(), moments, st.integers(0, 10**7))
def test_nobody_pays_less_than_nothing_or_with_credit_they_do_not_have(subscription, request, now, balance):
    owed = quote(subscription, now, request, CATALOG, balance).due
    assert owed.total >= 0
    assert balance + owed.customer_credits >= 0


# Another product.

YEARLY = Product(
    product_id="pdt_yearly",
    name="Team, by the year",
    price=99000,
    addons=("adn_seat",),
    payment_frequency_interval="Year",
)


def priced_onto(product, mode, **fields):
    shop = Catalog()
    shop.put_product(product)
    request = asked(mode, seats=10, product_id=product.product_id, **fields)
    return quote(TEN_SEATS, HALFWAY, request, shop, 0)


@pytest.mark.parametrize(
    ("mode", "total"),
    [
        ("prorated_immediately", 114000 - OLD // 2),
        ("prorated_immediately_keep_cycle", round(99000 * 15 / 365) + round(15000 * 15 / 365) - OLD // 2),
        ("difference_immediately", 114000 - OLD),
        ("full_immediately", 114000),
        ("do_not_bill", 0),
    ],
)
def test_a_year_instead_of_a_month_costs_what_the_mode_says(mode, total):
    owed = priced_onto(YEARLY, mode).due
    assert owed.total - owed.customer_credits == total


@pytest.mark.parametrize("mode", MODES)
def test_the_first_period_of_another_product_is_as_long_as_that_products(mode):
    keeps = mode in {"prorated_immediately_keep_cycle", "do_not_bill"}
    after = priced_onto(YEARLY, mode).after
    assert after.next_billing_date == (TEN_SEATS.next_billing_date if keeps else later(HALFWAY, 1, "Year"))
    assert (after.product_id, after.payment_frequency_interval) == ("pdt_yearly", "Year")


def test_a_product_that_comes_at_the_renewal_begins_its_own_period_then():
    shop = Catalog()
    shop.put_product(YEARLY)
    request = asked("full_immediately", product_id="pdt_yearly", effective_at="next_billing_date")
    waiting = schedule(TEN_SEATS, HALFWAY, request, shop, "spc_1").subscription
    renewed = renew(waiting, TEN_SEATS.next_billing_date, shop).subscription
    assert (renewed.product_id, renewed.payment_frequency_interval) == ("pdt_yearly", "Year")
    assert renewed.previous_billing_date == TEN_SEATS.next_billing_date
    assert renewed.next_billing_date == later(TEN_SEATS.next_billing_date, 1, "Year")


def test_a_product_whose_payment_fails_at_the_renewal_leaves_the_old_period():
    shop = Catalog()
    shop.put_product(YEARLY)
    request = asked(
        "full_immediately",
        product_id="pdt_yearly",
        effective_at="next_billing_date",
        on_payment_failure="prevent_change",
    )
    waiting = schedule(TEN_SEATS, HALFWAY, request, shop, "spc_1").subscription
    renewed = renew(waiting, TEN_SEATS.next_billing_date, shop, Payment.FAILS).subscription
    assert (renewed.product_id, renewed.payment_frequency_interval) == ("pdt_team", "Month")
    assert renewed.next_billing_date == later(TEN_SEATS.next_billing_date, 1, "Month")
