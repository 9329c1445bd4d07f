"""Endings: what the preview of a cancellation depends on, and the sentence that a customer reads first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.billing_terms import When
from domain.purchase.steps import scheduled_cart
from domain.seat_limit import SeatLimit
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from domain.times import day_words
from domain.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeAfter:
    """One seat type after the end: purchased seats before and after, the used ones, and how many of these are
    over the limit then.

    From `claims_refused_from` no further seat can be claimed; None if claims are still granted. At
    `suspended_at` the members over the limit are suspended; None if they keep their seats.
    """

    before: SeatLimit
    after: SeatLimit
    used: int
    over: int
    claims_refused_from: datetime | None
    suspended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of a subscription as a caller is shown it: when, and what it means for the account's seats.

    `remaining` names what still gives seats then, `unused_days` counts the days that are paid for and given
    up; None if it is not known until when the subscription is paid.
    """

    product: str
    when: When
    ends_at: datetime
    types: Mapping[str, TypeAfter]
    remaining: Sequence[str]
    unused_days: int | None
    drops_scheduled_change: bool


def ending_basis(snapshot: SubscriptionSnapshot) -> str:
    """A hash of the facts that the preview of a cancellation depends on. If it differs, the preview is out of
    date. Unlike that of a seat change, it can be made without the add-ons.
    """
    facts = (
        (snapshot.product_id, snapshot.quantity, snapshot.addons),
        snapshot.status,
        (snapshot.recurring_pre_tax_amount, snapshot.currency),
        scheduled_cart(snapshot),
        snapshot.cancel_at_next_billing_date,
        snapshot.next_billing_date and snapshot.next_billing_date.isoformat(),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def unused_days(snapshot: SubscriptionSnapshot, when: When, now: datetime) -> int | None:
    """The whole days that are paid for and given up; None if that is not known, or the subscription is not
    active.
    """
    if when is When.AT_RENEWAL:
        return 0
    paid_until = snapshot.next_billing_date if snapshot.status == SubscriptionStatus.ACTIVE else None
    return None if paid_until is None else max((paid_until - now).days, 0)


def ending_sentence(ending: Ending) -> str:
    """The sentence about the end, the seats that go and stay, the members concerned, and the money."""
    return " ".join(
        part
        for part in (
            _end(ending),
            *(_seats(name, one) for name, one in ending.types.items() if one.before != one.after),
            *(_members(name, one) for name, one in ending.types.items() if one.over),
            _remaining(ending),
            _money(ending),
        )
        if part
    )


def _end(ending: Ending) -> str:
    if ending.when is When.NOW:
        return f"{ending.product} ends now."
    dropped = " A seat change that is scheduled for that day is not made." * ending.drops_scheduled_change
    return f"{ending.product} ends on {day_words(ending.ends_at)}; until then nothing changes.{dropped}"


def _seats(name: str, one: TypeAfter) -> str:
    return f"The account then has {one.after} {name} seats instead of {one.before}."


def _members(name: str, one: TypeAfter) -> str:
    members = (
        f"{counted(one.over, 'member')} {'is' if one.over == 1 else 'are'} over the limit of {name} seats"
    )
    if one.suspended_at is not None:
        return f"{members}: without more seats they are suspended on {day_words(one.suspended_at)}."
    if one.claims_refused_from is not None:
        refused = day_words(one.claims_refused_from)
        return f"{members}: they stay, but nobody can claim such a seat from {refused} on."
    return f"{members}: they stay."


def _remaining(ending: Ending) -> str:
    return f"Seats remain from {', '.join(ending.remaining)}." if ending.remaining else ""


def _money(ending: Ending) -> str:
    if ending.when is When.AT_RENEWAL:
        return "Nothing is charged from then on, and nothing is refunded or credited."
    if not ending.unused_days:
        return "Nothing is refunded or credited."
    return f"Nothing is refunded or credited for the {counted(ending.unused_days, 'day')} that are paid for."
