"""Previews, as the SDK reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from simulator.billing.plan_request import ProrationMode

MODES = get_args(ProrationMode)
SEATS = [{"addon_id": "adn_seat", "quantity": 15}]


def previewed(sdk, made, mode="full_immediately", **fields):
    request = {"product_id": "pdt_team", "quantity": 1, "addons": SEATS, **fields}
    return sdk.subscriptions.preview_change_plan(
        made["subscription_id"], proration_billing_mode=mode, **request
    )


def without_dates(subscription):
    return subscription.model_dump(exclude={"previous_billing_date", "next_billing_date"})


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_previews_every_mode_and_the_change_does_what_it_showed(sdk, control, mode):
    begun = (datetime.now(UTC) - timedelta(days=10, hours=1)).isoformat()
    made = control.create(addons=[{"addon_id": "adn_seat", "quantity": 4}], previous_billing_date=begun)
    shown = previewed(sdk, made, mode)
    sdk.subscriptions.change_plan(
        made["subscription_id"],
        product_id="pdt_team",
        quantity=1,
        addons=SEATS,
        proration_billing_mode=mode,
    )
    after = sdk.subscriptions.retrieve(made["subscription_id"])
    paid = sum(payment["amount"] for payment in control.payments(made))
    assert paid == shown.immediate_charge.summary.total_amount
    assert after.next_billing_date - shown.new_plan.next_billing_date < timedelta(seconds=5)
    assert without_dates(after) == without_dates(shown.new_plan)


def test_the_lines_tell_products_from_addons(sdk, control):
    charge = previewed(sdk, control.create()).immediate_charge
    plan, seats = charge.line_items
    assert (plan.type, plan.product_id, plan.unit_price, plan.tax) == ("subscription", "pdt_team", 9900, 2277)
    assert (seats.type, seats.name, seats.quantity, seats.tax) == ("addon", "Extra seat", 15, 5175)
    assert (charge.summary.total_amount, charge.summary.tax) == (39852, 7452)


def test_what_is_taken_back_has_a_negative_factor(sdk, control):
    items = previewed(sdk, control.create(), "difference_immediately").immediate_charge.line_items
    assert [item.proration_factor for item in items] == [1.0, 1.0, -1.0]


def test_a_scheduled_change_is_previewed_without_a_charge_for_its_date(sdk, control):
    made = control.create()
    shown = previewed(sdk, made, effective_at="next_billing_date")
    assert shown.immediate_charge.summary.total_amount == 0
    assert shown.immediate_charge.effective_at.isoformat().startswith(made["next_billing_date"][:19])
    assert shown.new_plan.addons[0].quantity == 15


@pytest.mark.parametrize(("seats", "mode"), [(2, "difference_immediately"), (9, "do_not_bill")])
def test_a_preview_changes_nothing(control, provider, seats, mode):
    made = control.create(addons=SEATS)
    before = provider.retrieve(made)
    answer = provider.preview(
        made, addons=[{"addon_id": "adn_seat", "quantity": seats}], proration_billing_mode=mode
    )
    assert answer.status_code == 200
    assert provider.retrieve(made) == before
    assert control.payments(made) == []


def test_a_preview_of_nobody_is_not_found(provider):
    answer = provider.preview({"subscription_id": "sub_nobody"})
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
