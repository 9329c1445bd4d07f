"""The clock of an overage: since when a seat type is over its limit, and what happens by when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from domain import policies
from domain.seat_rules import SeatRules


@dataclass(frozen=True, slots=True)
class OverageClock:
    """One overage of one seat type. It belongs to the overage, whatever rules come and go while it lasts.

    `since` is the first moment over the limit. `deadline` is when new claims are refused; None under a policy
    without one. It is set once: a deadline that is out of force is kept as `shelved`, and comes back as it
    was. `warned` members are suspended at `suspends_at`: so many were beyond the limit when the app was last
    notified of that time, which may be later than the deadline.
    """

    since: datetime | None = None
    deadline: datetime | None = None
    shelved: datetime | None = None
    warned: int = 0
    suspends_at: datetime | None = None

    @property
    def known_deadline(self) -> datetime | None:
        """The deadline of this overage, in force or not; None if it was never given one."""
        return self.deadline or self.shelved

    @property
    def consequences(self) -> tuple[datetime, ...]:
        """When claims are refused and members suspended, the earliest first."""
        return tuple(sorted({moment for moment in (self.deadline, self.suspends_at) if moment is not None}))

    def running(self, rules: SeatRules, overage: int, now: datetime) -> OverageClock:
        """The clock while `overage` seats are too many, under the rules of the seat type."""
        since = self.since or now
        if not policies.load(rules.policy).HAS_DEADLINE:
            return OverageClock(since, shelved=self.known_deadline)
        clock = OverageClock(since, self.known_deadline or since + rules.grace)
        if not rules.suspend_after_grace:
            return clock
        if not self.warned:
            return clock.warning(rules, overage, now)
        return replace(clock, warned=min(self.warned, overage), suspends_at=self.suspends_at)

    def warning(self, rules: SeatRules, overage: int, now: datetime) -> OverageClock:
        """All who are beyond the limit now get a whole grace period before they are suspended."""
        whole = now + rules.grace
        return replace(self, warned=overage, suspends_at=max(self.deadline or whole, whole))

    def stopped(self, *, is_confirmed: bool) -> OverageClock:
        """The clock while nothing is over the limit. It starts anew with the next overage, unless only
        figures that the provider has not confirmed ended this one.
        """
        return NO_OVERAGE if is_confirmed else OverageClock(self.since, shelved=self.known_deadline)

    def restarted(self) -> OverageClock:
        """The overage counts from now on, unless it was given a deadline before: the app has decided anew."""
        return self if self.known_deadline else replace(self, since=None)


NO_OVERAGE: Final = OverageClock()
