"""The JSON bodies of a subscription: in a retrieve, in a list, and in a webhook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter

from simulator.billing.catalog import Product
from simulator.billing.subscription import Subscription

Body = dict[str, object]

OWN = frozenset({"pending_change", "prevents_scheduled_change", "verbatim", "absent"})
ONLY_ON_WEBHOOKS = frozenset({"past_due_ends_at"})
NOT_IN_LISTS = ONLY_ON_WEBHOOKS | {
    "addons",
    "brand_id",
    "cancellation_comment",
    "cancellation_feedback",
    "credit_entitlement_cart",
    "custom_field_responses",
    "expires_at",
    "meter_credit_entitlement_cart",
    "meters",
}
WEBHOOK = tuple(field.name for field in fields(Subscription) if field.name not in OWN)
FULL = tuple(name for name in WEBHOOK if name not in ONLY_ON_WEBHOOKS)
ITEM = tuple(name for name in FULL if name not in NOT_IN_LISTS)
IN_WEBHOOK, IN_FULL, IN_ITEM = (attrgetter(*names) for names in (WEBHOOK, FULL, ITEM))


def full(subscription: Subscription) -> Body:
    """The body of a retrieve."""
    body: Body = dict(zip(FULL, IN_FULL(subscription), strict=True))
    return _retouched(body, subscription, ONLY_ON_WEBHOOKS)


def item(subscription: Subscription, product: Product | None) -> Body:
    """The list item, which has the product's name and short discounts, but no add-ons."""
    body: Body = dict(zip(ITEM, IN_ITEM(subscription), strict=True))
    body["product_name"] = product.name if product else None
    body["discounts"] = [_short(discount) for discount in subscription.discounts or ()]
    return _retouched(body, subscription, NOT_IN_LISTS)


def webhook_data(subscription: Subscription, payment_id: str | None) -> Body:
    """The `data` of every `subscription.*` event."""
    body: Body = dict(zip(WEBHOOK, IN_WEBHOOK(subscription), strict=True))
    body["payment_id"] = payment_id
    body["payload_type"] = "Subscription"
    return _retouched(body, subscription, frozenset())


def own(subscription: Subscription) -> Body:
    """The body in the control API: all fields, including the simulator's own."""
    return {field.name: getattr(subscription, field.name) for field in fields(Subscription)}


def _retouched(body: Body, subscription: Subscription, hidden: frozenset[str]) -> Body:
    """The body with the `verbatim` fields, except hidden ones, and without the `absent` fields."""
    for name, value in subscription.verbatim.items():
        if name not in hidden:
            body[name] = value
    for name in subscription.absent:
        body.pop(name, None)
    return body


def _short(discount: Mapping[str, object]) -> Body:
    return {
        "discount_id": discount.get("discount_id"),
        "discount_cycles_remaining": discount.get("cycles_remaining"),
    }
