"""Values for tests, with defaults for the fields that most tests do not care about."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from domain.catalog.model import Catalog
from domain.catalog.reader import parse
from domain.snapshot import AddonQuantity, SubscriptionSnapshot
from models.audit import Cause
from models.inbox import Arrival, InboxState

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

CATALOG_TEXT = """
[defaults]
policy = "strict"

[roles]
admin = "full"
member = "full"
viewer = "viewer"
client = "free"

[products.pdt_team]
name = "Team"
included = { full = 5 }
addons.adn_seat = { full = 1 }
addons.adn_pack = { full = 10 }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}

[products.pdt_unlimited]
name = "Enterprise"
included = { full = "unlimited" }

[products.pdt_soft]
name = "Soft"
per_unit = { full = 1 }
policy = "soft"
"""


def a_catalog(extra: str = "") -> Catalog:
    return parse_once(CATALOG_TEXT + extra)


@cache
def parse_once(text: str) -> Catalog:
    """Catalogues do not change, and to read one takes as long as a small test."""
    return parse(text, "test catalogue")


def a_snapshot(subscription_id: str = "sub_1", *, seats: int = 0, **changes: Any) -> SubscriptionSnapshot:
    """A Team subscription with `seats` seats bought as an add-on."""
    facts: dict[str, Any] = {
        "status": "active",
        "product_id": "pdt_team",
        "quantity": 1,
        "addons": (AddonQuantity("adn_seat", seats),) if seats else (),
        "metadata": {"account_id": "acme"},
        "customer_id": "cus_1",
        "next_billing_date": datetime(2026, 12, 12, tzinfo=UTC),
    }
    return SubscriptionSnapshot(subscription_id=subscription_id, **{**facts, **changes})


def an_arrival(event_id: str = "msg_1", **changes: Any) -> Arrival:
    facts: dict[str, Any] = {
        "provider": "dodo",
        "type": "subscription.updated",
        "subscription_id": "sub_1",
        "occurred_at": NOON,
        "state": InboxState.PENDING,
        "reason": None,
        "body": event_id.encode(),
    }
    return Arrival(event_id=event_id, **{**facts, **changes})


def a_cause(**changes: Any) -> Cause:
    return Cause(**{"actor": "key:test", "source": "test", "reason": "a test", **changes})
