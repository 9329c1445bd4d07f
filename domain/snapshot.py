"""Snapshots: the state of a subscription at the provider, without personal data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

Metadata = Mapping[str, str | int | float | bool]


class SubscriptionStatus(StrEnum):
    """The statuses the provider documents. A snapshot may carry one that is not among them."""

    PENDING = "pending"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    ON_HOLD = "on_hold"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class AddonQuantity:
    """Units of one add-on in the cart. The catalogue says how many seats a unit gives."""

    addon_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class ScheduledChange:
    """A plan change that is scheduled and not applied yet. Its seats are not counted."""

    change_id: str
    product_id: str
    quantity: int
    addons: tuple[AddonQuantity, ...]
    effective_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSnapshot:
    """One subscription as the provider showed it.

    `status` is the provider's word, known or not. `addons` is None where the provider did not say
    (list items never do): that means unknown, never zero; the empty tuple means none. `unstated` names
    further fields that the provider left out or sent malformed: their values here mean nothing.
    """

    subscription_id: str
    status: str
    product_id: str
    quantity: int
    addons: tuple[AddonQuantity, ...] | None
    cancel_at_next_billing_date: bool = False
    next_billing_date: datetime | None = None
    previous_billing_date: datetime | None = None
    past_due_ends_at: datetime | None = None
    recurring_pre_tax_amount: int | None = None
    currency: str | None = None
    customer_id: str | None = None
    metadata: Metadata | None = None
    scheduled_change: ScheduledChange | None = None
    created_at: datetime | None = None
    billing_interval: str | None = None
    """The provider's word: Day, Week, Month, Year; `billing_count` of them are one period."""
    billing_count: int | None = None
    unstated: tuple[str, ...] = ()
