"""Planned changes: what a look means for changes that were sent, and whose seats go with them.

Runs inside the ledger, between what the snapshot gives and the judgement of the limits: so the people who
were to leave have left by the time it is asked whether there are too many, and nobody is warned in between.
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
from domain.snapshot import SubscriptionSnapshot
from models import assignment, purchase_queue, purchase_reset, seat_change
from models.assignment import Assignment
from models.audit import Cause
from models.seat_change import ChangeState, SeatChange
from services.ledger import claims
from services.ledger.locked_account import LockedAccount


def plan_of(change: SeatChange) -> Plan:
    """What was, or is to be, sent."""
    return plan_from_json(change.plan)


def steps_of(change: SeatChange) -> Steps:
    """The account's seats before and after it, as they were when it was previewed."""
    return {name: SeatStep(**step) for name, step in change.seats.items()}


@dataclass(frozen=True, slots=True)
class OwnChanges:
    """What a snapshot shows for the first time and is of our own making: in these fields, and by whom the
    seats were moved, if they were.
    """

    fields: frozenset[str] = frozenset()
    cause: Cause | None = None
    findings: tuple[Finding, ...] = ()
    """What a person should see of them."""


_SCHEDULE: Final = frozenset({"scheduled_change"})


def apply_shown(
    session: Session, accounts: Sequence[LockedAccount], snapshot: SubscriptionSnapshot, cause: Cause
) -> OwnChanges:
    """Settle the subscription's changes by what the snapshot shows of them."""
    ours = OwnChanges()
    for change in seat_change.sent_changes(session, snapshot.subscription_id):
        was, trace = change.state, status_of(plan_of(change), snapshot)
        if trace is PlanStatus.APPLIED:
            if was != ChangeState.APPLIED:
                ours = OwnChanges(frozenset(RETRIEVED), _cause_of(change, cause))
                _apply(session, accounts, change, ours.cause or cause)
            ours = replace(ours, findings=_unreleased(accounts, change))
            continue
        if trace is PlanStatus.SCHEDULED:
            _see_scheduled(session, change)
        elif change.state == ChangeState.SCHEDULED:
            _miss(accounts[0], change)
        if change.state != was and change.code != seat_change.NO_LONGER_SCHEDULED:
            ours = replace(ours, fields=ours.fields | _SCHEDULE)
    return ours


def _cause_of(change: SeatChange, look: Cause) -> Cause:
    """Who confirmed the change, by the look that shows it."""
    reason = f"seat change {change.id}"
    return replace(look, actor=change.actor or look.actor, source="seat_change", reason=reason)


def _apply(session: Session, accounts: Sequence[LockedAccount], change: SeatChange, cause: Cause) -> None:
    """Also what was taken for failed, or for taken back: the snapshot is the truth. People are released by a
    change that is still open alone: its end was announced otherwise, and they have gone on working since.
    """
    home = _home(accounts, change)
    code = None if change.state in seat_change.OPEN else seat_change.APPLIED_LATE
    message = None
    if home is None and change.release:
        message = "The subscription belongs to another account by now, so nobody was released."
    elif code is not None and change.release:
        message = f"It was taken for {change.state} before, so nobody was released."
    elif home is not None:
        _release(home, change, cause)
    seat_change.set_state(session, change, ChangeState.APPLIED, code=code, message=message)
    if change.is_automatic:
        purchase_queue.retry_now(session, change.account_id)
    else:
        purchase_reset.reset(session, change.account_id, f"seat change {change.id}")


def _home(accounts: Sequence[LockedAccount], change: SeatChange) -> LockedAccount | None:
    """The account that asked for the change, if the subscription belongs to it still."""
    return next((one for one in accounts if one.account_id == change.account_id), None)


def _unreleased(accounts: Sequence[LockedAccount], change: SeatChange) -> tuple[Finding, ...]:
    """That people who were to leave with the change are still there, as it came when nobody expected it."""
    home = _home(accounts, change)
    if home is None or change.code != seat_change.APPLIED_LATE:
        return ()
    number = len(_to_release(home, change))
    return (findings.applied_late(change.id, number),) if number else ()


def _see_scheduled(session: Session, change: SeatChange) -> None:
    if change.state != ChangeState.SCHEDULED:
        seat_change.set_state(session, change, ChangeState.SCHEDULED)
    change.missed_at = None


def _miss(account: LockedAccount, change: SeatChange) -> None:
    """It was scheduled and is not shown: taken back, or just being carried out. Once more before that is
    believed, unless we have taken it back ourselves.
    """
    if change.code != seat_change.TAKEN_BACK:
        if change.missed_at is None:
            change.missed_at, change.next_at = account.now, account.now + seat_change.SECOND_LOOK
        if account.now < change.missed_at + seat_change.SECOND_LOOK:
            return
    seat_change.set_state(
        account.session,
        change,
        ChangeState.CANCELLED,
        code=change.code or seat_change.NO_LONGER_SCHEDULED,
        message="The provider no longer has it scheduled: it was taken back, or its payment failed. Nobody "
        "was released for it.",
    )


def _to_release(account: LockedAccount, change: SeatChange) -> Sequence[Assignment]:
    """The seats of the members who were chosen, if they are still of a type that is given back."""
    fewer = {name for name, step in steps_of(change).items() if step.difference < 0}
    people = (assignment.live(account.session, account.account_id, member_id) for member_id in change.release)
    return [one for one in people if one is not None and one.occupies_seat and one.seat_type in fewer]


def _release(account: LockedAccount, change: SeatChange, cause: Cause) -> None:
    """Give back the seats of the members who were chosen."""
    for person in _to_release(account, change):
        claims.release_seat(account, person, cause)
