"""Scheduled changes, their events and refusals, as the SDK reads them with strict validation."""

from __future__ import annotations

from typing import get_args

import dodopayments
import pytest

from simulator.billing.plan_request import ProrationMode
from tests.simulator.receiver import KEY
from tests.simulator.test_sdk_events import MODELS

MODES = get_args(ProrationMode)
BEFORE = [{"addon_id": "adn_seat", "quantity": 4}]
AFTER = [{"addon_id": "adn_seat", "quantity": 2}, {"addon_id": "adn_support", "quantity": 1}]


def renewing(made, mode="full_immediately"):
    """The change of the cart at the next billing date, as the SDK is asked for it."""
    return {
        "subscription_id": made["subscription_id"],
        "product_id": "pdt_team",
        "quantity": 1,
        "addons": AFTER,
        "proration_billing_mode": mode,
        "effective_at": "next_billing_date",
    }


def units(addons):
    return [{"addon_id": addon.addon_id, "quantity": addon.quantity} for addon in addons]


def strictly(delivery):
    return MODELS[delivery.type].model_validate_json(delivery.body, strict=True)


# At the renewal.


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_schedules_in_every_mode(sdk, control, mode):
    made = control.create(addons=BEFORE)
    answer = sdk.subscriptions.change_plan(**renewing(made, mode))
    found = sdk.subscriptions.retrieve(made["subscription_id"])
    assert set(answer.to_dict().values()) == {None}
    assert (units(found.scheduled_change.addons), units(found.addons)) == (AFTER, BEFORE)
    assert found.scheduled_change.effective_at == found.next_billing_date


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_previews_the_renewal_in_every_mode_and_nothing_is_scheduled(sdk, control, mode):
    made = control.create(addons=BEFORE)
    shown = sdk.subscriptions.preview_change_plan(**renewing(made, mode))
    found = sdk.subscriptions.retrieve(made["subscription_id"])
    assert shown.immediate_charge.effective_at == found.next_billing_date
    assert (units(shown.new_plan.addons), units(found.addons)) == (AFTER, BEFORE)
    assert found.scheduled_change is None


@pytest.mark.parametrize("mode", MODES)
def test_what_the_sdk_scheduled_is_there_after_the_renewal(sdk, control, mode):
    made = control.create(addons=BEFORE)
    sdk.subscriptions.change_plan(**renewing(made, mode))
    control.act(made, "renew")
    found = sdk.subscriptions.retrieve(made["subscription_id"])
    assert (units(found.addons), found.scheduled_change) == (AFTER, None)


# Another product.

YEARLY = {
    "product_id": "pdt_yearly",
    "name": "Team, by the year",
    "price": 99000,
    "addons": ["adn_seat"],
    "payment_frequency_interval": "Year",
}
SEATS = [{"addon_id": "adn_seat", "quantity": 7}]


def onto_yearly(control, **changes):
    """The change of a monthly subscription to the yearly product, as the SDK is asked for it."""
    control.call("POST", "/products", **YEARLY)
    wanted = {**renewing(control.create(addons=BEFORE)), "product_id": "pdt_yearly", "addons": SEATS}
    return {**wanted, **changes}


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_changes_to_another_product_in_every_mode(sdk, control, mode):
    wanted = onto_yearly(control, proration_billing_mode=mode, effective_at="immediately")
    shown = sdk.subscriptions.preview_change_plan(**wanted)
    answer = sdk.subscriptions.change_plan(**wanted)
    found = sdk.subscriptions.retrieve(wanted["subscription_id"])
    assert set(answer.to_dict().values()) == {None}
    assert (found.product_id, units(found.addons)) == ("pdt_yearly", SEATS)
    assert (shown.new_plan.product_id, units(shown.new_plan.addons)) == ("pdt_yearly", SEATS)
    assert shown.new_plan.payment_frequency_interval == found.payment_frequency_interval == "Year"
    assert found.recurring_pre_tax_amount == 99000 + 7 * 1500


def test_the_sdk_schedules_another_product_and_finds_it_after_the_renewal(sdk, control):
    wanted = onto_yearly(control)
    sdk.subscriptions.change_plan(**wanted)
    waiting = sdk.subscriptions.retrieve(wanted["subscription_id"])
    control.call("POST", f"/subscriptions/{wanted['subscription_id']}/renew")
    found = sdk.subscriptions.retrieve(wanted["subscription_id"])
    assert (waiting.product_id, waiting.scheduled_change.product_id) == ("pdt_team", "pdt_yearly")
    assert waiting.scheduled_change.product_name == "Team, by the year"
    assert (found.product_id, units(found.addons)) == ("pdt_yearly", SEATS)
    assert (found.next_billing_date - found.previous_billing_date).days in {365, 366}


def test_the_sdk_accepts_the_webhook_about_another_product(sdk, control, receiver):
    sdk.subscriptions.change_plan(**onto_yearly(control, effective_at="immediately"))
    told = strictly(receiver.wait_for_type("subscription.plan_changed")).data
    assert (told.product_id, told.payment_frequency_interval) == ("pdt_yearly", "Year")


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"product_id": "pdt_none"}, dodopayments.NotFoundError, "NOT_FOUND"),
        ({"addons": AFTER}, dodopayments.UnprocessableEntityError, "MISSING_ADDON_IDS"),
        ({"product_id": "pdt_once"}, dodopayments.UnprocessableEntityError, "INVALID_REQUEST_BODY"),
        ({"product_id": "pdt_dollars"}, dodopayments.UnprocessableEntityError, "INVALID_REQUEST_BODY"),
    ],
    ids=["unknown", "addon not sold with it", "sold once", "another currency"],
)
def test_the_sdk_is_refused_a_product_that_cannot_follow(sdk, control, changes, error, code):
    control.call("POST", "/products", product_id="pdt_once", name="Once", price=1, is_recurring=False)
    control.call("POST", "/products", product_id="pdt_dollars", name="Dollars", price=1, currency="USD")
    wanted = {**onto_yearly(control), "addons": [], **changes}
    for ask in (sdk.subscriptions.preview_change_plan, sdk.subscriptions.change_plan):
        with pytest.raises(error) as raised:
            ask(**wanted)
        assert raised.value.body["code"] == code


# What is announced.


def test_the_sdk_accepts_a_webhook_with_a_scheduled_change(sdk, control, receiver):
    made = control.create(addons=BEFORE)
    sdk.subscriptions.change_plan(**renewing(made))
    delivery = receiver.wait_for_type("subscription.updated")
    unwrapped = sdk.webhooks.unwrap(delivery.body.decode(), headers=delivery.headers)
    for event in (unwrapped, strictly(delivery)):
        assert units(event.data.scheduled_change.addons) == AFTER
        assert [addon.name for addon in event.data.scheduled_change.addons] == [
            "Extra seat",
            "Priority support",
        ]


@pytest.mark.parametrize(
    "event_type", ["subscription.active", "subscription.renewed", "subscription.updated"]
)
def test_the_sdk_accepts_all_that_a_paid_checkout_announces(sdk, control, receiver, event_type):
    cart = [{"product_id": "pdt_team", "quantity": 1, "addons": AFTER}]
    opened = sdk.checkout_sessions.create(product_cart=cart, metadata={"account_id": "acme"})
    paid = control.call("POST", f"/checkouts/{opened.session_id}/complete")
    born = strictly(receiver.wait_for_type(event_type)).data
    assert (born.subscription_id, born.status) == (paid["subscription_id"], "active")
    assert (units(born.addons), born.metadata) == (AFTER, {"account_id": "acme"})


def test_the_sdk_accepts_that_a_failed_subscription_is_updated(control, receiver):
    made = control.create(status="failed", addons=BEFORE)
    control.emit("subscription.updated", subscription_id=made["subscription_id"])
    told = strictly(receiver.wait_for_type("subscription.updated")).data
    assert (told.status, units(told.addons)) == ("failed", BEFORE)


# What is no longer sold.


def test_the_sdk_lists_archived_products_apart_from_those_on_sale(sdk, control):
    control.call("POST", "/products", product_id="pdt_old", name="Old", price=1, archived=True)
    archived = sdk.products.list(archived=True, page_number=0).items
    on_sale = sdk.products.list(page_number=0).items
    assert [item.product_id for item in archived] == ["pdt_old"]
    assert {item.product_id for item in on_sale} == {"pdt_team", "pdt_per_user"}


# Refusals.


def by_a_wrong_key(sdk, _control):
    sdk.with_options(bearer_token=f"not-{KEY}").subscriptions.list()


def by_what_is_scheduled(sdk, control):
    made = control.create()
    for _ in range(2):
        sdk.subscriptions.change_plan(**renewing(made))


def by_what_is_not_sold(sdk, control):
    wanted = {**renewing(control.create()), "addons": [{"addon_id": "adn_none", "quantity": 1}]}
    sdk.subscriptions.change_plan(**wanted)


def by_too_many(sdk, control):
    control.turn(api_429_probability=1.0, retry_after="37")
    sdk.subscriptions.list()


def by_a_mishap(sdk, control):
    control.turn(api_500_probability=1.0)
    sdk.subscriptions.list()


@pytest.mark.parametrize(
    ("refused", "error", "refusal"),
    [
        (by_a_wrong_key, dodopayments.AuthenticationError, (401, "UNAUTHORIZED")),
        (by_what_is_scheduled, dodopayments.ConflictError, (409, "SCHEDULED_PLAN_CHANGE_EXISTS")),
        (by_what_is_not_sold, dodopayments.UnprocessableEntityError, (422, "MISSING_ADDON_IDS")),
        (by_too_many, dodopayments.RateLimitError, (429, "TOO_MANY_REQUESTS")),
        (by_a_mishap, dodopayments.InternalServerError, (500, "INTERNAL_SERVER_ERROR")),
    ],
)
def test_the_sdk_maps_every_kind_of_refusal_to_an_error_of_its_own(sdk, control, refused, error, refusal):
    with pytest.raises(error) as raised:
        refused(sdk, control)
    assert (raised.value.status_code, raised.value.body["code"]) == refusal
