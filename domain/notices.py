"""Notices to the app: one for each change of an account's state, not repeated while the state lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, overload

from domain.balance import EMPTY, Balance, balances_from_json
from domain.seat_limit import to_json

Facts = Mapping[str, Any]

_GRACE_WARNING: Final = timedelta(days=3)


class NoticeType(StrEnum):
    """The types of notices; the value is the `type` of the message."""

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
    CHANGE_APPLIED = "seat_change.applied"
    CHANGE_SCHEDULED = "seat_change.scheduled"
    CHANGE_FAILED = "seat_change.failed"
    CHANGE_CANCELLED = "seat_change.cancelled"
    CANCELLATION_SCHEDULED = "cancellation.scheduled"
    CANCELLATION_APPLIED = "cancellation.applied"
    CANCELLATION_UNDONE = "cancellation.undone"
    CANCELLATION_FAILED = "cancellation.failed"
    CANCELLATION_UNDO_FAILED = "cancellation.undo_failed"
    PURCHASES_STOPPED = "seat.purchases_stopped"
    CONTRACT_ENDING = "contract.ending"
    SUBSCRIPTION_MISSING = "subscription.missing"
    DRIFT_FOUND = "drift.found"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. `data` holds figures of the account, never personal data.

    With `once`, only one notice with that value is sent per type, account and seat type.
    """

    type: NoticeType
    data: Mapping[str, object] = field(default_factory=dict)
    once: str | None = None


def crossings(before: Facts | None, after: Facts) -> tuple[Notice, ...]:
    """The notices for what changed between two states of an account: those of each seat type, then those of
    the whole account. None for a new account (`before` is None).
    """
    if before is None:
        return ()
    return (*_of_types(before, after), *_of_account(before, after))


def _of_types(before: Facts, after: Facts) -> Iterator[Notice]:
    # A seat type that is missing on one side has no seats there.
    balances, balances_now = balances_from_json(before["seats"]), balances_from_json(after["seats"])
    for seat_type in sorted({*balances, *balances_now}):
        yield from _of_type(seat_type, balances.get(seat_type, EMPTY), balances_now.get(seat_type, EMPTY))


def _of_type(seat_type: str, was: Balance, now: Balance) -> Iterator[Notice]:
    facts = {"seat_type": seat_type, **now.figures()}
    if now.purchased != was.purchased:
        yield Notice(NoticeType.COUNT_CHANGED, {**facts, "purchased_before": to_json(was.purchased)})
    if now.is_over and not was.is_over:
        yield Notice(NoticeType.OVERAGE_STARTED, facts)
    elif now.is_full and not was.is_full:
        yield Notice(NoticeType.LIMIT_REACHED, facts)
    times = {"deadline": now.clock.deadline, "suspends_at": now.clock.suspends_at}
    times_before = {"deadline": was.clock.deadline, "suspends_at": was.clock.suspends_at}
    if any(time is not None and time != times_before[name] for name, time in times.items()):
        why = {"reason": "over_limit", "to_be_suspended": now.clock.warned}
        shown = {name: _iso(time) for name, time in times.items()}
        yield Notice(NoticeType.GRACE_STARTED, {**facts, **why, **shown})


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


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
