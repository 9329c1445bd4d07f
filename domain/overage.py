"""The clock of an overage: since when a seat type is over its limit, and the deadlines that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from domain import policies
from domain.seat_rules import SeatRules


@dataclass(frozen=True, slots=True)
class OverageClock:
    """The clock of one overage of one seat type. It continues if the rules change during the overage.

    `since` is the first moment over the limit. `deadline` is when new claims are refused; None under a policy
    without one. A deadline is set once: while the policy has none, it is stored as `shelved`, and it returns
    unchanged. `warned` is the number of members that the app was notified will be suspended at `suspends_at`,
    which may be later than the deadline.
    """

    since: datetime | None = None
    deadline: datetime | None = None
    shelved: datetime | None = None
    warned: int = 0
    suspends_at: datetime | None = None

    @property
    def known_deadline(self) -> datetime | None:
        """The deadline of this overage, whether it applies now or is shelved; None if it never had one."""
        return self.deadline or self.shelved

    @property
    def consequences(self) -> tuple[datetime, ...]:
        """The times at which claims are refused and members suspended, the earliest first."""
        return tuple(sorted({moment for moment in (self.deadline, self.suspends_at) if moment is not None}))

    def running(self, rules: SeatRules, overage: int, now: datetime) -> OverageClock:
        """The clock while the type is `overage` seats above its limit, under these rules."""
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
        """The clock after a warning: all members over the limit get a full grace period from now."""
        full = now + rules.grace
        return replace(self, warned=overage, suspends_at=max(self.deadline or full, full))

    def stopped(self, *, is_confirmed: bool) -> OverageClock:
        """The clock once the overage is over. If only unverified figures ended it (`is_confirmed` is false),
        its start and deadline are remembered in case it returns.
        """
        return NO_OVERAGE if is_confirmed else OverageClock(self.since, shelved=self.known_deadline)

    def restarted(self) -> OverageClock:
        """The clock after the app changed the rules: an overage without a deadline counts from now on."""
        return self if self.known_deadline else replace(self, since=None)


NO_OVERAGE: Final = OverageClock()
