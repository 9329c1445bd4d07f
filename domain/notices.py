"""Notices: what the app is told of an account, once per crossing and not while the state lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, overload

from domain.seat_limit import SeatLimit, add, available, from_json, overage, to_json

Facts = Mapping[str, Any]

_GRACE_WARNING: Final = timedelta(days=3)


class NoticeType(StrEnum):
    """What can be told; the value is the `type` of the message."""

    COUNT_CHANGED = "seat.count_changed"
    LIMIT_REACHED = "seat.limit_reached"
    OVERAGE_STARTED = "seat.overage_started"
    GRACE_STARTED = "seat.grace_started"
    GRACE_ENDING = "seat.grace_ending"
    BLOCKED = "seat.blocked"
    SUSPENDED = "seat.suspended"
    RESTORED = "seat.restored"
    CLAIM_GRANTED = "seat.claim_granted"
    CLAIM_REFUSED = "seat.claim_refused"
    CHANGE_FAILED = "seat.change_failed"
    PURCHASES_STOPPED = "seat.purchases_stopped"
    CONTRACT_ENDING = "contract.ending"
    SUBSCRIPTION_MISSING = "subscription.missing"
    DRIFT_FOUND = "drift.found"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. `data` holds figures of the account, never personal data.

    `once` names the occasion: of the same type, account and seat type only one is ever sent for it.
    """

    type: NoticeType
    data: Mapping[str, object] = field(default_factory=dict)
    once: str | None = None


def crossings(before: Facts | None, after: Facts) -> tuple[Notice, ...]:
    """What became true between two balances: seat type by seat type, then the account as a whole.

    Nothing is said of a new account (`before` is None): there was no state to leave.
    """
    if before is None:
        return ()
    return (*_of_types(before, after), *_of_account(before, after))


@dataclass(frozen=True, slots=True)
class _Type:
    """One seat type in one balance."""

    name: str
    purchased: SeatLimit
    used: int
    deadline: str | None
    suspends_at: str | None
    warned: int
    waiting: int

    @classmethod
    def of(cls, facts: Facts, name: str) -> _Type:
        """A type that a balance does not name has no seats there."""
        kept = facts["seats"].get(name, {})
        parts = (from_json(kept.get(source, 0)) for source in ("included", "addon", "contract"))
        purchased: SeatLimit = 0
        for part in parts:
            purchased = add(purchased, part)
        used = int(kept.get("active", 0)) + int(kept.get("held", 0))
        warned, waiting = int(kept.get("warned", 0)), int(kept.get("waiting", 0))
        deadline = kept.get("deadline")
        suspends_at = kept.get("suspends_at", deadline) if warned else None
        return cls(name, purchased, used, deadline, suspends_at, warned, waiting)

    @property
    def available(self) -> SeatLimit:
        return available(self.purchased, self.used)

    @property
    def overage(self) -> int:
        return overage(self.purchased, self.used)

    @property
    def is_over(self) -> bool:
        """Claims that wait for a purchase cross no line."""
        return self.overage > self.waiting

    @property
    def is_full(self) -> bool:
        return available(self.purchased, self.used - self.waiting) == 0

    def figures(self, **more: object) -> Mapping[str, object]:
        return {
            "seat_type": self.name,
            "purchased": to_json(self.purchased),
            "used": self.used,
            "available": to_json(self.available),
            "overage": self.overage,
            **more,
        }


def _of_types(before: Facts, after: Facts) -> Iterator[Notice]:
    for name in sorted({*before["seats"], *after["seats"]}):
        yield from _of_type(_Type.of(before, name), _Type.of(after, name))


def _of_type(was: _Type, now: _Type) -> Iterator[Notice]:
    if now.purchased != was.purchased:
        yield Notice(NoticeType.COUNT_CHANGED, now.figures(purchased_before=to_json(was.purchased)))
    if now.is_over and not was.is_over:
        yield Notice(NoticeType.OVERAGE_STARTED, now.figures())
    elif now.is_full and not was.is_full:
        yield Notice(NoticeType.LIMIT_REACHED, now.figures())
    is_given_time = now.deadline is not None and now.deadline != was.deadline
    if is_given_time or (now.suspends_at is not None and now.suspends_at != was.suspends_at):
        told = now.figures(reason="over_limit", deadline=now.deadline, to_be_suspended=now.warned)
        yield Notice(NoticeType.GRACE_STARTED, {**told, "suspends_at": now.suspends_at})


_COUNTS: Final = {"ok", "over_limit", "grace"}
_GONE: Final = {"suspended", "ended"}
_LIMITED: Final = {"over_limit", "grace", "blocked"}
_BECAME: Final = {"blocked": NoticeType.BLOCKED, "suspended": NoticeType.SUSPENDED}


def _of_account(before: Facts, after: Facts) -> Iterator[Notice]:
    was, now = before["status"], after["status"]
    data = {"status": now, "status_before": was}
    if after.get("deadline") is not None and before.get("deadline") is None:
        yield Notice(
            NoticeType.GRACE_STARTED, {**data, "reason": "payment_late", "deadline": after["deadline"]}
        )
    if now != was and now in _BECAME:
        yield Notice(_BECAME[now], data)
    if (was in _LIMITED and now == "ok") or (was in _GONE and now in _COUNTS):
        yield Notice(NoticeType.RESTORED, data)


@overload
def ending_at(deadline: datetime, grace: timedelta) -> datetime: ...


@overload
def ending_at(deadline: None, grace: timedelta) -> None: ...


def ending_at(deadline: datetime | None, grace: timedelta) -> datetime | None:
    """When to warn that a grace period ends: three days before, or in the last quarter of a short one."""
    return None if deadline is None else deadline - min(_GRACE_WARNING, grace / 4)
