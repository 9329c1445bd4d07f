"""Statuses: whether a subscription's seats count under its status, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.snapshot import SubscriptionStatus


class StatusEffect(StrEnum):
    """The effect that the catalogue's `[status]` table gives a status."""

    COUNTS = "counts"
    """The seats count, without a deadline."""

    COUNTS_UNTIL_DEADLINE = "counts_until_deadline"
    """The seats count until the provider's deadline, or for `payment_grace_days` when it gave none."""

    COUNTS_FOR_GRACE = "counts_for_grace"
    """The seats count for `payment_grace_days` after the subscription was first seen unpaid."""

    SUSPENDED = "suspended"
    """Figures and assignments stay, and new claims are refused. The subscription may come back."""

    PENDING = "pending"
    """The subscription has not begun: its seats do not count yet."""

    ENDED = "ended"
    """The subscription is over, and its seats are gone."""


UNPAID: Final = frozenset({StatusEffect.COUNTS_UNTIL_DEADLINE, StatusEffect.COUNTS_FOR_GRACE})
"""The effects of late payments. Consecutive statuses with these effects share one grace period."""

DEFAULT_EFFECTS: Final[Mapping[str, StatusEffect]] = {
    SubscriptionStatus.ACTIVE.value: StatusEffect.COUNTS,
    SubscriptionStatus.PAST_DUE.value: StatusEffect.COUNTS_UNTIL_DEADLINE,
    SubscriptionStatus.ON_HOLD.value: StatusEffect.COUNTS_FOR_GRACE,
    SubscriptionStatus.PAUSED.value: StatusEffect.SUSPENDED,
    SubscriptionStatus.PENDING.value: StatusEffect.PENDING,
    SubscriptionStatus.CANCELLED.value: StatusEffect.ENDED,
    SubscriptionStatus.FAILED.value: StatusEffect.ENDED,
    SubscriptionStatus.EXPIRED.value: StatusEffect.ENDED,
}


class Phase(StrEnum):
    """The phase of one subscription at one moment."""

    NOT_YET = "not_yet"
    COUNTS = "counts"
    GRACE = "grace"
    SUSPENDED = "suspended"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SubscriptionStanding:
    """A subscription's phase; `until` is the deadline of the grace phase, and None in every other."""

    phase: Phase
    until: datetime | None = None

    @property
    def counts(self) -> bool:
        """True if its seats are among those the account may use now."""
        return self.phase in (Phase.COUNTS, Phase.GRACE)


class Standing(StrEnum):
    """An account's standing by its subscriptions and contracts, whatever seats are used."""

    OK = "ok"
    """All its seats count, without a deadline."""

    GRACE = "grace"
    """At least one subscription counts only until a deadline."""

    SUSPENDED = "suspended"
    """No seats count, but a suspended subscription may come back: its figures are shown."""

    ENDED = "ended"
    """All its subscriptions and contracts are over, and there are no free seats."""


_PHASE_WITHOUT_DEADLINE: Final[Mapping[StatusEffect, Phase]] = {
    StatusEffect.COUNTS: Phase.COUNTS,
    StatusEffect.SUSPENDED: Phase.SUSPENDED,
    StatusEffect.PENDING: Phase.NOT_YET,
    StatusEffect.ENDED: Phase.ENDED,
}


def standing_of(
    effect: StatusEffect,
    *,
    since: datetime,
    now: datetime,
    payment_grace: timedelta,
    provider_deadline: datetime | None = None,
) -> SubscriptionStanding:
    """Whether the subscription's seats count at `now`, and until when.

    `since` is when its present status was first seen; for consecutive unpaid statuses, the first of them. At
    its deadline the seats no longer count. For a status without an effect, keep the last standing.
    """
    if effect in _PHASE_WITHOUT_DEADLINE:
        return SubscriptionStanding(_PHASE_WITHOUT_DEADLINE[effect])
    deadline = since + payment_grace
    if effect is StatusEffect.COUNTS_UNTIL_DEADLINE and provider_deadline is not None:
        deadline = provider_deadline
    if now < deadline:
        return SubscriptionStanding(Phase.GRACE, deadline)
    return SubscriptionStanding(Phase.SUSPENDED)
