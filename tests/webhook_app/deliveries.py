"""Deliveries as the provider sends them, signed or nearly so."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import SECRET

OTHER_SECRET = "whsec_" + b64encode(b"another secret of thirty-two byte").decode()

ADDRESS = "/webhooks/dodo"


def envelope(event_type: str = "subscription.updated", **changes: Any) -> dict[str, Any]:
    return {
        "business_id": "bus_ours",
        "type": event_type,
        "timestamp": "2026-11-22T12:00:00.123456Z",
        "data": {"payload_type": "Subscription", "subscription_id": "sub_1"},
        **changes,
    }


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def signature(body: bytes, event_id: str, timestamp: str, secret: str = SECRET) -> str:
    key = b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, b".".join((event_id.encode(), timestamp.encode(), body)), "sha256")
    return "v1," + b64encode(mac).decode()


def signed(
    body: bytes, event_id: str = "msg_1", *, secret: str = SECRET, age: timedelta = timedelta()
) -> dict[str, str]:
    """The headers that make a delivery of these bytes authentic."""
    timestamp = str(int((datetime.now(UTC) - age).timestamp()))
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(body, event_id, timestamp, secret),
    }


def deliver(
    client: FlaskClient,
    body: Any = None,
    event_id: str = "msg_1",
    *,
    headers: Mapping[str, str] | None = None,
    **signing: Any,
) -> TestResponse:
    """Post the body signed, by default an event of `sub_1`; `headers` go on top."""
    raw = encoded(envelope() if body is None else body)
    sent = {**signed(raw, event_id, **signing), "Content-Type": "application/json", **(headers or {})}
    return client.post(ADDRESS, data=raw, headers=sent)
