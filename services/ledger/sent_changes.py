"""Sent changes: recognise in a retrieved snapshot the seat changes that this service sent, and release the
members whose seats go with them.

This runs before the account's limits are evaluated. So members whose seats a reduction takes are released
first, and no overage is recorded and nobody is warned because of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.orm import Session

from domain import findings
from domain.drift import RETRIEVED
from domain.findings import Finding
from domain.purchase.plan import Plan
from domain.purchase.steps import PlanStatus, SeatStep, Steps, plan_from_json, status_of
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from models import assignment, purchase_queue, purchase_reset, seat_change
from models.assignment import Assignment
from models.audit import Cause
from models.seat_change import ChangeState, SeatChange
from services.ledger import change_notices, claims
from services.ledger.locked_account import LockedAccount


def plan_of(change: SeatChange) -> Plan:
    """The plan that was sent, or is to be sent."""
    return plan_from_json(change.plan)


def steps_of(change: SeatChange) -> Steps:
    """The account's seats before and after the change, as previewed, by seat type."""
    return {name: SeatStep.from_json(step) for name, step in change.seats.items()}


@dataclass(frozen=True, slots=True)
class OwnChanges:
    """What a snapshot shows of changes that this service sent.

    `fields` of the snapshot differ because of them, so they are no drift. `cause` names who confirmed a
    change that the snapshot shows as applied for the first time; None if there is none. `findings` are to be
    recorded as drift findings.
    """

    fields: frozenset[str] = frozenset()
    cause: Cause | None = None
    findings: tuple[Finding, ...] = ()


_SCHEDULE: Final = frozenset({"scheduled_change"})
_CANCELLED_HERE: Final = (
    "The change was cancelled here: on request, or because more members hold seats than it would leave. No "
    "member was released."
)
_CANCELLED_ELSEWHERE: Final = (
    "The change is no longer scheduled at the provider: it was cancelled there, or its payment failed. No "
    "member was released."
)
_ENDED: Final = (SubscriptionStatus.CANCELLED, SubscriptionStatus.EXPIRED)
_SUBSCRIPTION_ENDS: Final = (
    "The change is no longer scheduled, because the subscription ends or has ended. No member was released."
)


def apply_shown(
    session: Session, accounts: Sequence[LockedAccount], snapshot: SubscriptionSnapshot, cause: Cause
) -> OwnChanges:
    """Update the state of the subscription's changes from what the snapshot shows of them."""
    own = OwnChanges()
    for change in seat_change.sent_changes(session, snapshot.subscription_id):
        state_before, shown = change.state, status_of(plan_of(change), snapshot)
        if shown is PlanStatus.APPLIED:
            if state_before != ChangeState.APPLIED:
                own = OwnChanges(frozenset(RETRIEVED), _cause_of(change, cause))
                _apply(session, accounts, change, own.cause or cause)
            own = replace(own, findings=_unreleased(accounts, change))
            continue
        if shown is PlanStatus.SCHEDULED:
            _mark_scheduled(session, change, snapshot)
        elif change.state == ChangeState.SCHEDULED:
            _cancel_if_missing_twice(accounts[0], change, snapshot)
        if change.state != state_before and change.code != seat_change.NO_LONGER_SCHEDULED:
            own = replace(own, fields=own.fields | _SCHEDULE)
    return own


def _cause_of(change: SeatChange, sync: Cause) -> Cause:
    """The cause of a sync, with the actor who confirmed the change."""
    reason = f"seat change {change.id}"
    return replace(sync, actor=change.actor or sync.actor, source="seat_change", reason=reason)


def _apply(session: Session, accounts: Sequence[LockedAccount], change: SeatChange, cause: Cause) -> None:
    """Mark the change as applied, even if it was believed to have failed or been cancelled: the snapshot
    decides.

    Members are released only by a change that is still open. Otherwise the app was notified of another
    outcome, and the members have continued to work.
    """
    account = _account_of(accounts, change)
    code = None if change.state in seat_change.OPEN else seat_change.APPLIED_LATE
    message = None
    if account is None and change.release:
        message = "The subscription belongs to another account now, so no member was released."
    elif code is not None and change.release:
        message = f"The change was believed to be {change.state}, so no member was released."
    elif account is not None:
        _release(account, change, cause)
    seat_change.set_state(session, change, ChangeState.APPLIED, code=code, message=message)
    change_notices.add_notice(session, change)
    if change.is_automatic:
        purchase_queue.retry_now(session, change.account_id)
    else:
        purchase_reset.reset(session, change.account_id, f"seat change {change.id}")


def _account_of(accounts: Sequence[LockedAccount], change: SeatChange) -> LockedAccount | None:
    """The account that requested the change; None if the subscription has moved to another one."""
    return next((one for one in accounts if one.account_id == change.account_id), None)


def _unreleased(accounts: Sequence[LockedAccount], change: SeatChange) -> tuple[Finding, ...]:
    """The finding that members chosen for release still have seats, because the change was applied late."""
    account = _account_of(accounts, change)
    if account is None or change.code != seat_change.APPLIED_LATE:
        return ()
    number = len(_to_release(account, change))
    return (findings.applied_late(change.id, number),) if number else ()


def _mark_scheduled(session: Session, change: SeatChange, snapshot: SubscriptionSnapshot) -> None:
    if change.state != ChangeState.SCHEDULED:
        seat_change.set_state(session, change, ChangeState.SCHEDULED)
        scheduled = snapshot.scheduled_change
        effective_at = None if scheduled is None else scheduled.effective_at
        change_notices.add_notice(session, change, effective_at=effective_at)
    change.missed_at = None


def _cancel_if_missing_twice(
    account: LockedAccount, change: SeatChange, snapshot: SubscriptionSnapshot
) -> None:
    """Mark a scheduled change as cancelled if two syncs in a row do not show it.

    A change that the provider is just carrying out may be missing once. One sync is enough if this service
    cancelled the change itself.
    """
    if change.code != seat_change.TAKEN_BACK:
        if change.missed_at is None:
            change.missed_at, change.next_at = account.now, account.now + seat_change.SECOND_LOOK
        if account.now < change.missed_at + seat_change.SECOND_LOOK:
            return
    message = _SUBSCRIPTION_ENDS if _is_ending(snapshot) else _CANCELLED_ELSEWHERE
    seat_change.set_state(
        account.session,
        change,
        ChangeState.CANCELLED,
        code=change.code or seat_change.NO_LONGER_SCHEDULED,
        message=_CANCELLED_HERE if change.code == seat_change.TAKEN_BACK else message,
    )
    change_notices.add_notice(account.session, change)


def _is_ending(snapshot: SubscriptionSnapshot) -> bool:
    return snapshot.cancel_at_next_billing_date or snapshot.status in _ENDED


def _to_release(account: LockedAccount, change: SeatChange) -> Sequence[Assignment]:
    """The assignments of the members chosen for release that still use a seat of a type being reduced."""
    reduced = {name for name, step in steps_of(change).items() if step.is_less}
    rows = (assignment.live(account.session, account.account_id, member_id) for member_id in change.release)
    return [row for row in rows if row is not None and row.occupies_seat and row.seat_type in reduced]


def _release(account: LockedAccount, change: SeatChange, cause: Cause) -> None:
    """Release the seats of the chosen members."""
    for row in _to_release(account, change):
        claims.release_seat(account, row, cause)
