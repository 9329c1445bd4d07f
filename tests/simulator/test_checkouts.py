"""Checkout sessions, created by the SDK and paid through the control API."""

from __future__ import annotations

import pytest

SEATS = [{"addon_id": "adn_seat", "quantity": 7}]
CART = [{"product_id": "pdt_team", "quantity": 1, "addons": SEATS}]


@pytest.fixture
def session(sdk):
    return sdk.checkout_sessions.create(
        product_cart=CART,
        customer={"email": "ada@acme.example", "name": "Ada"},
        metadata={"account_id": "acme"},
        return_url="https://app.example/thanks",
        billing_address={"country": "SE", "city": "Uppsala"},
        tax_id="SE1",
        subscription_data={"trial_period_days": 0},
    )


def conclude(control, session_id, how):
    return control.call("POST", f"/checkouts/{session_id}/{how}")


def test_the_sdk_opens_a_session_and_gets_an_address(session):
    assert session.checkout_url.endswith(session.session_id)
    assert (session.client_secret, session.payment_id) == (None, None)


def test_the_sdk_asks_how_a_session_stands(sdk, session):
    found = sdk.checkout_sessions.retrieve(session.session_id)
    assert (found.id, found.customer_email, found.payment_status) == (
        session.session_id,
        "ada@acme.example",
        None,
    )


def test_paying_makes_an_active_subscription_of_the_cart(sdk, control, session):
    done = conclude(control, session.session_id, "complete")
    found = sdk.subscriptions.retrieve(done["subscription_id"])
    assert (found.status, found.metadata) == ("active", {"account_id": "acme"})
    assert [addon.to_dict() for addon in found.addons] == SEATS
    assert (found.customer.name, found.billing.country, found.tax_id) == ("Ada", "SE", "SE1")


def test_paying_is_charged_and_shown(sdk, control, session):
    done = conclude(control, session.session_id, "complete")
    (payment,) = control.payments(done, "new")
    found = sdk.checkout_sessions.retrieve(session.session_id)
    assert (found.payment_id, found.payment_status) == (payment["payment_id"], "succeeded")
    assert payment["amount"] == (9900 + 7 * 1500) * 125 // 100


def test_paying_is_announced(control, session, receiver):
    conclude(control, session.session_id, "complete")
    deliveries = receiver.wait_for(3)
    assert {each.type.removeprefix("subscription.") for each in deliveries} == {
        "active",
        "renewed",
        "updated",
    }
    assert deliveries[0].data["metadata"] == {"account_id": "acme"}


def test_a_failure_is_announced_and_may_be_followed_by_another_attempt(sdk, control, session, receiver):
    failed = conclude(control, session.session_id, "fail")
    assert {each.type for each in receiver.wait_for(2)} == {"subscription.failed", "subscription.updated"}
    assert sdk.checkout_sessions.retrieve(session.session_id).payment_status == "failed"
    assert sdk.subscriptions.retrieve(failed["subscription_id"]).status == "failed"
    assert conclude(control, session.session_id, "complete")["payment_status"] == "succeeded"


@pytest.mark.parametrize("how", ["complete", "fail"])
def test_a_session_is_paid_once(control, session, how):
    conclude(control, session.session_id, "complete")
    answer = control.session.post(f"{control.url}/checkouts/{session.session_id}/{how}")
    assert (answer.status_code, answer.json()["code"]) == (409, "CHECKOUT_SESSION_COMPLETED")


def test_a_free_trial_starts_without_a_payment(sdk, control):
    data = {"trial_period_days": 14}
    opened = sdk.checkout_sessions.create(product_cart=CART, subscription_data=data)
    done = conclude(control, opened.session_id, "complete")
    assert (done["payment_id"], done["payment_status"]) == (None, "succeeded")
    assert sdk.subscriptions.retrieve(done["subscription_id"]).trial_period_days == 14


def test_a_known_customer_buys_again(sdk, control):
    made = control.create(customer={"name": "Ada"})
    customer = {"customer_id": made["customer"]["customer_id"]}
    opened = sdk.checkout_sessions.create(product_cart=CART, customer=customer)
    done = conclude(control, opened.session_id, "complete")
    assert control.call("GET", f"/subscriptions/{done['subscription_id']}")["customer"] == made["customer"]


ON_DEMAND = {"on_demand": {"mandate_only": True}}


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"product_cart": []}, "422 INVALID_REQUEST_BODY"),
        ({"product_cart": CART * 2}, "422 INVALID_REQUEST_BODY"),
        ({"product_cart": [{"product_id": "pdt_team", "quantity": 0}]}, "422 INVALID_REQUEST_BODY"),
        ({"product_cart": [{"product_id": "pdt_none", "quantity": 1}]}, "404 NOT_FOUND"),
        ({"product_cart": [{"product_id": "pdt_book", "quantity": 1}]}, "422 INVALID_REQUEST_BODY"),
        ({"product_cart": [{**CART[0], "product_id": "pdt_per_user"}]}, "422 MISSING_ADDON_IDS"),
        ({"product_cart": [{**CART[0], "addons": SEATS * 2}]}, "422 DUPLICATE_ADDON_IDS_IN_REQUEST"),
        ({"subscription_data": ON_DEMAND}, "422 ADDONS_NOT_ALLOWED_FOR_ON_DEMAND"),
        ({"subscription_data": {"trial_period_days": 10_001}}, "422 INVALID_REQUEST_BODY"),
        ({"customer": {"customer_id": "cus_nobody"}}, "404 NOT_FOUND"),
    ],
)
def test_what_cannot_be_sold_is_refused(control, provider, fields, refusal):
    control.call("POST", "/products", product_id="pdt_book", name="Book", price=1, is_recurring=False)
    answer = provider.call("POST", "/checkouts", json={"product_cart": CART, **fields})
    assert f"{answer.status_code} {answer.json()['code']}" == refusal


def test_a_session_nobody_knows_is_not_found(control, provider):
    answer = provider.call("GET", "/checkouts/cks_nothing")
    played = control.session.post(f"{control.url}/checkouts/cks_nothing/complete")
    assert (answer.status_code, played.status_code) == (404, 404)
