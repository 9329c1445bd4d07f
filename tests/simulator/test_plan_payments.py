"""Payments of plan changes: results, effects on the subscription, and credit."""

from __future__ import annotations

import pytest

from tests.simulator.test_sdk_events import MODELS

SEATS = [{"addon_id": "adn_seat", "quantity": 3}]
NET = 3 * 1500
GROSS = NET + 3 * 1500 * 23 // 100


def buy(provider, made, **fields):
    """Buy three more seats, and pay the difference."""
    request = {"addons": SEATS, "proration_billing_mode": "difference_immediately", **fields}
    assert provider.change_plan(made, **request).status_code == 200


def give_back(provider, made):
    buy(provider, made, addons=[])


def results(control, made):
    return [payment["result"] for payment in control.payments(made)]


@pytest.mark.parametrize(
    ("payment", "result"), [("succeeds", "succeeded"), ("waits", "processing"), ("fails", "failed")]
)
@pytest.mark.parametrize("on_failure", ["prevent_change", "apply_change"])
def test_a_change_leaves_one_payment_with_its_outcome(control, provider, payment, result, on_failure):
    control.turn(plan_change_payment=payment)
    made = control.create()
    buy(provider, made, on_payment_failure=on_failure)
    (found,) = control.payments(made)
    assert (found["amount"], found["result"]) == (GROSS, result)


@pytest.mark.parametrize(
    ("payment", "event_type"),
    [("succeeds", "payment.succeeded"), ("waits", "payment.processing"), ("fails", "payment.failed")],
)
def test_the_payment_is_announced_in_a_body_the_sdk_accepts(control, provider, receiver, payment, event_type):
    control.turn(plan_change_payment=payment)
    made = control.create()
    buy(provider, made, metadata={"change_id": "c1"})
    delivery = receiver.wait_for_type(event_type)
    shown = MODELS[delivery.type].model_validate_json(delivery.body, strict=True).data
    assert (shown.charge_type, shown.total_amount) == ("plan_change", GROSS)
    assert (shown.subscription_id, shown.metadata) == (made["subscription_id"], {"change_id": "c1"})


def test_without_its_own_metadata_a_payment_carries_the_subscription_s(control, provider):
    made = control.create(metadata={"account_id": "acme"})
    buy(provider, made)
    assert control.payments(made)[0]["metadata"] == {"account_id": "acme"}


def test_a_change_that_was_prevented_shows_in_its_payment_only(control, provider):
    control.turn(plan_change_payment="fails")
    buy(provider, control.create(), on_payment_failure="prevent_change")
    assert [each["type"] for each in control.call("GET", "/messages")["messages"]] == ["payment.failed"]


def test_a_change_that_is_not_billed_leaves_no_payment(control, provider):
    made = control.create()
    buy(provider, made, proration_billing_mode="do_not_bill")
    assert control.payments(made) == []


@pytest.mark.parametrize("payment", ["waits", "fails"])
def test_a_change_that_costs_nothing_cannot_fail(control, provider, payment):
    control.turn(plan_change_payment=payment)
    made = control.create(addons=SEATS)
    buy(provider, made, addons=[], on_payment_failure="prevent_change")
    assert provider.retrieve(made)["addons"] == []


@pytest.mark.parametrize(("payment", "result"), [("succeeds", "succeeded"), ("fails", "failed")])
@pytest.mark.parametrize("on_failure", ["prevent_change", "apply_change"])
def test_a_payment_that_waited_settles_under_its_own_id(control, provider, payment, result, on_failure):
    control.turn(plan_change_payment="waits")
    made = control.create()
    buy(provider, made, on_payment_failure=on_failure)
    (before,) = control.payments(made)
    control.act(made, "settle-plan-change", payment=payment)
    assert control.payments(made) == [{**before, "result": result}]


@pytest.mark.parametrize(("payment", "status"), [("succeeds", "active"), ("fails", "on_hold")])
def test_an_applied_change_whose_payment_fails_late_puts_it_on_hold(control, provider, payment, status):
    control.turn(plan_change_payment="waits")
    made = control.create()
    buy(provider, made)
    assert (provider.retrieve(made)["addons"], provider.retrieve(made)["status"]) == (SEATS, "active")
    control.act(made, "settle-plan-change", payment=payment)
    assert (provider.retrieve(made)["addons"], provider.retrieve(made)["status"]) == (SEATS, status)


def test_a_change_is_allowed_again_once_the_payment_has_settled(control, provider):
    control.turn(plan_change_payment="waits")
    made = control.create()
    buy(provider, made)
    assert provider.change_plan(made).json()["code"] == "PENDING_PLAN_CHANGE_EXISTS"
    control.act(made, "settle-plan-change")
    assert provider.change_plan(made).ok


def test_a_pause_ends_the_wait_for_a_payment_unpaid(control, provider):
    control.turn(plan_change_payment="waits")
    made = control.create()
    buy(provider, made, on_payment_failure="prevent_change")
    control.act(made, "pause")
    assert results(control, made) == ["failed"]


def test_seats_given_back_become_credit_and_the_next_charge_uses_it(control, provider):
    made = control.create(addons=SEATS)
    give_back(provider, made)
    assert control.call("GET", "/payments")["credits"] == [
        {"customer_id": made["customer"]["customer_id"], "currency": "EUR", "balance": GROSS}
    ]
    summary = provider.preview(
        made,
        addons=[{"addon_id": "adn_seat", "quantity": 4}],
        proration_billing_mode="difference_immediately",
    ).json()["immediate_charge"]["summary"]
    assert (summary["customer_credits"], summary["total_amount"]) == (-GROSS, 1500 + 345)


def test_credit_is_spent_once(control, provider):
    made = control.create(addons=SEATS)
    give_back(provider, made)
    buy(provider, made)
    assert control.call("GET", "/payments")["credits"] == []


def test_credit_is_not_spent_by_a_charge_that_fails(control, provider):
    made = control.create(addons=SEATS)
    give_back(provider, made)
    control.turn(plan_change_payment="fails")
    buy(provider, made, quantity=2, on_payment_failure="prevent_change")
    assert control.call("GET", "/payments")["credits"][0]["balance"] == GROSS


def test_a_renewal_uses_credit_up(control, provider):
    made = control.create(addons=SEATS)
    give_back(provider, made)
    control.act(made, "renew")
    (renewal,) = control.payments(made, "renewal")
    assert renewal["amount"] == 9900 + 2277 - GROSS


def test_the_renewed_event_names_the_payment(control, receiver):
    made = control.create()
    control.act(made, "renew")
    renewed = receiver.wait_for_type("subscription.renewed")
    assert renewed.data["payment_id"] == control.payments(made, "renewal")[0]["payment_id"]


@pytest.mark.parametrize(
    ("on_failure", "status", "addons"), [("prevent_change", "active", []), ("apply_change", "on_hold", SEATS)]
)
def test_a_scheduled_change_that_cannot_be_paid_is_dropped_or_puts_it_on_hold(
    control, provider, on_failure, status, addons
):
    made = control.create()
    buy(provider, made, effective_at="next_billing_date", on_payment_failure=on_failure)
    control.turn(plan_change_payment="fails")
    control.act(made, "renew")
    after = provider.retrieve(made)
    assert (after["status"], after["addons"], after["scheduled_change"]) == (status, addons, None)
    assert results(control, made) == ["failed"]


def test_a_schedule_stays_until_the_change_that_replaces_it_is_paid(control, provider):
    control.turn(plan_change_payment="waits")
    made = control.create()
    buy(provider, made, effective_at="next_billing_date")
    buy(provider, made, cancel_scheduled_change_plan=True, on_payment_failure="prevent_change")
    assert provider.retrieve(made)["scheduled_change"]
    control.act(made, "settle-plan-change")
    assert provider.retrieve(made)["scheduled_change"] is None
