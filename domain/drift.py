"""Drift: where the provider's picture of a subscription and ours differ, and why that is likely so."""

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

# What a list item tells. It has no add-ons: a free one that changes moves none of these, so equality
# here is no proof, and every subscription is retrieved now and then all the same.
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
# What decides how many seats a subscription gives.
_SEATS: Final = ("status", "product_id", "quantity", "addons")

# What only a person changes, with or without the application's help; the others also move by themselves.
_BY_HAND: Final = {
    "product_id",
    "quantity",
    "addons",
    "recurring_pre_tax_amount",
    "cancel_at_next_billing_date",
    "scheduled_change",
}


class LikelyCause(StrEnum):
    """Why the two sides came to differ, as far as that can be told from here."""

    LOST_WEBHOOK = "lost_webhook"
    LATE_WEBHOOK = "late_webhook"
    PORTAL_CHANGE = "portal_change"
    CATALOGUE_CHANGE = "catalogue_change"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field, in words for people: `ours` is what we know, `theirs` what the provider shows."""

    field: str
    ours: str
    theirs: str


def differences(
    ours: SubscriptionSnapshot, theirs: SubscriptionSnapshot, fields: Iterable[str] = RETRIEVED
) -> tuple[Difference, ...]:
    """The fields by which the two are not the same; `LISTED` where `theirs` comes from a list.

    What `theirs` leaves unstated is unknown, and no difference.
    """
    return tuple(
        Difference(field, in_words(getattr(ours, field)), in_words(getattr(theirs, field)))
        for field in fields
        if field not in theirs.unstated and _plain(getattr(ours, field)) != _plain(getattr(theirs, field))
    )


def contradicts(body: SubscriptionSnapshot, retrieved: SubscriptionSnapshot) -> bool:
    """Whether a webhook's body and a retrieve disagree on the seats; what the body lacks says nothing."""
    told = [field for field in _SEATS if getattr(body, field) is not None]
    return bool(differences(body, retrieved, told))


def fingerprint(snapshot: SubscriptionSnapshot) -> str:
    """All that a list tells of a subscription in 32 characters: another one means that something differs."""
    return blake2b(repr(_listed(snapshot)).encode(), digest_size=16).hexdigest()


def likely_cause(moved: Sequence[Difference], *, deliveries_arrive: bool) -> LikelyCause:
    """Why nobody told us. `deliveries_arrive`: about any subscription, since this one was last looked at.

    Where none arrive at all, this one is no exception. Where they do, a change that only a person makes was
    likely made in the customer portal or the dashboard.
    """
    if deliveries_arrive and moved and all(one.field in _BY_HAND for one in moved):
        return LikelyCause.PORTAL_CHANGE
    return LikelyCause.LOST_WEBHOOK


def _plain(value: object) -> object:
    """The order of add-ons means nothing."""
    return sorted(map(in_words, value)) if isinstance(value, tuple) else value


def in_words(value: object) -> str:
    """The value in words; the same words mean the same value."""
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
