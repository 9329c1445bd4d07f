from __future__ import annotations

import pytest

SEATS = [{"addon_id": "adn_seat", "quantity": 3}]


def test_the_cart_is_absolute(control, provider):
    made = control.create(addons=[*SEATS, {"addon_id": "adn_support", "quantity": 1}])
    provider.change_plan(made, addons=[{"addon_id": "adn_viewer", "quantity": 2}])
    assert provider.retrieve(made)["addons"] == [{"addon_id": "adn_viewer", "quantity": 2}]


@pytest.mark.parametrize("fields", [{"addons": []}, {"addons": None}])
def test_an_empty_list_removes_every_addon(control, provider, fields):
    made = control.create(addons=SEATS)
    provider.change_plan(made, **fields)
    assert provider.retrieve(made)["addons"] == []


def test_the_recurring_amount_follows_the_cart(control, provider):
    made = control.create()
    provider.change_plan(made, quantity=2, addons=SEATS)
    assert provider.retrieve(made)["recurring_pre_tax_amount"] == 2 * 9900 + 3 * 1500


def test_a_change_is_answered_with_four_nulls(control, provider):
    answer = provider.change_plan(control.create(), addons=SEATS)
    assert answer.status_code == 200
    assert answer.json() == dict.fromkeys(["payment_id", "payment_link", "client_secret", "expires_on"])


def test_a_change_is_announced(control, provider, receiver):
    provider.change_plan(control.create(), addons=SEATS)
    types = {delivery.type for delivery in receiver.wait_for(3)}
    assert types == {"payment.succeeded", "subscription.plan_changed", "subscription.updated"}


@pytest.mark.parametrize(
    ("mode", "is_reset"),
    [
        ("prorated_immediately", True),
        ("difference_immediately", True),
        ("full_immediately", True),
        ("prorated_immediately_keep_cycle", False),
        ("do_not_bill", False),
    ],
)
def test_the_mode_decides_whether_the_period_starts_anew(control, provider, mode, is_reset):
    made = control.create(next_billing_date="2030-01-01T00:00:00.000000Z")
    provider.change_plan(made, proration_billing_mode=mode)
    assert (provider.retrieve(made)["next_billing_date"] != made["next_billing_date"]) is is_reset


@pytest.mark.parametrize(
    ("state", "wish", "refusal"),
    [
        ({"on_demand": True}, {}, "422 ON_DEMAND_PLAN_CHANGE_NOT_SUPPORTED"),
        ({"status": "past_due"}, {}, "422 INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED"),
        ({"status": "on_hold"}, {}, "422 INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED"),
        ({"status": "paused"}, {}, "422 INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED"),
        ({"status": "cancelled"}, {}, "422 INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED"),
        (
            {"cancel_at_next_billing_date": True},
            {},
            "422 PLAN_CHANGE_NOT_ALLOWED_FOR_SCHEDULED_CANCELLATION",
        ),
        ({}, {"addons": SEATS * 2}, "422 DUPLICATE_ADDON_IDS_IN_REQUEST"),
        ({}, {"addons": [{"addon_id": "adn_none", "quantity": 1}]}, "422 MISSING_ADDON_IDS"),
        ({}, {"addons": SEATS, "product_id": "pdt_per_user"}, "422 MISSING_ADDON_IDS"),
        ({}, {"addons": [{"addon_id": "adn_seat", "quantity": 0}]}, "422 INVALID_REQUEST_BODY"),
        ({}, {"collect_via_payment_link": True}, "422 INVALID_REQUEST_BODY"),
        ({}, {"return_url": "https://app.example"}, "422 INVALID_REQUEST_BODY"),
        ({}, {"product_id": "pdt_none"}, "404 NOT_FOUND"),
        ({}, {"quantity": 0}, "422 INVALID_REQUEST_BODY"),
        ({}, {"quantity": "3"}, "422 INVALID_REQUEST_BODY"),
        ({}, {"proration_billing_mode": "free"}, "422 INVALID_REQUEST_BODY"),
        ({}, {"proration_billing_mode": None}, "422 INVALID_REQUEST_BODY"),
    ],
)
def test_a_change_and_its_preview_are_refused_with_the_documented_code(
    control, provider, state, wish, refusal
):
    made = control.create(**state)
    for answer in (provider.change_plan(made, **wish), provider.preview(made, **wish)):
        assert f"{answer.status_code} {answer.json()['code']}" == refusal


def test_a_refused_change_changes_nothing(control, provider):
    made = control.create(addons=SEATS)
    before = provider.retrieve(made)
    provider.change_plan(made, addons=SEATS * 2)
    assert provider.retrieve(made) == before


def test_a_scheduled_change_leaves_the_cart_alone(control, provider):
    made = control.create(addons=SEATS)
    provider.change_plan(made, effective_at="next_billing_date")
    after = provider.retrieve(made)
    assert after["addons"] == SEATS
    assert after["scheduled_change"]["effective_at"] == made["next_billing_date"]


def test_a_scheduled_change_happens_on_renewal(control, provider):
    made = control.create(addons=SEATS)
    provider.change_plan(made, effective_at="next_billing_date")
    control.act(made, "renew")
    after = provider.retrieve(made)
    assert (after["addons"], after["scheduled_change"]) == ([], None)


def test_a_second_change_is_a_conflict_unless_it_replaces_the_first(control, provider):
    made = control.create()
    provider.change_plan(made, effective_at="next_billing_date")
    for answer in (provider.change_plan(made), provider.preview(made)):
        assert (answer.status_code, answer.json()["code"]) == (409, "SCHEDULED_PLAN_CHANGE_EXISTS")
    assert provider.preview(made, cancel_scheduled_change_plan=True).ok
    assert provider.change_plan(made, addons=SEATS, cancel_scheduled_change_plan=True).ok
    assert provider.retrieve(made)["scheduled_change"] is None


def test_dropping_a_schedule_works_once(control, provider):
    made = control.create()
    path = f"/subscriptions/{made['subscription_id']}/change-plan/scheduled"
    provider.change_plan(made, effective_at="next_billing_date")
    assert provider.call("DELETE", path).status_code == 204
    answer = provider.call("DELETE", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "SCHEDULED_PLAN_CHANGE_NOT_FOUND")


def test_dropping_a_schedule_of_nobody_is_unprocessable(provider):
    assert provider.call("DELETE", "/subscriptions/sub_nobody/change-plan/scheduled").status_code == 422


def test_only_full_immediately_is_scheduled_when_the_knob_says_so(control, provider):
    control.turn(refuse_proration_when_scheduled=True)
    made = control.create()
    for ask in (provider.change_plan, provider.preview):
        answer = ask(made, effective_at="next_billing_date")
        assert answer.json()["code"] == "INVALID_PRORATION_MODE_WITH_NEXT_BILLING_DATE"


def test_a_change_that_waits_for_money_shows_nowhere_and_blocks_the_next(control, provider):
    control.turn(plan_change_payment="waits")
    made = control.create()
    before = provider.retrieve(made)
    assert provider.change_plan(made, addons=SEATS, on_payment_failure="prevent_change").ok
    assert provider.retrieve(made) == before
    for answer in (provider.change_plan(made), provider.preview(made)):
        assert (answer.status_code, answer.json()["code"]) == (409, "PENDING_PLAN_CHANGE_EXISTS")


@pytest.mark.parametrize(("payment", "addons"), [("succeeds", SEATS), ("fails", [])])
def test_a_waiting_change_happens_once_the_money_is_there(control, provider, payment, addons):
    control.turn(plan_change_payment="waits")
    made = control.create()
    provider.change_plan(made, addons=SEATS, on_payment_failure="prevent_change")
    control.act(made, "settle-plan-change", payment=payment)
    assert provider.retrieve(made)["addons"] == addons


@pytest.mark.parametrize(
    ("on_failure", "status", "addons"), [("prevent_change", "active", []), ("apply_change", "on_hold", SEATS)]
)
def test_a_failed_charge_prevents_the_change_or_puts_it_on_hold(
    control, provider, on_failure, status, addons
):
    control.turn(plan_change_payment="fails")
    made = control.create()
    provider.change_plan(made, addons=SEATS, on_payment_failure=on_failure)
    after = provider.retrieve(made)
    assert (after["status"], after["addons"]) == (status, addons)
