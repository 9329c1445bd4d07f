"""The SDK unwraps every event, and its model accepts every body in strict JSON mode."""

from __future__ import annotations

import typing

import pytest
from dodopayments.types import UnwrapWebhookEvent

from simulator.webhooks.events import EventType

UNION = typing.get_args(typing.get_args(UnwrapWebhookEvent)[0])
MODELS = {typing.get_args(model.model_fields["type"].annotation)[0]: model for model in UNION}


@pytest.mark.parametrize("event_type", sorted(MODELS))
def test_the_sdk_accepts_every_event_type_it_knows(sdk, control, receiver, event_type):
    made = control.create(addons=[{"addon_id": "adn_seat", "quantity": 3}])
    control.emit(event_type, subscription_id=made["subscription_id"])
    delivery = receiver.wait_for(1)[0]
    unwrapped = sdk.webhooks.unwrap(delivery.body.decode(), headers=delivery.headers)
    assert type(unwrapped) is MODELS[event_type]
    assert MODELS[event_type].model_validate_json(delivery.body, strict=True).type == event_type


def test_the_sdk_knows_the_twelve_subscription_events_and_no_other():
    assert {name for name in MODELS if name.startswith("subscription.")} == set(EventType)


@pytest.mark.parametrize("status", ["pending", "past_due", "on_hold", "paused", "cancelled", "expired"])
def test_the_sdk_accepts_the_body_in_every_status(control, receiver, status):
    made = control.create(status=status)
    control.emit("subscription.updated", subscription_id=made["subscription_id"])
    model = MODELS["subscription.updated"]
    assert model.model_validate_json(receiver.wait_for(1)[0].body, strict=True).data.status == status


def test_a_made_up_type_is_sent_as_it_is(control, receiver):
    control.emit("quota.exhausted")
    assert receiver.wait_for(1)[0].json["type"] == "quota.exhausted"


def test_signed_nonsense_can_be_sent(control, receiver):
    control.emit("anything.goes", raw="not json {")
    delivery = receiver.wait_for(1)[0]
    assert delivery.body == b"not json {"


def test_the_envelope_is_the_documented_one(control, receiver):
    made = control.create()
    control.emit("subscription.renewed", subscription_id=made["subscription_id"])
    body = receiver.wait_for(1)[0].json
    assert set(body) == {"business_id", "type", "timestamp", "data"}
    assert len(body["timestamp"]) == len("2026-11-21T14:05:33.871204Z")
    assert body["data"]["payload_type"] == "Subscription"


@pytest.mark.parametrize(("event_type", "has_payment"), [("renewed", True), ("active", False)])
def test_only_renewals_name_a_payment(control, receiver, event_type, has_payment):
    made = control.create()
    control.emit(f"subscription.{event_type}", subscription_id=made["subscription_id"])
    assert bool(receiver.wait_for(1)[0].data["payment_id"]) is has_payment


def test_an_event_about_a_subscription_nobody_knows_can_be_sent(control, receiver, provider):
    control.emit("subscription.updated", subscription_id="sub_phantom")
    assert receiver.wait_for(1)[0].data["subscription_id"] == "sub_phantom"
    assert provider.call("GET", "/subscriptions/sub_phantom").status_code == 404
