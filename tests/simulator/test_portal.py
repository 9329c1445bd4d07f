"""The customer portal: a link from the API, and the customer's actions through the control API."""

from __future__ import annotations

import pytest

SEATS = [{"addon_id": "adn_seat", "quantity": 3}]
MORE = [{"addon_id": "adn_seat", "quantity": 5}]


def portal(control, made, action, **choice):
    return control.act(made, f"portal/{action}", **choice)


def refused(control, made, action, **choice):
    url = f"{control.url}/subscriptions/{made['subscription_id']}/portal/{action}"
    answer = control.session.post(url, json=choice)
    return f"{answer.status_code} {answer.json()['code']}"


def test_the_sdk_gets_a_link_for_a_customer(sdk, control):
    customer_id = control.create()["customer"]["customer_id"]
    session = sdk.customers.customer_portal.create(customer_id, return_url="https://app.example")
    assert session.link.startswith("https://")


def test_more_seats_come_at_once_and_are_paid(control, provider):
    made = control.create(addons=SEATS)
    portal(control, made, "change-plan", addons=MORE)
    assert provider.retrieve(made)["addons"] == MORE
    assert [payment["result"] for payment in control.payments(made)] == ["succeeded"]


def test_fewer_seats_come_at_the_next_billing_date(control, provider):
    made = control.create(addons=SEATS)
    portal(control, made, "change-plan", addons=[])
    after = provider.retrieve(made)
    assert (after["addons"], after["scheduled_change"]["addons"]) == (SEATS, [])


@pytest.mark.parametrize(("moment", "addons"), [("immediately", []), ("next_billing_date", SEATS)])
def test_the_customer_may_choose_the_moment(control, provider, moment, addons):
    made = control.create(addons=SEATS)
    portal(control, made, "change-plan", addons=[], effective_at=moment)
    assert provider.retrieve(made)["addons"] == addons


def test_what_the_customer_does_not_touch_stays(control, provider):
    made = control.create(addons=SEATS)
    portal(control, made, "change-plan", quantity=2)
    after = provider.retrieve(made)
    assert (after["quantity"], after["addons"]) == (2, SEATS)


def test_a_change_in_the_portal_is_announced(control, receiver):
    portal(control, control.create(), "change-plan", addons=SEATS)
    types = {delivery.type for delivery in receiver.wait_for(3)}
    assert types == {"payment.succeeded", "subscription.plan_changed", "subscription.updated"}


def test_a_scheduled_change_can_be_taken_back(control, provider):
    made = control.create(addons=SEATS)
    portal(control, made, "change-plan", addons=[])
    portal(control, made, "cancel-scheduled-change")
    assert provider.retrieve(made)["scheduled_change"] is None


def test_a_cancellation_shows_who_wanted_it(control, sdk):
    made = control.create(customer={"name": "Ada", "email": "ada@acme.example"})
    portal(control, made, "cancel-at-period-end")
    found = sdk.subscriptions.retrieve(made["subscription_id"])
    assert (found.status, found.cancel_at_next_billing_date) == ("active", True)
    assert found.cancelled_by.to_dict() == {
        "actor_type": "customer",
        "email": "ada@acme.example",
        "name": "Ada",
    }


def test_a_cancellation_can_be_taken_back(control, provider):
    made = control.create()
    portal(control, made, "cancel-at-period-end")
    portal(control, made, "undo-cancel")
    after = provider.retrieve(made)
    assert (after["cancel_at_next_billing_date"], after["cancelled_by"]) == (False, None)


def test_a_customer_pauses_and_resumes(control):
    made = control.create()
    assert portal(control, made, "pause")["status"] == "paused"
    assert portal(control, made, "unpause")["status"] == "active"


@pytest.mark.parametrize(
    ("state", "action", "choice", "refusal"),
    [
        (
            {},
            "change-plan",
            {"proration_billing_mode": "do_not_bill"},
            "422 DO_NOT_BILL_NOT_ALLOWED_IN_CUSTOMER_PORTAL",
        ),
        ({"status": "past_due"}, "change-plan", {}, "422 INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED"),
        ({}, "change-plan", {"addons": SEATS * 2}, "422 DUPLICATE_ADDON_IDS_IN_REQUEST"),
        ({"status": "paused"}, "pause", {}, "422 SUBSCRIPTION_INACTIVE"),
        ({}, "unpause", {}, "422 SUBSCRIPTION_INACTIVE"),
        ({"status": "on_hold"}, "cancel-at-period-end", {}, "422 SUBSCRIPTION_INACTIVE"),
        ({}, "undo-cancel", {}, "422 INVALID_REQUEST_BODY"),
        ({}, "cancel-scheduled-change", {}, "404 SCHEDULED_PLAN_CHANGE_NOT_FOUND"),
        ({}, "explode", {}, "404 NOT_FOUND"),
    ],
)
def test_what_the_portal_does_not_offer_is_refused(control, state, action, choice, refusal):
    assert refused(control, control.create(**state), action, **choice) == refusal
