"""The provider's API responses and webhooks, and the load's HTTP requests, in realistic shape and size."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PROVIDER_KEY = "a-provider-key"
API_KEY = "a-bootstrap-key-for-benchmarks"
INCLUDED = 5
CATALOG = f"""
[roles]
member = "full"

[products.pdt_team]
name = "Team"
included = {{ full = {INCLUDED} }}
addons.adn_seat = {{ full = 1 }}

[free]
included = {{ full = 1000 }}
"""

_SIGNER = Webhook(SECRET)


def account_of(subscription_id: str) -> str:
    """The account that the subscription's metadata names."""
    return f"team-{subscription_id}"


def subscription(subscription_id: str, seats: int) -> dict[str, Any]:
    """An active subscription with `seats` seats bought as an add-on."""
    return {
        "addons": [{"addon_id": "adn_seat", "quantity": seats}],
        "billing": {
            "city": "Porto",
            "country": "PT",
            "state": None,
            "street": "Rua das Flores 18",
            "zipcode": "4050-262",
        },
        "brand_id": "brnd_4tYh8Kq2LmZx7Rw9Vb3Nc",
        "cancel_at_next_billing_date": False,
        "cancellation_comment": None,
        "cancellation_feedback": None,
        "cancelled_at": None,
        "created_at": "2026-07-12T08:31:07.204418Z",
        "credit_entitlement_cart": [],
        "currency": "EUR",
        "custom_field_responses": None,
        "customer": {
            "customer_id": "cus_9bVn2Xc5Lk8Jh1Gf4Ds7A",
            "email": "ops@tidewater.example",
            "metadata": {},
            "name": "Tidewater Labs",
            "phone_number": None,
        },
        "customer_business_name": "Tidewater Labs Lda",
        "discount_cycles_remaining": None,
        "discount_id": None,
        "discounts": None,
        "expires_at": "2046-07-12T08:31:07.204418Z",
        "has_payment_method": True,
        "metadata": {"account_id": account_of(subscription_id)},
        "meter_credit_entitlement_cart": [],
        "meters": [],
        "next_billing_date": "2026-12-12T08:31:07.204418Z",
        "on_demand": False,
        "past_due_ends_at": None,
        "paused_at": None,
        "payload_type": "Subscription",
        "payment_frequency_count": 1,
        "payment_frequency_interval": "Month",
        "payment_id": None,
        "payment_method_id": "pm_6TgByHnUjMkIlOp",
        "previous_billing_date": "2026-11-12T08:31:07.204418Z",
        "product_id": "pdt_team",
        "quantity": 1,
        "recurring_pre_tax_amount": 24900,
        "scheduled_change": None,
        "status": "active",
        "subscription_id": subscription_id,
        "subscription_period_count": 20,
        "subscription_period_interval": "Year",
        "tax_id": "PT509999999",
        "tax_inclusive": False,
        "trial_amount": None,
        "trial_period_days": 0,
    }


def event(subscription_id: str, seats: int) -> bytes:
    """The body of a webhook about the subscription."""
    return orjson.dumps(
        {
            "business_id": "bus_3EdC4RfV5TgB6YhN7UjM8",
            "type": "subscription.updated",
            "timestamp": "2026-11-22T03:00:00.500000Z",
            "data": subscription(subscription_id, seats),
        }
    )


def delivery(event_id: str, body: bytes) -> bytes:
    """The complete HTTP request that delivers the body, signed with the current time."""
    now = datetime.now(UTC)
    return post(
        "/webhooks/dodo",
        body,
        ("webhook-id", event_id),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", _SIGNER.sign(event_id, now, body.decode())),
    )


def claim(account_id: str, member_id: str) -> bytes:
    """The complete HTTP request that claims a seat."""
    body = orjson.dumps({"member_id": member_id, "role": "member"})
    return post(f"/v1/accounts/{account_id}/claims", body, ("Authorization", f"Bearer {API_KEY}"))


def post(path: str, body: bytes, *headers: tuple[str, str]) -> bytes:
    all_headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers]
    return _head("POST", path, all_headers) + body


def get(path: str) -> bytes:
    """A complete HTTP GET request with the API key."""
    return _head("GET", path, [("Authorization", f"Bearer {API_KEY}")])


def _head(method: str, path: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {text}" for name, text in headers)]
    return "\r\n".join([*lines, "", ""]).encode()
