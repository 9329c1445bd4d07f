"""Drift: where a provider's list and our picture of a subscription differ."""

from __future__ import annotations

from typing import Final

from seats.snapshot import SubscriptionSnapshot

# What a list item tells. It has no add-ons: a free one that changes moves none of these, so equality
# here is no proof, and every subscription is retrieved now and then all the same.
_COMPARED: Final = (
    "status",
    "product_id",
    "quantity",
    "recurring_pre_tax_amount",
    "next_billing_date",
    "cancel_at_next_billing_date",
    "scheduled_change",
)


def differing_fields(ours: SubscriptionSnapshot, listed: SubscriptionSnapshot) -> tuple[str, ...]:
    """The fields by which the listed subscription is not the one we know."""
    return tuple(field for field in _COMPARED if getattr(ours, field) != getattr(listed, field))
