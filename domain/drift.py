"""Drift: differences between a subscription at the provider and our copy of it, and their likely cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from operator import attrgetter
from typing import Final

from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot
from domain.times import iso_time

# The fields of a list item. Add-ons are missing, and a change of a free add-on changes none of these fields.
# So equal list items do not prove that nothing changed, and every subscription is retrieved regularly.
LISTED: Final = (
    "status",
    "product_id",
    "quantity",
    "recurring_pre_tax_amount",
    "next_billing_date",
    "cancel_at_next_billing_date",
    "scheduled_change",
)
RETRIEVED: Final = (*LISTED, "addons")
_listed: Final = attrgetter(*LISTED)
# The fields that decide how many seats a subscription gives.
_SEATS: Final = ("status", "product_id", "quantity", "addons")

# Fields that change only by a person's action; the others also change by themselves.
_BY_HAND: Final = {
    "product_id",
    "quantity",
    "addons",
    "recurring_pre_tax_amount",
    "cancel_at_next_billing_date",
    "scheduled_change",
}


class LikelyCause(StrEnum):
    """The likely reason of a difference."""

    LOST_WEBHOOK = "lost_webhook"
    LATE_WEBHOOK = "late_webhook"
    PORTAL_CHANGE = "portal_change"
    CATALOGUE_CHANGE = "catalogue_change"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs, with both values in words: `ours` here, `theirs` at the provider."""

    field: str
    ours: str
    theirs: str


def differences(
    ours: SubscriptionSnapshot, theirs: SubscriptionSnapshot, fields: Iterable[str] = RETRIEVED
) -> tuple[Difference, ...]:
    """The fields in which the two snapshots differ. Pass `LISTED` if `theirs` comes from a list.

    Fields that `theirs` leaves unstated are unknown and do not count as different.
    """
    return tuple(
        Difference(field, in_words(getattr(ours, field)), in_words(getattr(theirs, field)))
        for field in fields
        if field not in theirs.unstated and _plain(getattr(ours, field)) != _plain(getattr(theirs, field))
    )


def contradicts(body: SubscriptionSnapshot, retrieved: SubscriptionSnapshot) -> bool:
    """True if a webhook body and a retrieve differ in a field about seats that the body has."""
    stated = [field for field in _SEATS if getattr(body, field) is not None]
    return bool(differences(body, retrieved, stated))


def fingerprint(snapshot: SubscriptionSnapshot) -> str:
    """A hash of the listed fields of a retrieved subscription, 32 characters long.

    List items have fingerprints of another kind. So the next pass over the list compares the values, and then
    stores the list item's fingerprint in place of this one.
    """
    return blake2b(repr(_listed(snapshot)).encode(), digest_size=16).hexdigest()


def likely_cause(moved: Sequence[Difference], *, deliveries_arrive: bool) -> LikelyCause:
    """Why no webhook announced the change. `deliveries_arrive`: whether any delivery, about any subscription,
    arrived since this one was last synced.

    If none arrived, webhooks are lost in general. If others arrived, a change that only a person can make was
    probably made in the customer portal or the dashboard.
    """
    if deliveries_arrive and moved and all(one.field in _BY_HAND for one in moved):
        return LikelyCause.PORTAL_CHANGE
    return LikelyCause.LOST_WEBHOOK


def _plain(value: object) -> object:
    """The value for comparison: the order of add-ons does not matter."""
    return sorted(map(in_words, value)) if isinstance(value, tuple) else value


def in_words(value: object) -> str:
    """The value in words. Different values give different words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return iso_time(value)
    if isinstance(value, AddonQuantity):
        return f"{value.quantity} x {value.addon_id}"
    if isinstance(value, tuple):
        return ", ".join(sorted(map(in_words, value))) or "no add-ons"
    if isinstance(value, ScheduledChange):
        return _scheduled(value)
    return "none" if value is None else str(value)


def _scheduled(change: ScheduledChange) -> str:
    when = "some time" if change.effective_at is None else in_words(change.effective_at)
    cart = f"{change.quantity} x {change.product_id}, {in_words(change.addons)}"
    return f"{cart}, at {when} ({change.change_id})"
