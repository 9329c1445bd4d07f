"""Cancellations and links to the portal, as the SDK makes and reads them with strict validation."""

from __future__ import annotations

from typing import get_args

import dodopayments
import pytest

from simulator.billing.lifecycle import ENDED
from simulator.billing.patch import CancelReason, Feedback
from tests.simulator.receiver import KEY
from tests.simulator.test_sdk_changes import strictly

SEATS = [{"addon_id": "adn_seat", "quantity": 4}]


def test_the_sdk_cancels_at_the_next_billing_date(sdk, control):
    made = control.create(addons=SEATS)
    leaving = sdk.subscriptions.update(made["subscription_id"], cancel_at_next_billing_date=True)
    assert (leaving.status, leaving.cancel_at_next_billing_date) == ("active", True)
    assert (leaving.cancelled_at, leaving.cancelled_by.actor_type) == (None, "api_key")
    assert leaving.addons[0].quantity == 4


def test_the_sdk_undoes_a_cancellation(sdk, control):
    made = control.create()
    sdk.subscriptions.update(made["subscription_id"], cancel_at_next_billing_date=True)
    staying = sdk.subscriptions.update(made["subscription_id"], cancel_at_next_billing_date=False)
    assert (staying.cancel_at_next_billing_date, staying.cancelled_by) == (False, None)


def test_the_sdk_cancels_at_once(sdk, control):
    made = control.create()
    ended = sdk.subscriptions.update(made["subscription_id"], status="cancelled")
    assert (ended.status, ended.cancelled_by.actor_type) == ("cancelled", "api_key")
    assert sdk.subscriptions.retrieve(made["subscription_id"]) == ended


@pytest.mark.parametrize("reason", get_args(CancelReason))
@pytest.mark.parametrize("feedback", get_args(Feedback))
def test_the_sdk_gives_every_reason(sdk, control, reason, feedback):
    leaving = sdk.subscriptions.update(
        control.create()["subscription_id"],
        cancel_at_next_billing_date=True,
        cancel_reason=reason,
        cancellation_feedback=feedback,
    )
    assert leaving.cancellation_feedback == feedback


def test_a_scheduled_cancellation_ends_as_expired_at_the_renewal(sdk, control):
    made = control.create()
    sdk.subscriptions.update(made["subscription_id"], cancel_at_next_billing_date=True)
    control.act(made, "renew")
    assert sdk.subscriptions.retrieve(made["subscription_id"]).status == "expired"


def test_a_listed_subscription_shows_its_scheduled_cancellation(sdk, control):
    made = control.create()
    control.create()
    sdk.subscriptions.update(made["subscription_id"], cancel_at_next_billing_date=True)
    found = sdk.subscriptions.list(cancel_at_next_billing_date=True, page_number=0).items
    assert [one.subscription_id for one in found] == [made["subscription_id"]]


@pytest.mark.parametrize(
    ("fields", "announced"),
    [
        ({"cancel_at_next_billing_date": True}, ("subscription.plan_changed", "active")),
        ({"cancel_at_next_billing_date": True}, ("subscription.cancelled", "active")),
        ({"status": "cancelled"}, ("subscription.cancelled", "cancelled")),
    ],
)
def test_the_sdk_accepts_what_a_cancellation_announces(sdk, control, receiver, fields, announced):
    made = control.create()
    sdk.subscriptions.update(made["subscription_id"], **fields)
    told = strictly(receiver.wait_for_type(announced[0])).data
    assert (told.subscription_id, told.status) == (made["subscription_id"], announced[1])


@pytest.mark.parametrize("status", sorted(ENDED))
@pytest.mark.parametrize(
    "fields",
    [
        {"status": "cancelled"},
        {"cancel_at_next_billing_date": True},
        {"cancel_at_next_billing_date": False},
    ],
)
def test_what_has_ended_can_neither_be_cancelled_nor_kept(sdk, control, status, fields):
    made = control.create(status=status)
    with pytest.raises(dodopayments.UnprocessableEntityError) as raised:
        sdk.subscriptions.update(made["subscription_id"], **fields)
    assert raised.value.body["code"] == "SUBSCRIPTION_INACTIVE"


@pytest.mark.parametrize(
    "fields",
    [
        {"cancel_reason": "cancelled_by_customer"},
        {"cancellation_comment": "Too dear."},
        {"cancellation_feedback": "unused", "cancel_at_next_billing_date": False},
        {"cancellation_feedback": "bored", "cancel_at_next_billing_date": True},
        {"cancel_reason": "bored", "status": "cancelled"},
    ],
)
def test_a_reason_is_one_of_the_documented_ones_and_comes_with_a_cancellation(sdk, control, fields):
    made = control.create()
    with pytest.raises(dodopayments.UnprocessableEntityError) as raised:
        sdk.subscriptions.update(made["subscription_id"], **fields)
    assert raised.value.body["code"] == "INVALID_REQUEST_BODY"


def test_an_unknown_subscription_cannot_be_cancelled(sdk):
    with pytest.raises(dodopayments.NotFoundError):
        sdk.subscriptions.update("sub_nobody", status="cancelled")


# The portal.


@pytest.mark.parametrize("query", [{}, {"return_url": "https://app.example"}, {"send_email": True}])
def test_each_link_to_the_portal_is_another_one(sdk, control, query):
    customer_id = control.create()["customer"]["customer_id"]
    links = {sdk.customers.customer_portal.create(customer_id, **query).link for _ in range(2)}
    assert len(links) == 2


def test_there_is_no_link_for_an_unknown_customer(sdk):
    with pytest.raises(dodopayments.NotFoundError):
        sdk.customers.customer_portal.create("cus_nobody")


@pytest.mark.parametrize("query", [{"return_url": "javascript:alert(1)"}, {"send_email": "perhaps"}])
def test_a_malformed_query_gives_no_link(sdk, control, query):
    customer_id = control.create()["customer"]["customer_id"]
    with pytest.raises(dodopayments.BadRequestError) as raised:
        sdk.customers.customer_portal.create(customer_id, **query)
    assert raised.value.body["code"] == "INVALID_QUERY_PARAMS"


def test_a_wrong_key_gets_no_link(sdk, control):
    customer_id = control.create()["customer"]["customer_id"]
    with pytest.raises(dodopayments.AuthenticationError):
        sdk.with_options(bearer_token=f"not-{KEY}").customers.customer_portal.create(customer_id)
