"""What a subscription's status does to its seats, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.snapshot import SubscriptionStatus


class StatusEffect(StrEnum):
    """What the catalogue's `[status]` table says of a status."""

    COUNTS = "counts"
    """The seats count in full, with no end in sight."""

    COUNTS_UNTIL_DEADLINE = "counts_until_deadline"
    """The seats count until the provider's deadline, or for `payment_grace_days` when it gave none."""

    COUNTS_FOR_GRACE = "counts_for_grace"
    """The seats count for `payment_grace_days` from the first day unpaid."""

    SUSPENDED = "suspended"
    """Figures and assignments stay, new claims are refused; recoverable."""

    PENDING = "pending"
    """Not begun: nothing counts yet, and nothing is lost."""

    ENDED = "ended"
    """Over for good: the seats are gone."""


UNPAID: Final = frozenset({StatusEffect.COUNTS_UNTIL_DEADLINE, StatusEffect.COUNTS_FOR_GRACE})
"""A payment is late. Statuses with these effects that follow each other are one period, with one clock."""

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
    """Where one subscription stands at one moment."""

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
        """Whether its seats are part of what the account may use now."""
        return self.phase in (Phase.COUNTS, Phase.GRACE)


class Standing(StrEnum):
    """Where an account stands by its subscriptions and contracts; its use is not looked at."""

    OK = "ok"
    """Every seat shown counts, with no end in sight."""

    GRACE = "grace"
    """At least one subscription counts only until a deadline."""

    SUSPENDED = "suspended"
    """Nothing counts, and something that is suspended may come back: its figures are shown."""

    ENDED = "ended"
    """Subscriptions or contracts there were are all over, and no free seats take their place."""


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
    """Whether the subscription counts at `now`, and until when.

    `since` is when its present status was first seen, of unpaid ones the first. A deadline is the first
    moment that no longer counts. A status without an effect (`Catalog.effect` answered None) has no
    standing: keep the last.
    """
    if effect in _PHASE_WITHOUT_DEADLINE:
        return SubscriptionStanding(_PHASE_WITHOUT_DEADLINE[effect])
    deadline = since + payment_grace
    if effect is StatusEffect.COUNTS_UNTIL_DEADLINE and provider_deadline is not None:
        deadline = provider_deadline
    if now < deadline:
        return SubscriptionStanding(Phase.GRACE, deadline)
    return SubscriptionStanding(Phase.SUSPENDED)
